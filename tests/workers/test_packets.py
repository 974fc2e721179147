"""What goes from process to process is nobody else's: a program that a worker starts gets none of it."""

from __future__ import annotations

import os
import socket

import pytest
import trio

from trio_sio.workers.channel import Channel, make_pair
from trio_sio.workers.handover import Mailbox, PostBox
from trio_sio.workers.packets import receive_packet


async def test_descriptors_that_have_come_are_not_inherited() -> None:
    here, there = make_pair()
    with there:
        channel, supervisor = Channel(here), Channel(there.dup())
        assert supervisor.send({}, [there.fileno()] * 3)
        message, descriptors = await channel.receive() or pytest.fail("nothing has come")
        assert (message, [os.get_inheritable(one) for one in descriptors]) == ({}, [False] * 3)
        for descriptor in descriptors:
            os.close(descriptor)
        channel.close()
        supervisor.close()


async def test_a_connection_that_was_handed_over_is_not_inherited() -> None:
    """Its client would not be told that it is closed as long as such a program runs."""
    here, there = make_pair()
    client, connection = make_pair()
    inherited = list[bool]()
    with here, there, client:
        assert await PostBox(there).put(connection, None, b"")
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:

                def run(sock: socket.socket, address: str | None, received: bytes) -> None:
                    inherited.append(os.get_inheritable(sock.fileno()))
                    sock.close()
                    nursery.cancel_scope.cancel()

                await Mailbox(here).take(run)
        assert client.recv(1) == b""
    assert inherited == [False]


@pytest.mark.parametrize("most", [1, 2, 3])
def test_what_there_is_no_room_for_is_closed(most: int) -> None:
    here, there = make_pair()
    kept, given = make_pair()
    with here, there, kept:
        with given:
            socket.send_fds(there, [b"x"], [given.fileno()] * 5)
        packet, descriptors = receive_packet(here, 10, most)
        assert (packet, len(descriptors)) == (b"x", most)
        for descriptor in descriptors:
            os.close(descriptor)
        assert kept.recv(1) == b""  # nobody has the other end any more

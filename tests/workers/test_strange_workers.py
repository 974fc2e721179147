"""A worker in which somebody writes where we do, or that has no room for another descriptor: the others, and the supervisor, go on."""

from __future__ import annotations

import os
import re
import signal
import socket

import pytest

from tests.workers import app
from tests.workers.crew import descriptors
from tests.workers.processes import eventually, is_alive, open_workers, url_of
from trio_sio import open_client
from trio_sio.workers import Workers
from trio_sio.workers.channel import Channel, make_pair


async def replaced(workers: Workers, number: int, pid: int) -> None:
    """Wait until another process has taken the place of a worker."""
    slot = workers._slots[number]
    await eventually(lambda: not is_alive(pid))
    await eventually(lambda: slot.process is not None and slot.process.pid != pid and slot.ready.is_set())


@pytest.mark.hostile("K10")
@pytest.mark.parametrize(
    "nonsense",
    [
        *(b"\xff", b"[]", b"1", b"{}", b'{"is":"refused"}', b'{"is":"ready"}', b'{"is":"ready","drain_timeout":"x"}'),
        *(b'{"is":"statistics","number":1,"figures":3}', b'{"is":"statistics","number":[]}'),
    ],
)
async def test_nonsense_is_told_from_what_a_worker_says(nonsense: bytes) -> None:
    here, there = make_pair()
    workers = Workers([], {}, 1, None, None)
    channel = Channel(here)
    with there, workers._owned:
        before = descriptors()
        socket.send_fds(there, [nonsense], [0])
        with pytest.raises(ValueError, match=r"."):
            workers._hear(workers._slots[0], *(channel.receive_nowait() or pytest.fail("nothing has come")))
        assert descriptors() == before
        channel.close()


@pytest.mark.slow
@pytest.mark.hostile("K10")
async def test_a_worker_that_says_nonsense_is_replaced_alone(caplog: pytest.LogCaptureFixture) -> None:
    async with open_workers(app.quick, 2) as workers, open_client(url_of(workers), transports=["websocket"]) as bystander:
        home = await bystander.emit_with_ack("who")
        number, pid = home
        while number == home[0]:
            async with open_client(url_of(workers), transports=["websocket"], reconnection=None) as client:
                number, pid = await client.emit_with_ack("who")
                if number != home[0]:
                    await client.emit("babble", b"[]", 0)
                    await client.closed(timeout=10)
        await replaced(workers, number, pid)
        assert await bystander.emit_with_ack("who") == home
    assert "says what is no message, and is killed: b'[]'" in caplog.text


@pytest.mark.slow
@pytest.mark.hostile("K10")
async def test_descriptors_that_the_supervisor_does_not_want_are_closed() -> None:
    async with open_workers(app.quick, 1) as workers, open_client(url_of(workers), transports=["websocket"]) as client:
        before = descriptors()
        for _ in range(5):
            await client.emit("babble", b'{"is":"something else"}', 50)
        _, pid = await client.emit_with_ack("who")
        assert (await workers.statistics()).workers != [None]  # so it has heard all that
        assert descriptors() == before
        assert is_alive(pid)


@pytest.mark.slow
@pytest.mark.hostile("K12")
async def test_a_worker_without_room_for_a_link_goes_on(capfd: pytest.CaptureFixture[str]) -> None:
    async with open_workers(app.quick, 2) as workers, open_client(url_of(workers), transports=["websocket"]) as client:
        number, pid = await client.emit_with_ack("who")
        await client.emit_with_ack("echo", "x")
        await client.emit("tighten")
        other = workers._slots[1 - number].process
        assert other is not None
        os.kill(other.pid, signal.SIGKILL)
        await replaced(workers, 1 - number, other.pid)
        assert await client.emit_with_ack("who") == (number, pid)
    assert len(re.findall("This worker does not hear a new one", capfd.readouterr().err)) == 1

"""One worker without a process of its own: what it does with what it is given."""

from __future__ import annotations

import os
import socket

import pytest
import trio

from trio_sio import Config, Server
from trio_sio.cluster.local import LocalCluster
from trio_sio.testing import LoopbackNetwork
from trio_sio.workers.board import State, make_board
from trio_sio.workers.channel import Channel, make_pair
from trio_sio.workers.worker import _Worker


@pytest.mark.parametrize("has_local_cluster", [True, False])
async def test_links_that_came_before_the_server_are_its_own_or_are_closed(has_local_cluster: bool) -> None:
    """Servers that hear each other through Redis need none."""
    cluster = LocalCluster() if has_local_cluster else LoopbackNetwork().cluster()
    server = Server(config=Config(drain_timeout=0.1), cluster=cluster)
    (here, there), (mailbox, postbox) = make_pair(), make_pair()
    board = make_board(1)
    lifeline, end = os.pipe()
    listening = socket.create_server(("127.0.0.1", 0))
    given = [lifeline, board.descriptor, mailbox.detach(), postbox.detach(), listening.detach()]
    setup = {"number": 0, "count": 1, "certificate": None, "metrics_path": None, "health_path": None, "docs_path": None, "static": None}
    worker = _Worker(Channel(here), setup, given)
    mine, others = socket.socketpair()
    with there, others:
        worker._link(mine)
        with trio.fail_after(5):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(worker._serve, server)
                while board.state(0) is not State.SERVING:  # noqa: ASYNC110 - nobody is told
                    await trio.sleep(0.001)
                await trio.lowlevel.wait_readable(others)
                assert bool(others.recv(1000)) is has_local_cluster
                worker._wanted.set()
    worker._channel.close()
    worker._board.close()
    board.close()
    for sock in (worker._mailbox._socket, worker._postboxes[0]._socket):
        sock.close()
    for descriptor in (lifeline, end, board.descriptor):
        os.close(descriptor)

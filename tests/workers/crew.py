"""Workers in one Trio run: all that is between real ones, but the processes. So a test sees what they have, and says who accepts."""

from __future__ import annotations

import os
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from typing import Final

import trio

from trio_sio import Config, Server
from trio_sio.cluster.local import LocalCluster
from trio_sio.doors.native.http import NativeDoor
from trio_sio.doors.native.listener import Listener, open_listeners, serve_listeners
from trio_sio.doors.native.site import make_site
from trio_sio.testing.raw import RawHttp, RawWebSocket
from trio_sio.workers.board import State, make_board
from trio_sio.workers.channel import make_pair
from trio_sio.workers.colleagues import Colleagues
from trio_sio.workers.handover import Mailbox, PostBox

__all__ = ["ENGINE", "Crew", "descriptors", "open_crew"]

ENGINE: Final = "/socket.io/?EIO=4"


class Crew:
    """Some workers.

    Attributes:
      servers: The server of each.
      colleagues: What each knows of the others.
      ports: Where each accepts; all the same, if they share a socket.
      tasks: What serves as each.
      scopes: What cancels that.
    """

    def __init__(self, servers: list[Server]) -> None:
        self.servers = servers
        self.board = make_board(len(servers))
        self.pairs = [make_pair() for _ in servers]
        self.colleagues = [
            Colleagues(server.engine, number, self.board, Mailbox(here), [PostBox(put.dup()) for _, put in self.pairs])
            for number, (server, (here, _)) in enumerate(zip(servers, self.pairs, strict=True))
        ]
        self.ports: list[int] = []
        self.tasks: list[trio.lowlevel.Task | None] = [None for _ in servers]
        self.scopes = [trio.CancelScope() for _ in servers]

    def close(self) -> None:
        """Close what they share."""
        os.close(self.board.descriptor)
        self.board.close()
        for sock in (one for pair in self.pairs for one in pair):
            sock.close()
        for postbox in (one for colleagues in self.colleagues for one in colleagues._postboxes):
            postbox._socket.close()

    @property
    def url(self) -> str:
        """Where clients connect to, if it is the same for all."""
        return f"http://127.0.0.1:{self.ports[0]}"

    def enter(self, number: int, state: State) -> None:
        """Let everybody know what a worker does."""
        self.board.enter(number, state)
        self.beat(number)

    def beat(self, number: int) -> None:
        """Let it live."""
        server = self.servers[number]
        self.board.set_beat(number, server.engine.clients_count, server.ready().ready)

    async def serve(self, number: int, sock: socket.socket, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Serve as that worker on ``sock``, until its scope is cancelled."""
        self.tasks[number] = trio.lowlevel.current_task()
        server, colleagues = self.servers[number], self.colleagues[number]
        server.engine.sessions.is_mine = colleagues.is_mine
        door = NativeDoor(server.engine, make_site(server.engine, None, server.pages("/healthz")), server.readiness, colleagues)
        with trio.CancelScope() as self.scopes[number]:
            async with trio.open_nursery() as nursery:
                await nursery.start(partial(serve_listeners, door, [Listener(sock)], colleagues=colleagues))
                task_status.started()

    async def connect(self, number: int) -> trio.SocketStream:
        """Connect to what one worker accepts from."""
        return await trio.open_tcp_stream("127.0.0.1", self.ports[number])

    async def http(self, number: int) -> RawHttp:
        """Return a client of one worker."""
        return RawHttp(await self.connect(number))

    async def open_session(self, number: int) -> str:
        """Open a session by polling and return its id, which says that it is of that worker."""
        async with await self.http(number) as client:
            response = await client.request("GET", f"{ENGINE}&transport=polling")
        assert response.status == 200, response
        sid = response.body.decode().partition('"sid":"')[2].partition('"')[0]
        assert sid in self.servers[number].engine.sessions.by_id
        return sid

    async def websocket(self, number: int, sid: str) -> RawWebSocket:
        """Ask a worker for the upgrade of a session."""
        return await RawWebSocket.open(await self.connect(number), f"{ENGINE}&transport=websocket&sid={sid}")


def _make_server() -> Server:
    return Server(config=Config(drain_timeout=0.1))


@asynccontextmanager
async def open_crew(make_server: Callable[[], Server] = _make_server, count: int = 2, *, shared: bool = False) -> AsyncIterator[Crew]:
    """Run workers; ``shared``: they accept from one socket, as real ones do, otherwise each has a port of its own."""
    servers = [make_server() for _ in range(count)]
    clusters = [server.cluster for server in servers if isinstance(server.cluster, LocalCluster)]
    for number, cluster in enumerate(clusters):
        for other in clusters[:number]:
            for end, sock in zip((cluster, other), socket.socketpair(), strict=True):
                end.link(sock)
    crew = Crew(servers)
    async with AsyncExitStack() as stack:
        stack.callback(crew.close)
        for server in servers:
            await stack.enter_async_context(server)
        nursery = await stack.enter_async_context(trio.open_nursery())
        (first,) = await open_listeners("127.0.0.1", 0)
        for number in range(count):
            (listener,) = [first] if number == 0 else [Listener(first.socket.dup())] if shared else await open_listeners("127.0.0.1", 0)
            sockname = listener.sockname
            assert not isinstance(sockname, str)
            crew.ports.append(sockname[1])
            await nursery.start(crew.serve, number, listener.socket)
            crew.enter(number, State.SERVING)

            async def beat(number: int = number) -> None:
                while True:
                    crew.beat(number)
                    await trio.sleep(0.2)

            nursery.start_soon(beat)
        yield crew
        nursery.cancel_scope.cancel()


def descriptors() -> int:
    """Return how many this process has open."""
    return len(os.listdir("/proc/self/fd"))

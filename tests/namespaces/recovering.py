"""A server whose clients may come back, and a client that does, as the official one does."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio
import trio.testing

from trio_sio import Config, Context, Next, Recovery, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.namespaces.recovery import InMemoryRecovery
from trio_sio.testing import InMemoryServer, RawWebSocket, open_test_server

__all__ = ["CONFIG", "Peer", "Stage", "open_stage"]

CONFIG = Config(connection_state_recovery=Recovery())


class Peer:
    """One client in one namespace, which handles recovery just as socket.io-client 4.8 does.

    Attributes:
      id, pid, recovered: As of the last CONNECT.
      offset: The newest string that was at the end of an event; ``None`` before the first.
      websocket: Its wire.
    """

    def __init__(self, memory: InMemoryServer, namespace: str = "/") -> None:
        self.memory = memory
        self.id = ""
        self.pid: str | None = None
        self.offset: str | None = None
        self.recovered = False
        self.websocket: RawWebSocket
        self.refusal: Any = None
        self._prefix = "" if namespace == "/" else f"{namespace},"
        self._fences = 0

    async def open(self) -> None:
        """Open a connection."""
        self.websocket = await self.memory.websocket()
        assert str(await self.receive()).startswith("0")

    async def ask(self, **auth: object) -> None:
        """Ask to be let in, coming back if that is possible."""
        if self.pid is not None:
            auth = {"pid": self.pid, "offset": self.offset, **auth}
        auth = {key: value for key, value in auth.items() if value is not None}
        await self.websocket.send(f"40{self._prefix}{json.dumps(auth)}")

    async def joined(self) -> None:
        """Wait for CONNECT."""
        message = str(await self.receive())
        assert message.startswith(f"40{self._prefix}{{"), message
        payload = json.loads(message[2 + len(self._prefix) :])
        self.id = payload["sid"]
        self.recovered = payload.get("pid") is not None and payload["pid"] == self.pid
        self.pid = payload.get("pid")

    async def connect(self, **auth: object) -> bool:
        """Connect, coming back if that is possible; tell whether it was."""
        await self.open()
        await self.ask(**auth)
        await self.joined()
        return self.recovered

    async def receive(self) -> str | bytes:
        """Return the next message that is no ping."""
        while (message := await self.websocket.receive()) == "2":
            await self.websocket.send("3")
        return message

    async def event(self) -> list[Any]:
        """Return the next event, without its offset."""
        message = str(await self.receive())
        assert message.startswith(f"42{self._prefix}["), message
        event: list[Any] = json.loads(message[2 + len(self._prefix) :])
        if isinstance(event[-1], str):
            self.offset = event[-1]
            assert len(event) > 1
            del event[-1]
        return event

    async def heard(self) -> list[list[Any]]:
        """Return all events up to now."""
        self._fences += 1
        await self.websocket.send(f'42{self._prefix}{self._fences}["fence"]')
        events: list[list[Any]] = []
        while True:
            message = str(await self.receive())
            if message == f"43{self._prefix}{self._fences}[null]":
                return events
            assert message.startswith(f"42{self._prefix}["), message
            event = json.loads(message[2 + len(self._prefix) :])
            if isinstance(event[-1], str):
                self.offset = event.pop()
            events.append(event)

    async def cut(self) -> None:
        """Lose the connection, and whatever was not received."""
        await trio.aclose_forcefully(self.websocket.stream)
        await trio.testing.wait_all_tasks_blocked()

    async def leave(self) -> None:
        """Leave the namespace for good, and the server."""
        await self.websocket.send(f"41{self._prefix}"[: None if self._prefix == "" else -1])
        await self.cut()


class Stage:
    """What the application does; a test puts its own functions in place.

    Attributes:
      memory: The server, in memory.
      sockets: Every socket whose connection hook ran.
      steps: What happened, in this order.
      peers: Every client.
      guard: What middleware does before it lets anybody in.
      on_hook: What the connection hook does.
      on_event: What handles the event ``do``.
      on_gone: What the disconnection hook does.
    """

    memory: InMemoryServer

    def __init__(self) -> None:
        self.sockets: list[Socket] = []
        self.steps: list[str] = []
        self.peers: list[Peer] = []
        self.guard: Callable[[Socket], Awaitable[object]] | None = None
        self.on_hook: Callable[[Socket], Awaitable[object]] | None = None
        self.on_event: Callable[[Socket], Awaitable[object]] | None = None
        self.on_gone: Callable[[Socket], Awaitable[object]] | None = None

    @property
    def server(self) -> Server:
        assert isinstance(self.memory.server, Server)
        return self.memory.server

    @property
    def socket(self) -> Socket:
        """The newest socket."""
        return self.sockets[-1]

    def store(self, namespace: str = "/") -> InMemoryRecovery:
        """Where sessions are."""
        recovery = self.server.of(namespace).adapter.recovery
        assert isinstance(recovery, InMemoryRecovery)
        return recovery

    def peer(self, namespace: str = "/") -> Peer:
        """Return a client that has not connected yet."""
        self.peers.append(Peer(self.memory, namespace))
        return self.peers[-1]

    async def middleware(self, ctx: Context, call_next: Next) -> object:
        if self.guard is not None and ctx.event is None:
            await self.guard(ctx.socket)
        return await call_next()

    @on_connection
    async def joined(self, socket: Socket) -> None:
        self.sockets.append(socket)
        self.steps.append("came back" if socket.recovered else "came")
        if self.on_hook is not None:
            await self.on_hook(socket)

    @on_message("fence")
    def fence(self) -> None:
        return None

    @on_message("do")
    async def do(self, socket: Socket) -> None:
        assert self.on_event is not None
        await self.on_event(socket)

    @on_disconnection
    async def gone(self, socket: Socket, reason: str) -> None:
        self.steps.append(reason)
        if self.on_gone is not None:
            await self.on_gone(socket)


@asynccontextmanager
async def open_stage(config: Config = CONFIG, *routes: str | re.Pattern[str], **recovery: Any) -> AsyncIterator[Stage]:
    """Run a server; ``recovery`` are fields of `Recovery`."""
    stage = Stage()
    if recovery:
        config = replace(config, connection_state_recovery=Recovery(**recovery))
    table = RoutingTable(*(Route(name, stage, middleware=[stage.middleware]) for name in ("/", *routes)))
    async with open_test_server(Server(table, config=config)) as stage.memory:
        yield stage
        for peer in stage.peers:
            await trio.aclose_forcefully(peer.websocket.stream)

"""A host for the ASGI door: what it says to an application, and what it hears of it."""

from __future__ import annotations

import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, cast

import trio
import trio.testing

from tests.doors.fake_engine import FakeEngine
from trio_sio.doors.asgi import ASGIApplication
from trio_sio.doors.asgi.messages import ASGIFramework, Message, Scope

if TYPE_CHECKING:
    from trio_sio.doors.served import Served

__all__ = ["CONNECT", "GONE", "FakeHost", "Host", "Sink", "answer", "application", "body", "calling", "http", "never", "websocket"]


class Host:
    """The host's side of one call of the application.

    Args:
      app: The application.
      scope: What the call is about.
      room: How many of our messages wait unread before ``send`` blocks.
      queue: How many of its own messages wait unread before `hand_over` blocks.
    """

    def __init__(self, app: ASGIFramework, scope: Scope, room: float = math.inf, queue: float = math.inf) -> None:
        self._app = app
        self._scope = scope
        self._to_app, self._app_receives = trio.open_memory_channel[Message](queue)
        self._app_sends, self._from_app = trio.open_memory_channel[Message](room)
        self.finished = trio.Event()

    async def run(self) -> None:
        await self._app(self._scope, self._app_receives.receive, self._app_sends.send)
        self._app_sends.close()
        self.finished.set()

    def say(self, *messages: Message) -> None:
        for message in messages:
            self._to_app.send_nowait(message)

    async def hand_over(self, *messages: Message) -> None:
        for message in messages:
            await self._to_app.send(message)

    async def hear(self) -> Message:
        return await self._from_app.receive()

    async def rest(self) -> list[Message]:
        return [message async for message in self._from_app]

    def unread(self) -> int:
        return self._app_receives.statistics().current_buffer_used


class FakeHost:
    """What the door knows of a server."""

    def __init__(self, engine: FakeEngine, log: list[str] | None = None) -> None:
        self.engine = engine
        self.running = False
        self.failure: Exception | None = None
        self.last_failure: Exception | None = None
        self._log = [] if log is None else log

    async def __aenter__(self) -> None:
        await trio.lowlevel.checkpoint()
        if self.failure is not None:
            raise self.failure
        self._log.append("server starts")

    async def __aexit__(self, *_: object) -> None:
        self._log.append("server stops")
        if self.last_failure is not None:
            raise self.last_failure


def application(engine: FakeEngine | FakeHost, other: ASGIFramework | None = None) -> ASGIApplication:
    host = engine if isinstance(engine, FakeHost) else FakeHost(engine)
    return ASGIApplication(cast("Served", host), other)


def http(path: str = "/socket.io/", **fields: object) -> Scope:
    return {
        "type": "http",
        "method": "GET",
        "path": path,
        "query_string": b"a=b",
        "headers": [(b"host", b"h")],
        "client": ("192.0.2.1", 1),
        "scheme": "https",
        "http_version": "1.1",
        **fields,
    }


def websocket(path: str = "/socket.io/", **fields: object) -> Scope:
    return {**http(path), "type": "websocket", "scheme": "wss", "subprotocols": [], "extensions": {"websocket.http.response": {}}, **fields}


def body(data: bytes = b"", more: bool = False) -> Message:
    return {"type": "http.request", "body": data, "more_body": more}


CONNECT: Message = {"type": "websocket.connect"}
GONE: Message = {"type": "websocket.disconnect", "code": 1006}


@asynccontextmanager
async def calling(
    app: ASGIFramework, scope: Scope, *messages: Message, room: float = math.inf, queue: float = math.inf
) -> AsyncIterator[Host]:
    """Call ``app``; in the end it must return."""
    host = Host(app, scope, room, queue)
    host.say(*messages)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        yield host
        await host.finished.wait()


async def answer(app: ASGIFramework, scope: Scope, *messages: Message) -> tuple[int, dict[bytes, bytes], bytes]:
    async with calling(app, scope, *messages) as host:
        start, *bodies = await host.rest()
    assert start["type"] == "http.response.start"
    assert [message["more_body"] for message in bodies] == [True] * (len(bodies) - 1) + [False]
    return start["status"], dict(start["headers"]), b"".join(message["body"] for message in bodies)


class Sink:
    """Keeps what a pipe feeds."""

    def __init__(self) -> None:
        self.messages: list[bytes | str] = []

    def text(self, payload: bytes) -> None:
        self.messages.append(payload.decode())

    def binary(self, payload: bytes) -> None:
        self.messages.append(payload)


def never() -> None:
    raise AssertionError("the host answers pings")

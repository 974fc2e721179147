"""What the tests of hostile Socket.IO packets share: an application, and what is said to it over both transports."""

from __future__ import annotations

import base64
import json
from typing import Final

import trio

from tests.hostile.victim import (
    BOUND,
    CLEAN_CODES,
    POLLING,
    RECORD_SEPARATOR,
    PollingSession,
    Session,
    Victim,
    WebSocketSession,
    assert_refused,
)
from trio_sio import Context, Next, Socket, on_connection, on_disconnection, on_message

__all__ = [
    "BINARY",
    "ENDED",
    "FORCED_CLOSE",
    "PLACEHOLDER",
    "Application",
    "Gate",
    "Holder",
    "Unreachable",
    "assert_forced_close",
    "enter",
    "payload",
    "receive",
    "send",
    "send_fatal",
    "unjoined",
]

PLACEHOLDER: Final = '{"_placeholder":true,"num":0}'
BINARY: Final = f'451-["note",{PLACEHOLDER}]'
FORCED_CLOSE: Final = "forced close"
ENDED: Final = r"ended: forced close \("


class Gate:
    """Connection middleware that lets nobody pass.

    Attributes:
      arrived: How many came.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self._waiting = 0
        self._changed = trio.Event()
        self._open = trio.Event()

    async def __call__(self, ctx: Context, call_next: Next) -> object:
        self.arrived += 1
        self._change(1)
        try:
            await self._open.wait()
        finally:
            self._change(-1)
        return await call_next()

    def _change(self, number: int) -> None:
        self._waiting += number
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for(self, number: int) -> None:
        """Return when ``number`` clients wait before it."""
        with trio.fail_after(BOUND):
            while self._waiting != number:
                await self._changed.wait()


class Unreachable:
    """Behind the gate: whatever runs here is a failure."""

    def __init__(self, socket: Socket) -> None:
        raise AssertionError(f"{socket!r} passed the gate.")

    @on_connection
    @on_disconnection
    @on_message("note")
    def fail(self, *args: object) -> None:
        raise AssertionError(f"A handler behind the gate ran with {args!r}.")


class Application:
    """What the rows need besides `tests.hostile.victim.Application`."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("echo")
    def echo(self, value: object) -> object:
        return value

    @on_message("leave")
    async def leave(self) -> None:
        await self.socket.disconnect()

    @on_message("join")
    async def join(self, *rooms: str) -> str:
        try:
            await self.socket.join(*rooms)
        except ValueError as error:
            return str(error)
        return f"in {len(self.socket.rooms)} rooms"

    @on_message("ask", concurrent=True)
    async def ask(self, timeout: float | None) -> object:
        try:
            return await self.socket.emit_with_ack("question", timeout=timeout)
        except trio.TooSlowError:
            return "too slow"

    @on_message("pending")
    def pending(self) -> int:
        return len(self.socket._core.waiters._answers or ())


class Holder:
    """Shared by all its sockets: keeps every event.

    Attributes:
      held: How many handlers began.
      go_on: Lets them end.
    """

    def __init__(self) -> None:
        self.held = 0
        self.go_on = trio.Event()

    @on_message("one by one")
    async def hold(self) -> None:
        self.held += 1
        await self.go_on.wait()

    @on_message("all at once", concurrent=True)
    async def hold_more(self) -> None:
        await self.hold()


async def unjoined(victim: Victim, transport: str) -> Session:
    """Return a client that has not sent CONNECT."""
    if transport == "websocket":
        websocket = await victim.open_websocket()
        with trio.fail_after(BOUND):
            opened = str(await websocket.receive())
        return WebSocketSession(victim, websocket, json.loads(opened[1:]), "")
    response = await victim.request(POLLING)
    return PollingSession(victim, json.loads(response.body[1:]))


def payload(*messages: str | bytes) -> bytes:
    """Return ``messages`` as the body of a POST."""
    return RECORD_SEPARATOR.join(m.encode() if isinstance(m, str) else b"b" + base64.b64encode(m) for m in messages)


async def send(session: Session, *messages: str | bytes) -> None:
    """Send what the server has to take."""
    await (session.send(*messages) if isinstance(session, WebSocketSession) else session.send(payload(*messages)))


async def receive(session: Session, count: int = 1) -> list[str]:
    """Return the next ``count`` text messages."""
    if isinstance(session, WebSocketSession):
        return [str(await session.receive()) for _ in range(count)]
    received: list[str] = []
    while len(received) < count:
        received += (await session.poll()).decode().split("\x1e")
    assert len(received) == count
    return received


async def enter(session: Session, namespace: str = "/app") -> str:
    """Join ``namespace`` and return the answer: what comes before it may not be said."""
    await send(session, f"40{namespace},")
    (connected,) = await receive(session)
    assert connected.startswith(f'40{namespace},{{"sid":')
    return connected


async def send_fatal(session: Session, *messages: str | bytes) -> None:
    """Send something of which the last message has to close the connection, and assert that it did."""
    if isinstance(session, WebSocketSession):
        await session.send(*messages)
        assert await session.closed() in CLEAN_CODES
    else:
        assert_refused(await session.post(payload(*messages)), 3)


async def assert_forced_close(session: Session, *messages: str | bytes) -> None:
    """Assert that ``messages`` close the connection of a joined client, and that this is what its socket is told."""
    await send_fatal(session, *messages)
    assert await session.victim.reason(session.socket_id) == FORCED_CLOSE

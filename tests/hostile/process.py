"""What the tests of section P of the catalogue share: an application that misbehaves on demand, and ways to reach it."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import trio

from trio_sio import Disconnected, Server, Socket, on_disconnection, on_message
from trio_sio.testing import RawWebSocket, open_strict_client
from trio_sio.testing.strict import StrictSocket

__all__ = ["Application", "Record", "failures", "join_main", "listening", "tcp_client"]


@dataclass
class Record:
    """What the handlers saw.

    Attributes:
      steps: What they did, in this order.
      reasons: Why sockets were disconnected.
    """

    steps: list[str] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


class Application:
    """Misbehaves on demand."""

    def __init__(self, record: Record, socket: Socket) -> None:
        self.record = record
        self.socket = socket

    @on_message("echo")
    def echo(self, value: object) -> object:
        return value

    @on_message("fail")
    async def fail(self) -> None:
        raise LookupError("a bug of the application")

    @on_message("disconnect twice")
    async def disconnect_twice(self) -> None:
        await self.socket.disconnect()
        await self.socket.disconnect()
        await self.socket.disconnect(close=True)

    @on_message("ask oneself")
    async def ask_oneself(self) -> object:
        await self.socket.emit("note", 1)
        await self.socket.namespace.to(self.socket.id).emit("note", 2)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._wait_for, "said while the handler runs")
            answer = await self.socket.emit_with_ack("question")
        return answer  # noqa: RET504  # not inside the nursery block

    async def _wait_for(self, event: str) -> None:
        self.record.steps.append(str(await self.socket.once(event)))

    @on_message("ask for ever")
    async def ask_for_ever(self) -> None:
        try:
            await self.socket.emit_with_ack("question")
        except (Disconnected, trio.TooSlowError) as error:
            self.record.steps.append(type(error).__name__)
        finally:
            self.record.steps.append(f"{len(self.socket._core.waiters._answers or ())} answers awaited")

    @on_disconnection
    async def gone(self, reason: str) -> None:
        self.record.reasons[reason] += 1
        await self.socket.emit("nobody hears this")
        await self.socket.disconnect()
        with pytest.raises(Disconnected):
            await self.socket.emit_with_ack("nobody answers this")
        with pytest.raises(Disconnected):
            self.socket.start_soon(trio.sleep_forever)


def failures(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """Return what was logged with a traceback, or as an error."""
    return [entry for entry in caplog.records if entry.exc_info or entry.levelno >= logging.ERROR]


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[int]:
    """Serve on a port of our own and yield it."""
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, "127.0.0.1", 0)
        yield listeners[0].sockname[1]
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def tcp_client(port: int) -> AsyncIterator[StrictSocket]:
    """A client on a real socket."""
    async with open_strict_client(await trio.open_tcp_stream("127.0.0.1", port)) as client:
        yield client


async def join_main(websocket: RawWebSocket) -> None:
    assert str(await websocket.receive()).startswith("0")
    await websocket.send("40")
    assert str(await websocket.receive()).startswith("40")

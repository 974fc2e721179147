"""Applications and components with a mistake in them, which only shows when something is cancelled, or raises, at the wrong moment.

Each is right when nothing disturbs it: `cancel_everywhere` would say so otherwise. `check` tells what must hold in the end.
"""

from __future__ import annotations

import math
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Final

import pytest
import trio
import trio.testing

from trio_sio import Ack, Config, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.concurrency.timers import Timer
from trio_sio.engine.sessions import Sessions
from trio_sio.namespaces.adapter import InMemoryAdapter
from trio_sio.testing import InMemoryServer, serving
from trio_sio.testing.cancellation import SETTLES_WITHIN

# A time-out that is over by then has ended in its own time.
CONFIG: Final = Config(connect_timeout=2 * SETTLES_WITHIN)


class Application:
    """What the applications below have in common."""

    @asynccontextmanager
    async def lifespan(self, _server: Server) -> AsyncIterator[None]:
        """What runs as long as the server."""
        yield

    def check(self) -> None:
        """Raise `AssertionError` if something is not as it must be."""

    def tidy(self) -> None:
        """Do what the mistake has left undone, so that it harms no other test."""


async def work() -> None:
    """Stand for whatever a handler waits for."""
    await trio.sleep(0.01)


class Sound(Application):
    """Has no mistake."""

    def __init__(self) -> None:
        self.joined = self.left = self.leases = 0

    @on_connection
    async def begin(self, socket: Socket) -> None:
        self.joined += 1
        await socket.join("lobby")

    @on_message("go")
    async def go(self) -> None:
        self.leases += 1
        try:
            await work()
        finally:
            with trio.move_on_after(1, shield=True):
                await work()
            self.leases -= 1

    @on_disconnection
    async def end(self) -> None:
        await work()
        self.left += 1

    def check(self) -> None:
        assert (self.joined, self.leases) == (self.left, 0)


class AwaitInFinally(Application):
    """Gives its lease back in ``finally``, where an `await` of a cancelled task raises at once."""

    def __init__(self) -> None:
        self.leases = 0

    async def give_back(self) -> None:
        await work()
        self.leases -= 1

    @on_message("go")
    async def go(self) -> None:
        self.leases += 1
        try:
            await work()
        finally:
            await self.give_back()  # noqa: ASYNC102

    def check(self) -> None:
        assert self.leases == 0, f"{self.leases} leases"


class ForgottenShield(Application):
    """Has a deadline for its clean-up, but no shield."""

    def __init__(self) -> None:
        self.announced: list[str] = []

    async def announce(self, what: str) -> None:
        await work()
        self.announced.append(what)

    @on_message("go")
    async def go(self) -> None:
        await self.announce("begun")
        try:
            await work()
        finally:
            with trio.move_on_after(1):
                await self.announce("ended")  # noqa: ASYNC102

    def check(self) -> None:
        assert self.announced in ([], ["begun", "ended"]), f"announced {self.announced}"


class LostPacket(Application):
    """Takes from its backlog before it can send."""

    def __init__(self) -> None:
        self.backlog = ["first", "second"]
        self.sent: list[str] = []

    @on_message("go")
    async def go(self) -> None:
        while self.backlog:
            packet = self.backlog.pop(0)
            await work()
            self.sent.append(packet)

    def check(self) -> None:
        assert self.sent + self.backlog == ["first", "second"], f"lost { ({'first', 'second'} - {*self.sent, *self.backlog}) }"


class DoubleHook(Application):
    """Says goodbye when it is cancelled, although the disconnection hook does."""

    def __init__(self) -> None:
        self.joined = self.left = 0

    @on_connection
    async def begin(self) -> None:
        self.joined += 1

    @on_message("go")
    async def go(self) -> None:
        try:
            await work()
        except trio.Cancelled:
            self.end()
            raise

    @on_disconnection
    def end(self) -> None:
        self.left += 1

    def check(self) -> None:
        assert self.joined == self.left, f"{self.joined} came and {self.left} left"


class SwallowedCancel(Application):
    """Goes on whatever happens."""

    @on_message("go")
    async def go(self) -> None:
        done = False
        while not done:
            with suppress(BaseException):
                await work()
                done = True


class ShieldWithoutDeadline(Application):
    """Waits for its worker, which has been cancelled too, behind a shield."""

    @on_message("go")
    async def go(self) -> None:
        done = trio.Event()

        async def worker() -> None:
            await work()
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(worker)
            with trio.CancelScope(shield=True):
                await done.wait()


class LockWithoutFinally(Application):
    """Does not release its lock when it fails or is cancelled."""

    def __init__(self) -> None:
        self.busy = trio.Semaphore(1)

    @on_message("go")
    async def go(self) -> None:
        await self.busy.acquire()
        await work()
        self.busy.release()

    def check(self) -> None:
        assert self.busy.value == 1, "busy forever"


class TaskOutside(Application):
    """Starts a task where its own cancellation does not reach."""

    nursery: trio.Nursery

    @asynccontextmanager
    async def lifespan(self, _server: Server) -> AsyncIterator[None]:
        async with trio.open_nursery() as self.nursery:
            yield
            self.nursery.cancel_scope.cancel()

    @on_message("go")
    async def go(self) -> None:
        stop = trio.Event()
        self.nursery.start_soon(stop.wait)
        await work()
        stop.set()


class OpenFile(Application):
    """Closes its file only when all goes well."""

    def __init__(self) -> None:
        self.opened: list[int] = []

    @on_message("go")
    async def go(self) -> None:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        self.opened.append(descriptor)
        await work()
        self.opened.remove(descriptor)
        os.close(descriptor)

    def tidy(self) -> None:
        for descriptor in self.opened:
            os.close(descriptor)


class CleanupFails(Application):
    """Turns a cancellation into another error."""

    @on_message("go")
    async def go(self) -> None:
        try:
            await work()
        except trio.Cancelled:
            raise LookupError("no such thing") from None  # noqa: ASYNC104


class AnswerForgotten(Application):
    """Never answers when the work fails."""

    @on_message("go")
    async def go(self, ack: Ack) -> None:
        with suppress(OSError):
            await work()
            await ack()


@asynccontextmanager
async def running(application: Application) -> AsyncIterator[InMemoryServer]:
    """Serve ``application``, and require L0 and whatever it demands itself."""
    try:
        make = partial(Server, RoutingTable(Route("/", application)), config=CONFIG, lifespan=application.lifespan)
        async with serving(make)() as server:
            yield server
        application.check()
    finally:
        application.tidy()


async def go(server: InMemoryServer) -> None:
    """Be the client of all of them."""
    async with server.strict_client() as client:
        await client.emit_with_ack("go")


class HalfFrame:
    """Sends frames, each a length and so many bytes, and says goodbye whatever happened: also after half a frame."""

    def __init__(self, stream: trio.testing.MemorySendStream) -> None:
        self.stream = stream

    async def send(self, payload: bytes) -> None:
        await self.stream.send_all(bytes([len(payload)]))
        await self.stream.send_all(payload)

    async def talk(self) -> None:
        try:
            await self.send(b"hello")
            await self.send(b"world")
        finally:
            with trio.move_on_after(1, shield=True):
                await self.send(b"goodbye")


@asynccontextmanager
async def framed() -> AsyncIterator[HalfFrame]:
    """Require that whole frames arrive, and nothing behind half a frame."""
    sent, received = trio.testing.memory_stream_one_way_pair()
    yield HalfFrame(sent)
    await sent.aclose()
    data = bytes(await received.receive_some())
    frames = []
    while data:
        frames.append(data[1 : 1 + data[0]])
        data = data[1 + data[0] :]
    assert set(frames) <= {b"hello", b"world", b"goodbye"}, f"received {frames}"


# Mistakes in the library, which only show when the task that does it is being cancelled.


def is_cancelled() -> bool:
    """Tell whether the next wait of this task would raise `trio.Cancelled`."""
    return trio.current_effective_deadline() == -math.inf


def leak_sid(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let session ids be known for ever."""
    forget = Sessions.forget
    monkeypatch.setattr(Sessions, "forget", lambda self, connection: None if is_cancelled() else forget(self, connection))


def leak_room(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let sockets stay in their rooms."""
    remove = InMemoryAdapter.remove
    monkeypatch.setattr(InMemoryAdapter, "remove", lambda self, *args: None if is_cancelled() else remove(self, *args))


def leak_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let time-outs run on that nobody waits for any more."""
    cancel = Timer.cancel
    monkeypatch.setattr(Timer, "cancel", lambda self: None if is_cancelled() else cancel(self))

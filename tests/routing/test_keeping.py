"""`Recovery.keep_controllers`: what a controller remembers outlives its connection, as far as that is possible."""

from __future__ import annotations

import gc
import weakref
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, NamedTuple, Self

import pytest
import trio
import trio.testing

from tests.namespaces.recovering import Peer
from tests.namespaces.serving import settle
from trio_sio import Config, ConnectionRefused, Context, Next, Recovery, Route, RoutingTable, Server, Socket, on_connection, on_message
from trio_sio.routing.keeping import KeptControllers
from trio_sio.testing import InMemoryServer, open_test_server

MockClock = trio.testing.MockClock


@asynccontextmanager
async def serving(*controllers: Any, keep: bool = True, guard: Any = None) -> AsyncIterator[InMemoryServer]:
    config = Config(connection_state_recovery=Recovery(keep_controllers=keep))
    table = RoutingTable(*(Route("/", one) for one in controllers), connection_middleware=[] if guard is None else [guard])
    async with open_test_server(Server(table, config=config)) as memory:
        yield memory


class Noted:
    """Remembers every controller that was made, and what each has done."""

    made: list[Any]

    def __init_subclass__(cls) -> None:
        cls.made = []


class Counter(Noted):
    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.count = 0
        self.came: list[bool] = []
        self.made.append(self)

    @on_connection
    def joined(self) -> None:
        self.came.append(self.socket.recovered)

    @on_message("count")
    async def counted(self) -> None:
        self.count += 1
        await self.socket.emit("count", self.count)


@pytest.fixture(autouse=True)
def nothing_made() -> None:
    Counter.made.clear()


async def count(peer: Peer) -> int:
    await peer.websocket.send('42["count"]')
    with trio.fail_after(5):
        name, number = await peer.event()
    assert name == "count"
    return int(number)


async def test_a_controller_goes_on_with_the_new_socket(autojump_clock: MockClock) -> None:
    async with serving(Counter) as memory:
        peer = Peer(memory)
        await peer.connect()
        assert await count(peer) == 1
        for number in (2, 3):
            await peer.cut()
            assert await peer.connect()
            assert await count(peer) == number
        (controller,) = Counter.made
        assert controller.came == [False, True, True]
        assert controller.socket.connected
        await peer.cut()


async def test_it_is_made_anew_unless_it_shall_be_kept_and_for_whoever_is_not_recovered(autojump_clock: MockClock) -> None:
    async with serving(Counter, keep=False) as memory:
        peer = Peer(memory)
        await peer.connect()
        assert await count(peer) == 1
        await peer.cut()
        assert await peer.connect()
        assert await count(peer) == 1
        await peer.cut()
    async with serving(Counter) as memory:
        peer = Peer(memory)
        await peer.connect()
        assert await count(peer) == 1
        await peer.cut()
        await trio.sleep(121)
        assert not await peer.connect()
        assert await count(peer) == 1
        await peer.cut()


class Opened(Counter):
    """What is entered is left when its client goes, so there is nothing to keep."""

    steps: list[str]

    async def __aenter__(self) -> Self:
        self.steps.append("entered")
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.steps.append("left")


class Beside(Noted):
    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.made.append(self)

    @on_message("beside")
    def beside(self) -> None: ...


async def test_what_is_entered_is_made_anew_and_its_neighbour_is_kept(autojump_clock: MockClock) -> None:
    Opened.made.clear()
    Opened.steps = []
    Beside.made.clear()
    async with serving(Opened, Beside) as memory:
        peer = Peer(memory)
        await peer.connect()
        assert await count(peer) == 1
        await peer.cut()
        assert await peer.connect()
        assert await count(peer) == 1
        assert Opened.steps == ["entered", "left", "entered"]
        assert (len(Opened.made), len(Beside.made)) == (2, 1)
        assert Beside.made[0].socket is Opened.made[1].socket
        await peer.cut()


class Shared:
    def __init__(self) -> None:
        self.first: Socket | None = None

    @on_connection
    def joined(self, socket: Socket) -> None:
        self.first = self.first or socket

    @on_message("x")
    def x(self) -> None: ...


async def test_a_shared_controller_is_left_alone(autojump_clock: MockClock) -> None:
    shared = Shared()
    async with serving(shared, Counter) as memory:
        peer = Peer(memory)
        await peer.connect()
        first = shared.first
        await peer.cut()
        assert await peer.connect()
        assert shared.first is first
        assert Counter.made[0].socket is not first
        await peer.cut()


async def test_functions_get_the_socket_that_there_is(autojump_clock: MockClock) -> None:
    server = Server(config=Config(connection_state_recovery=Recovery(keep_controllers=True)))

    @server.on("count")
    async def counted(socket: Socket) -> None:
        await socket.emit("count", len(socket.rooms))

    async with open_test_server(server) as memory:
        peer = Peer(memory)
        await peer.connect()
        assert await count(peer) == 1
        await peer.cut()
        assert await peer.connect()
        assert await count(peer) == 1
        await peer.cut()


@pytest.mark.hostile("R97")
async def test_whoever_is_refused_on_coming_back_finds_it_later(autojump_clock: MockClock) -> None:
    refused = False

    async def guard(ctx: Context, call_next: Next) -> object:
        if refused:
            raise ConnectionRefused("Not now.")
        return await call_next()

    async with serving(Counter, guard=guard) as memory:
        peer = Peer(memory)
        await peer.connect()
        assert await count(peer) == 1
        await peer.cut()
        refused = True
        await peer.open()
        await peer.ask()
        assert str(await peer.receive()).startswith("44")
        await peer.cut()
        refused = False
        assert await peer.connect()
        assert await count(peer) == 2
        await peer.cut()


@pytest.mark.hostile("R97")
async def test_nothing_is_kept_of_those_who_do_not_come_back(autojump_clock: MockClock) -> None:
    async with serving(Counter) as memory:
        for leave in (False, True):
            peer = Peer(memory)
            await peer.connect()
            await count(peer)
            kept = weakref.ref(Counter.made.pop())
            gc.collect()
            gc.disable()
            try:
                await (peer.leave() if leave else peer.cut())
                await settle()
                assert (kept() is None) is leave
                await trio.sleep(121)
                assert kept() is None
            finally:
                gc.enable()


class Stateless:
    """Knows its socket only while it handles something."""

    @on_message("count")
    async def counted(self, socket: Socket) -> None:
        await socket.emit("count", 1)


class Entered(Stateless):
    """Made anew, so there is no use in keeping it."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        return None


@pytest.mark.parametrize("controller", [Stateless, Stateless(), Entered])
async def test_nothing_of_the_earlier_connection_is_kept_for_who_is_away_unless_a_controller_has_it(
    controller: Any, autojump_clock: MockClock
) -> None:
    async with serving(controller) as memory:
        peer = Peer(memory)
        await peer.connect()
        await count(peer)
        assert isinstance(memory.server, Server)
        (socket,) = memory.server.of("/").connected.values()
        gone = weakref.ref(socket)
        del socket
        await peer.cut()
        await settle()
        gc.collect()
        assert gone() is None
        assert await peer.connect()
        await count(peer)
        await peer.cut()


class Tuple(NamedTuple):
    """Nobody can give it another socket."""

    socket: Socket

    @on_message("count")
    async def counted(self) -> None:
        await self.socket.emit("count", 1)


async def test_what_cannot_be_given_another_socket_is_made_anew(autojump_clock: MockClock) -> None:
    async with serving(Tuple) as memory:
        peer = Peer(memory)
        await peer.connect()
        await count(peer)
        await peer.cut()
        assert await peer.connect()
        await count(peer)
        await peer.cut()


class Nested(Counter):
    """Has its socket in what is no attribute of its own."""

    def __init__(self, socket: Socket) -> None:
        super().__init__(socket)
        self.tell = socket.emit
        self.tell_nowait = socket.emit_nowait

    @on_message("tell")
    async def told(self) -> None:
        await self.tell("told")
        self.tell_nowait("told")
        await self.tell("told")


async def test_who_emits_by_the_earlier_socket_is_told_once(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    Nested.made.clear()
    async with serving(Nested) as memory:
        peer = Peer(memory)
        await peer.connect()
        assert await count(peer) == 1
        await peer.cut()
        # While it is away, that is recorded for it.
        Nested.made[0].tell_nowait("told", 1)
        assert await peer.connect()
        assert await peer.event() == ["told", 1]
        assert caplog.text == ""
        await peer.websocket.send('42["tell"]')
        assert await count(peer) == 2
        await peer.cut()
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "as its client has come back as another socket, which whoever emits does not have" in record.getMessage()


# Where the socket is.


@dataclass(frozen=True)
class Frozen:
    socket: Socket
    seen: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class FrozenSlots:
    socket: Socket


class Private:
    __slots__ = ("__socket", "unset")

    def __init__(self, socket: Socket) -> None:
        self.__socket = socket

    @property
    def socket(self) -> Socket:
        return self.__socket


class Below(Private):
    __slots__ = ("again",)

    def __init__(self, socket: Socket) -> None:
        super().__init__(socket)
        self.again = socket


class Picky:
    def __init__(self, socket: Socket) -> None:
        self.__dict__["socket"] = socket

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class Thing:
    """A socket, as far as that matters."""


@pytest.mark.parametrize("cls", [Frozen, FrozenSlots, Private, Below, Picky])
def test_every_attribute_that_is_the_socket_becomes_the_new_one(cls: Any) -> None:
    old: Any
    new: Any
    old, new = Thing(), Thing()
    controller = cls(old)
    kept = KeptControllers([controller], [True], old)
    assert kept.move(new, [cls]) == (controller,)
    assert controller.socket is new
    if cls is Below:
        assert controller.again is new
    # And once more, from there.
    kept.move(old, [cls])
    assert controller.socket is old

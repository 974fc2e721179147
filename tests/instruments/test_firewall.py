"""What an instrument does wrong, or does at all, is its own business: the server goes on, and says so once."""

from __future__ import annotations

import contextvars
from collections.abc import Iterator, Sequence
from contextlib import AsyncExitStack, contextmanager
from typing import Any

import pytest
import trio
import trio.lowlevel
import trio.testing

from tests.instruments.ledger import Ledger
from trio_sio import Instrument, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.namespaces.instruments import _METHODS, _SURROUNDING
from trio_sio.testing import open_test_server

CURRENT: contextvars.ContextVar[str] = contextvars.ContextVar("CURRENT", default="none")


class Controller:
    heard: list[str]

    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("lobby")

    @on_message("echo")
    async def echo(self, value: object) -> object:
        return value

    @on_message("where")
    async def where(self, socket: Socket) -> str:
        socket.start_soon(self.later, socket)
        return CURRENT.get()

    @on_message("where beside", concurrent=True)
    async def where_beside(self) -> str:
        await trio.lowlevel.checkpoint()
        return CURRENT.get()

    @on_message("where after", cancel_on_disconnect=False)
    async def where_after(self) -> str:
        return CURRENT.get()

    @on_message("sleep")
    async def sleep(self) -> None:
        await trio.sleep_forever()

    async def later(self, socket: Socket) -> None:
        await socket.emit("later", CURRENT.get())

    @on_disconnection
    async def left(self) -> None: ...


def broken() -> Instrument:
    """Return an instrument all of whose methods raise."""

    def fail(*args: object) -> None:
        raise RuntimeError("broken")

    methods = dict.fromkeys(_METHODS, lambda self, *args: fail())
    made = type("Broken", (Instrument,), methods)()
    assert isinstance(made, Instrument)
    return made


async def everything(instruments: Sequence[Instrument]) -> Server:
    server = Server(RoutingTable(Route("/", Controller())), instruments=instruments)
    async with open_test_server(server) as in_memory:
        for _ in range(2):
            async with in_memory.strict_client() as client:
                client.on("question", lambda: 1)
                for number in range(3):
                    assert await client.emit_with_ack("echo", number) == number
                await server.emit("news")
                assert (await client.receive()).name == "news"
                assert await server.emit_with_ack("question") == [1]
            await trio.testing.wait_all_tasks_blocked()
    return server


@pytest.mark.hostile("O01")
async def test_one_that_raises_costs_a_line_for_each_method(
    caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    ledger = Ledger()
    server = await everything([broken(), ledger])
    ledger.require_balanced()
    assert server.statistics().closed == {"transport close": 2}
    lines = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert len(lines) == len(set(lines)) >= 15
    assert all(line.startswith("Broken.") and line.endswith("For a minute this is not said again.") for line in lines)
    assert {record.name for record in caplog.records if record.levelname == "ERROR"} == {"trio_sio.instruments"}


@pytest.mark.hostile("O02")
async def test_managers_that_fail_at_either_end_cannot_catch_or_replace_anything(caplog: pytest.LogCaptureFixture) -> None:
    class Swallows(Instrument):
        @contextmanager
        def handling(self, socket: Socket, event: str, args: Sequence[Any]) -> Iterator[None]:
            try:
                yield
            finally:
                raise ValueError("late")

    class NotOne(Instrument):
        def handling(self, socket: Socket, event: str, args: Sequence[Any]) -> Any:
            return "no manager"

    await everything([Swallows(), NotOne()])
    lines = [record.getMessage().partition(" failed")[0] for record in caplog.records if record.levelname == "ERROR"]
    assert [line.rpartition(".")[2] for line in lines] == ["handling"] * len(lines)
    assert len(lines) == 2


class Reraises:
    """A context manager that raises what it was to let pass, and itself ``entering`` or ``leaving``, if that is anything."""

    def __init__(self, entering: BaseException | None = None, leaving: BaseException | None = None) -> None:
        self.entering = entering
        self.leaving = leaving

    def __enter__(self) -> None:
        if self.entering is not None:
            raise self.entering

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: object) -> None:
        if (raised := self.leaving or error) is not None:
            raise raised


class Reraising(Instrument):
    """Surrounds what is handled with ``manager``."""

    def __init__(self, manager: Reraises) -> None:
        self.manager = manager

    def handling(self, socket: Socket, event: str, args: Sequence[Any]) -> Any:
        return self.manager


async def handle_until_cancelled(*instruments: Instrument) -> None:
    server = Server(RoutingTable(Route("/", Controller())), instruments=instruments)
    async with open_test_server(server) as in_memory:
        async with in_memory.strict_client() as client:
            await client.emit("sleep")
            await trio.testing.wait_all_tasks_blocked()
        await trio.testing.wait_all_tasks_blocked()


@pytest.mark.hostile("O08")
async def test_a_manager_that_raises_what_it_is_left_with_does_not_keep_others_from_being_left(caplog: pytest.LogCaptureFixture) -> None:
    first, last = Ledger(), Ledger()
    await handle_until_cancelled(first, Reraising(Reraises()), last)
    for ledger in (first, last):
        ledger.require_balanced()
        assert ledger.of("event_handled") == [("sleep", "cancelled", None)]
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


@pytest.mark.hostile("O08")
@pytest.mark.parametrize("manager", [Reraises(entering=KeyboardInterrupt()), Reraises(leaving=KeyboardInterrupt())])
async def test_what_ends_the_program_passes_and_the_others_are_left(manager: Reraises) -> None:
    ledger = Ledger()
    with pytest.RaisesGroup(KeyboardInterrupt, flatten_subgroups=True):
        await handle_until_cancelled(ledger, Reraising(manager))
    assert not ledger.open["handling", "sleep"]


async def test_what_it_sets_is_current_in_handlers_and_in_what_they_start() -> None:
    class Context(Instrument):
        @contextmanager
        def handling(self, socket: Socket, event: str, args: Sequence[Any]) -> Iterator[None]:
            token = CURRENT.set(event)
            try:
                yield
            finally:
                CURRENT.reset(token)

    server = Server(RoutingTable(Route("/", Controller())), instruments=[Context()])
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        for event in ("where", "where beside", "where after"):
            assert await client.emit_with_ack(event) == event
        assert (await client.receive()).args == ("where",)
        socket = server.of("/").sockets[client.id]
        socket.on("own", CURRENT.get)
        assert await client.emit_with_ack("own") == "own"


@pytest.mark.hostile("O03")
async def test_one_that_emits_because_it_hears_of_what_it_emits_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    class Echoing(Instrument):
        def broadcast_emitted(self, namespace: str, event: str, *args: object) -> None:
            server.emit_nowait("again")

    server = Server(RoutingTable(Route("/", Controller())), instruments=[Echoing()])
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        await server.emit("news")
        assert await client.emit_with_ack("echo", 1) == 1
        assert 1 < len(client.pending) < 100
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "Echoing.broadcast_emitted failed" in line


@pytest.mark.hostile("O07")
@pytest.mark.parametrize("is_first", [True, False])
async def test_what_one_brings_about_the_others_are_told_to_its_end(is_first: bool, caplog: pytest.LogCaptureFixture) -> None:
    class Closing(Instrument):
        def socket_left(self, socket: Socket, reason: str) -> None:
            for other in tuple(socket.namespace.sockets.values()):
                other.disconnect_nowait()

    ledger = Ledger()
    instruments = [Closing(), ledger] if is_first else [ledger, Closing()]
    server = Server(RoutingTable(Route("/", Controller())), instruments=instruments)
    async with open_test_server(server) as in_memory, AsyncExitStack() as stack:
        for _ in range(40):
            await stack.enter_async_context(in_memory.strict_client())
        next(iter(server.of("/").sockets.values())).disconnect_nowait()
        await trio.testing.wait_all_tasks_blocked()
        assert not server.of("/").sockets
        assert len(ledger.of("socket_left")) == 40
    ledger.require_balanced()
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "Closing.socket_left failed" in line


@pytest.mark.parametrize("method", ["socket_joined", "room_joined", "event_received"])
async def test_one_may_disconnect_a_socket_of_which_it_is_told(method: str) -> None:
    def disconnect(self: Instrument, socket: Socket, *args: object) -> None:
        socket.disconnect_nowait()

    ledger = Ledger()
    instrument = type("Bouncer", (Instrument,), {method: disconnect})()
    server = Server(RoutingTable(Route("/", Controller())), instruments=[ledger, instrument])
    async with open_test_server(server) as in_memory, await in_memory.websocket() as websocket:
        await websocket.receive()
        await websocket.send("40")
        await websocket.send('42["echo",1]')
        await trio.testing.wait_all_tasks_blocked()
        assert not server.of("/").sockets
    ledger.require_balanced()
    assert len(ledger.of("socket_left")) == 1


def test_every_method_is_of_one_of_the_two_kinds() -> None:
    assert set(_METHODS) > _SURROUNDING
    assert len(_METHODS) > 30

"""Controllers that are async context managers: when they are entered and left, and that they are left exactly once."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Self

import pytest
import trio
from trio.testing import MockClock

from tests.level import unchanged
from trio_sio import (
    Config,
    ConnectionRefused,
    Context,
    Disconnected,
    Next,
    Route,
    RoutingTable,
    Server,
    Socket,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.testing import InMemoryServer, StrictSocket, open_test_server


class Trace(list[str]):
    """What happened; one can wait for a line."""

    def __init__(self) -> None:
        super().__init__()
        self._grown = trio.lowlevel.ParkingLot()

    def note(self, line: str) -> None:
        self.append(line)
        self._grown.unpark_all()

    async def until(self, line: str) -> None:
        with trio.fail_after(5):
            while line not in self:
                await self._grown.park()


class Scoped:
    """Writes down all that happens to it; subclasses fail in one way or another."""

    def __init__(self, socket: Socket, trace: Trace, name: str = "") -> None:
        self.socket = socket
        self.trace = trace
        self.name = name

    def note(self, what: str) -> None:
        self.trace.note(f"{self.name} {what}".strip())

    async def __aenter__(self) -> Self:
        self.note(f"enter, connected={self.socket.connected}")
        await trio.lowlevel.checkpoint()
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.note("exit")
        await trio.lowlevel.checkpoint()  # noqa: ASYNC102  # whoever leaves it has a shield and a deadline
        self.note("exited")

    @on_connection
    async def joined(self) -> None:
        self.note("joined")

    @on_message("use")
    async def use(self) -> str:
        self.note("use")
        return "used"

    @on_message("hang")
    async def hang(self) -> None:
        self.note("hang")
        self.socket.start_soon(self.linger)
        await trio.sleep_forever()

    async def linger(self) -> None:
        try:
            await trio.sleep_forever()
        finally:
            self.note("task ends")

    @on_disconnection
    async def gone(self, reason: str) -> None:
        await trio.lowlevel.checkpoint()
        self.note(f"gone, {reason}")


ENTERED = ["enter, connected=True", "joined"]
LEFT = ["exit", "exited"]


def table(controller: Callable[..., object], trace: Trace, **options: Any) -> RoutingTable:
    return RoutingTable(Route("/", partial(controller, trace=trace), **options))


async def end_abruptly(server: InMemoryServer) -> None:
    assert isinstance(server.server, Server)
    await server.server.disconnect_sockets()


async def refused(client: StrictSocket) -> None:
    assert (await client.closed()).disconnected


async def test_it_is_entered_before_the_connection_hook_and_left_after_the_disconnection_hook() -> None:
    trace = Trace()
    async with open_test_server(table(Scoped, trace)) as server:
        async with unchanged(server.server, objects=True), server.strict_client() as client:
            assert await client.emit_with_ack("use") == "used"
            await client.disconnect()
        assert trace == [*ENTERED, "use", "gone, client namespace disconnect", *LEFT]


async def test_an_abrupt_end_cancels_what_runs_before_it_is_left(autojump_clock: MockClock) -> None:
    trace = Trace()
    async with open_test_server(table(Scoped, trace)) as server:
        async with unchanged(server.server), server.strict_client() as client:
            await client.emit("hang")
            await trace.until("hang")
            await end_abruptly(server)
            await trace.until("exited")
        assert trace == [*ENTERED, "hang", "task ends", "gone, server namespace disconnect", *LEFT]


async def test_it_is_left_when_the_server_drains() -> None:
    trace = Trace()
    async with open_test_server(table(Scoped, trace)) as server, server.strict_client():
        await server.server.drain()
        assert trace == [*ENTERED, "gone, server shutting down", *LEFT]


async def test_it_is_left_when_the_server_is_cancelled() -> None:
    trace = Trace()
    async with open_test_server(table(Scoped, trace)) as server, server.strict_client():
        server.cancel()
        await trio.lowlevel.checkpoint()
    assert trace == [*ENTERED, "gone, server shutting down", *LEFT]


async def test_every_socket_has_its_own() -> None:
    trace = Trace()

    def make(socket: Socket) -> Scoped:
        return Scoped(socket, trace, str(socket.handshake.auth["name"]))

    async with open_test_server(RoutingTable(Route("/", make))) as server, server.strict_client(auth={"name": "a"}) as a:
        async with server.strict_client(auth={"name": "b"}):
            pass
        await trace.until("b exited")
        assert "a exit" not in trace
        assert await a.emit_with_ack("use") == "used"


async def test_the_controllers_of_a_namespace_are_left_in_reverse() -> None:
    trace = Trace()

    class Second(Scoped):
        @on_message("second")
        async def use(self) -> str:
            return ""

        @on_message("hang second")
        async def hang(self) -> None: ...

    routes = RoutingTable(Route("/", partial(Scoped, trace=trace, name="1")), Route("/", partial(Second, trace=trace, name="2")))
    async with open_test_server(routes) as server, server.strict_client() as client:
        await client.disconnect()
        await trace.until("1 exited")
    assert [line for line in trace if not line.endswith("joined")] == [
        "1 enter, connected=True",
        "2 enter, connected=True",
        "1 gone, client namespace disconnect",
        "2 gone, client namespace disconnect",
        "2 exit",
        "2 exited",
        "1 exit",
        "1 exited",
    ]


async def test_nothing_is_entered_for_a_client_that_is_refused() -> None:
    trace = Trace()

    async def refuse(ctx: Context, call_next: Next) -> object:
        raise ConnectionRefused

    async with open_test_server(table(Scoped, trace, middleware=[refuse])) as server:
        with pytest.raises(ConnectionRefused):
            async with server.strict_client():
                pass
    assert trace == []


class Unavailable(Exception):
    pass


class NoEntry(Scoped):
    async def __aenter__(self) -> Self:
        await super().__aenter__()
        raise Unavailable("the database is down")


async def test_failing_to_enter_is_what_a_failing_hook_is(caplog: pytest.LogCaptureFixture) -> None:
    trace = Trace()
    async with open_test_server(table(NoEntry, trace)) as server, unchanged(server.server), server.strict_client() as client:
        await refused(client)
    # What was not entered is not left, and its hooks do not run.
    assert trace == ["enter, connected=True"]
    assert "NoEntry.__aenter__ failed while connecting" in caplog.text


async def test_an_exception_handler_may_tell_the_client_why_it_cannot_be_served() -> None:
    trace = Trace()

    async def tell(ctx: Context, exc: Unavailable) -> None:
        await ctx.socket.emit("sorry", str(exc))

    async with open_test_server(table(NoEntry, trace, exception_handlers={Unavailable: tell})) as server, server.strict_client() as client:
        assert await client.once("sorry") == ("the database is down",)
        await refused(client)


async def test_a_controller_that_was_entered_before_another_one_failed_is_left() -> None:
    trace = Trace()

    class Second(NoEntry):
        @on_message("second")
        async def use(self) -> str:
            return ""

        @on_message("hang second")
        async def hang(self) -> None: ...

    routes = RoutingTable(Route("/", partial(Scoped, trace=trace, name="1")), Route("/", partial(Second, trace=trace, name="2")))
    async with open_test_server(routes) as server, server.strict_client() as client:
        await refused(client)
        await trace.until("1 exited")
    assert trace[2:] == ["2 enter, connected=True", "1 gone, server namespace disconnect", "1 exit", "1 exited"]


@pytest.mark.parametrize("error", [ConnectionRefused, ValueError])
async def test_it_is_left_once_when_the_hook_fails(error: type[Exception]) -> None:
    trace = Trace()

    class BadHook(Scoped):
        @on_connection
        async def joined(self) -> None:
            self.note("joined")
            raise error

    async with open_test_server(table(BadHook, trace)) as server, unchanged(server.server), server.strict_client() as client:
        await refused(client)
        await trace.until("exited")
    assert trace == [*ENTERED, "gone, server namespace disconnect", *LEFT]


async def test_a_client_that_leaves_cancels_the_entering(autojump_clock: MockClock) -> None:
    trace = Trace()

    class Slow(Scoped):
        async def __aenter__(self) -> Self:
            self.note("enter")
            try:
                await trio.sleep(60)
            finally:
                self.note("cancelled")
            return self

    async with open_test_server(table(Slow, trace)) as server, unchanged(server.server), server.strict_client():
        await trace.until("enter")
        await end_abruptly(server)
        await trace.until("cancelled")
    assert trace == ["enter", "cancelled"]


async def test_a_client_that_leaves_while_it_is_just_entered_is_left_all_the_same(autojump_clock: MockClock) -> None:
    trace = Trace()

    class Stubborn(Scoped):
        async def __aenter__(self) -> Self:
            self.note("enter")
            with trio.CancelScope(shield=True):
                await trio.sleep(1)
            return self

    async with open_test_server(table(Stubborn, trace)) as server, unchanged(server.server), server.strict_client():
        await trace.until("enter")
        await end_abruptly(server)
        await trace.until("exit")
    # Its exit is cancelled like everything of this client, and its hooks have not begun.
    assert trace == ["enter", "exit"]


async def test_it_is_left_also_when_the_disconnection_hook_took_all_the_time(autojump_clock: MockClock) -> None:
    trace = Trace()

    class SlowGoodbye(Scoped):
        @on_disconnection
        async def gone(self, reason: str) -> None:
            self.note("gone")
            await trio.sleep_forever()

    config = Config(cleanup_timeout=3)
    async with (
        open_test_server(table(SlowGoodbye, trace), config=config) as server,
        unchanged(server.server),
        server.strict_client() as client,
    ):
        await client.disconnect()
        await trace.until("gone")
        assert "exit" not in trace
    assert trace == [*ENTERED, "gone", "exit"]


async def test_leaving_it_is_bounded_by_the_cleanup_timeout(autojump_clock: MockClock) -> None:
    trace = Trace()
    times: list[float] = []

    class SlowExit(Scoped):
        async def __aexit__(self, *exc_info: object) -> None:
            times.append(trio.current_time())
            try:
                await trio.sleep_forever()  # noqa: ASYNC102  # whoever leaves it has a shield and a deadline
            finally:
                times.append(trio.current_time())

    config = Config(cleanup_timeout=3)
    async with (
        open_test_server(table(SlowExit, trace), config=config) as server,
        unchanged(server.server),
        server.strict_client() as client,
    ):
        await client.disconnect()
    began, ended = times
    assert ended - began == pytest.approx(3, abs=0.01)


async def test_an_exit_that_fails_is_logged_and_keeps_no_other_from_being_left(caplog: pytest.LogCaptureFixture) -> None:
    trace = Trace()

    class BadExit(Scoped):
        async def __aexit__(self, *exc_info: object) -> None:
            raise ValueError("left badly")

        @on_message("second")
        async def use(self) -> str:
            return ""

        @on_message("hang second")
        async def hang(self) -> None: ...

    routes = RoutingTable(Route("/", partial(Scoped, trace=trace)), Route("/", partial(BadExit, trace=trace)))
    async with open_test_server(routes) as server:
        async with unchanged(server.server), server.strict_client() as client:
            await client.disconnect()
            await trace.until("exited")
        async with server.strict_client() as other:
            assert await other.emit_with_ack("use") == "used"
    assert "The async with of BadExit failed" in caplog.text
    assert "left badly" in caplog.text


class WithNursery:
    """What a Trio programmer writes first."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self._manager = trio.open_nursery()

    async def __aenter__(self) -> Self:
        self.nursery = await self._manager.__aenter__()
        self.nursery.start_soon(self.tick)
        return self

    async def __aexit__(self, *exc_info: Any) -> object:
        self.nursery.cancel_scope.cancel()
        return await self._manager.__aexit__(*exc_info)  # noqa: ASYNC102  # whoever leaves it has a shield and a deadline

    async def tick(self) -> None:
        while True:
            await self.socket.emit("tick")
            await trio.sleep(1)

    @on_message("fail")
    async def fail(self) -> None:
        self.nursery.start_soon(self.failing)

    async def failing(self) -> None:
        raise ValueError("in the background")

    @on_message("stop")
    async def stop(self) -> None:
        self.nursery.cancel_scope.cancel()


async def within_a_minute(ctx: Context, call_next: Next) -> object:
    with trio.fail_after(60):
        return await call_next()


@pytest.fixture
def with_nursery() -> RoutingTable:
    return RoutingTable(Route("/", WithNursery, middleware=[within_a_minute]))


async def test_it_may_keep_a_nursery_open(with_nursery: RoutingTable, autojump_clock: MockClock) -> None:
    async with open_test_server(with_nursery) as server, unchanged(server.server), server.strict_client() as client:
        for _ in range(100):
            await client.once("tick")


async def test_a_failure_in_its_nursery_ends_this_client_and_no_other(
    with_nursery: RoutingTable, autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_test_server(with_nursery) as server, server.strict_client() as other:
        async with unchanged(server.server), server.strict_client() as client:
            await client.emit("fail")
            await refused(client)
        await other.once("tick")
        await other.once("tick")
    assert "The async with of WithNursery failed" in caplog.text
    assert "in the background" in caplog.text


async def test_a_controller_that_leaves_by_itself_ends_its_client(with_nursery: RoutingTable, autojump_clock: MockClock) -> None:
    async with open_test_server(with_nursery) as server, unchanged(server.server), server.strict_client() as client:
        await client.emit("stop")
        await refused(client)


async def test_an_instance_that_all_share_belongs_to_whoever_made_it() -> None:
    class Shared:
        entered = 0

        async def __aenter__(self) -> Self:
            self.entered += 1
            return self

        async def __aexit__(self, *exc_info: object) -> None:
            self.entered -= 1

        @on_message("entered")
        def count(self) -> int:
            return self.entered

    async with Shared() as shared, open_test_server(RoutingTable(Route("/", shared))) as server, server.strict_client() as client:
        assert await client.emit_with_ack("entered") == 1
        await client.disconnect()
        async with server.strict_client() as other:
            assert await other.emit_with_ack("entered") == 1


async def test_what_is_emitted_while_leaving_is_dropped_and_what_waits_fails() -> None:
    trace = Trace()

    class Talkative(Scoped):
        async def __aexit__(self, *exc_info: object) -> None:
            await self.socket.emit("late")  # noqa: ASYNC102  # whoever leaves it has a shield and a deadline
            try:
                await self.socket.emit_with_ack("later")  # noqa: ASYNC102  # whoever leaves it has a shield and a deadline
            except Disconnected:
                self.note("disconnected")

    async with open_test_server(table(Talkative, trace)) as server, unchanged(server.server), server.strict_client() as client:
        await client.disconnect()
    assert trace[-1] == "disconnected"

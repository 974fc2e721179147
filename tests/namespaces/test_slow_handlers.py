"""Who keeps others waiting is named, once, and while it does: handlers, hooks and middleware, also those that never return."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.namespaces.serving import Handler, open_namespaces
from trio_sio import Config, Context, Next, Recovery, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.protocol.socketio import Packet
from trio_sio.testing import open_test_server

Clock = trio.testing.MockClock
Warned = Callable[[], list[str]]


@pytest.fixture
def warned(caplog: pytest.LogCaptureFixture) -> Warned:
    """Returns the warnings since it was called last, without what is different each time."""

    def take() -> list[str]:
        warnings = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        caplog.clear()
        return [re.sub(r"socket [\w-]{20}", "socket ID", re.sub(r"\.py:\d+", ".py", warning)) for warning in warnings]

    return take


def slow(name: str, culprit: str, seconds: float = 1) -> str:
    culprit = f" ({culprit}, at test_slow_handlers.py)" if culprit else ""
    return (
        f"The handler of '{name}'{culprit} has not come back for {seconds:.1f} seconds, and events of socket ID in namespace '/' wait for "
        "it. Mark it concurrent=True if they need not, and start what lasts with socket.start_soon."
    )


async def hang(socket: Socket, *args: object) -> None:
    await trio.sleep_forever()


# Handlers.


async def test_a_handler_that_never_returns_is_named_once_a_second_after_something_waits(warned: Warned, autojump_clock: Clock) -> None:
    server = Server()
    server.on("hang")(hang)
    server.on("next")(hang)
    async with open_test_server(server) as running, running.strict_client() as client:
        await client.emit("hang")
        await trio.sleep(20)
        assert warned() == []  # nobody waits
        await client.emit("next")
        await trio.sleep(0.99)
        assert warned() == []
        await trio.sleep(0.02)
        assert warned() == [slow("hang", "hang", 21)]
        for _ in range(5):
            await client.emit("next")
            await trio.sleep(10)
        assert warned() == []


async def test_those_that_came_together_wait_for_the_first(warned: Warned, autojump_clock: Clock) -> None:
    server = Server()
    server.on("hang")(hang)
    async with open_test_server(server) as running, await running.websocket() as client:
        await client.receive()
        await client.send("40")
        await client.receive()
        events = [b'42["hang",1]', b'42["hang",2]']
        await client.send_bytes(b"".join(bytes([0x81, 0x80 | len(event)]) + bytes(4) + event for event in events))
        await trio.sleep(1.01)
        assert warned() == [slow("hang", "hang")]


async def test_each_slow_handler_is_an_incident_and_quick_ones_are_none(warned: Warned, autojump_clock: Clock) -> None:
    server = Server()

    @server.on("sleep")
    async def sleep(socket: Socket, seconds: float) -> None:
        await trio.sleep(seconds)

    async with open_test_server(server) as running, running.strict_client() as client:
        idle = len(running.server.engine.services.timers)
        for seconds in (2, 0.1, 0.9, 0.9, 3, 0.9):
            await client.emit("sleep", seconds)
        await trio.sleep(1.01)
        assert warned() == [slow("sleep", "sleep")]
        await trio.sleep(3.88)  # 2 + 0.1 + 0.9 + 0.9 and 0.99 of the fifth
        assert warned() == []
        await trio.sleep(0.02)
        assert warned() == [slow("sleep", "sleep")]
        await trio.sleep(20)
        assert warned() == []
        assert len(running.server.engine.services.timers) == idle
        # And again, after a time without anything.
        await client.emit("sleep", 2)
        await client.emit("sleep", 2)
        await trio.sleep(20)
        assert warned() == [slow("sleep", "sleep")]


async def test_a_socket_that_is_always_busy_costs_one_timer_at_a_time(autojump_clock: Clock) -> None:
    handled = list[object]()

    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.sleep(0.01)
        handled.append(packet)

    async with open_namespaces(Handler(receive)) as running, running.strict_client() as client:
        timers = running.server.engine.services.timers
        before = len(timers)
        for _ in range(50):
            for _ in range(10):
                await client.emit("x")
            await trio.sleep(0.05)
            assert len(timers) <= before + 1
        await trio.sleep(10)
        assert len(handled) == 500
        assert len(timers) == before


async def test_a_goodbye_that_waits_behind_a_handler_is_no_event(warned: Warned, autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.sleep(5)

    handler = Handler(receive)
    async with open_namespaces(handler) as running, running.strict_client() as client:
        await client.emit("slow")
        await trio.sleep(4)
        await client.disconnect()
        await trio.sleep(4)
        assert handler.reasons == ["client namespace disconnect"]
    assert warned() == []


async def test_nor_is_one_behind_events_that_have_waited(warned: Warned, autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.sleep(packet.data[1])

    async with open_namespaces(Handler(receive)) as running, running.strict_client() as client:
        await client.emit("quick", 0.5)
        await client.emit("slow", 5)
        await trio.sleep(0.7)
        await client.disconnect()
        await trio.sleep(4)
    assert warned() == []


async def test_events_of_a_client_that_has_gone_do_not_wait(warned: Warned, autojump_clock: Clock) -> None:
    server = Server()

    @server.on("tidy up")
    async def tidy_up(socket: Socket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            with trio.move_on_after(5, shield=True):
                await trio.sleep(4)

    async with open_test_server(server) as running:
        async with running.strict_client() as client:
            await client.emit("tidy up")
            await client.emit("tidy up")
            await trio.sleep(0.5)
            await server.disconnect_sockets()
        await trio.sleep(20)
    assert warned() == []


@pytest.mark.parametrize("handler", ["concurrent", "cancel_on_disconnect=False"])
async def test_a_handler_in_a_task_of_its_own(handler: str, warned: Warned, autojump_clock: Clock) -> None:
    server = Server()
    if handler == "concurrent":
        server.on("x", concurrent=True)(hang)
    else:

        @server.on("x", cancel_on_disconnect=False)
        async def finish(socket: Socket) -> None:
            await trio.sleep(5)

    async with open_test_server(server) as running, running.strict_client() as client:
        await client.emit("x")
        await client.emit("x")
        await trio.sleep(4)
        assert warned() == ([] if handler == "concurrent" else [slow("x", "")])


async def test_the_innermost_function_that_we_called_is_the_one_that_is_named(warned: Warned, autojump_clock: Clock) -> None:
    async def patient(ctx: Context, call_next: Next) -> object:
        return await call_next()

    async def stuck(ctx: Context, call_next: Next) -> object:
        await trio.sleep(1_000)
        return await call_next()

    async def helper(socket: Socket) -> None:
        await socket.once("never")

    class Controller:
        def __init__(self, socket: Socket) -> None:
            self.socket = socket

        @on_message("inside", middleware=[patient])
        async def inside(self) -> None:
            await helper(self.socket)

        @on_message("around", middleware=[patient, stuck])
        async def around(self) -> None:
            raise AssertionError

    async with open_test_server(RoutingTable(Route("/", Controller))) as running:
        for event, culprit in (("inside", "Controller.inside"), ("around", "stuck")):
            async with running.strict_client() as client:
                await client.emit(event)
                await client.emit(event)
                await trio.sleep(1.01)
                assert warned() == [slow(event, culprit)]


async def test_functions_of_socket_on_and_their_middleware(warned: Warned, autojump_clock: Clock) -> None:
    server = Server()

    @server.on_connection
    async def joined(socket: Socket) -> None:
        async def listen() -> None:
            await trio.sleep_forever()

        async def block(event: list[object], call_next: Callable[[], Awaitable[None]]) -> None:
            if event[0] == "block":
                await trio.sleep_forever()
            await call_next()

        socket.on("listen", listen)
        socket.use(block)

    async with open_test_server(server) as running:
        for event in ("listen", "block"):
            async with running.strict_client() as client:
                await client.emit(event)
                await client.emit("x")
                await trio.sleep(1.01)
                assert warned() == [slow(event, event)]


# Hooks and what is around them.


async def test_a_connection_hook_is_named_when_events_wait(warned: Warned, autojump_clock: Clock) -> None:
    server = Server()

    @server.on_connection
    async def tick(socket: Socket) -> None:
        await trio.sleep_forever()

    server.on("x")(hang)
    async with open_test_server(server) as running, running.strict_client() as client:
        await trio.sleep(30)
        assert warned() == []
        await client.emit("x")
        await client.emit("x")
        await trio.sleep(1.01)
        (warning,) = warned()
        assert warning == (
            "The connection hook (tick, at test_slow_handlers.py) has not come back for 31.0 seconds, and events of socket ID in namespace "
            "'/' wait for it. Start what lasts with socket.start_soon."
        )
        await client.emit("x")
        await trio.sleep(10)
        assert warned() == []


async def test_a_slow_connection_hook_and_the_handler_behind_it_are_two_incidents(warned: Warned, autojump_clock: Clock) -> None:
    server = Server()
    server.on("hang")(hang)

    @server.on_connection
    async def slow_hook(socket: Socket) -> None:
        await trio.sleep(3)

    async with open_test_server(server) as running, running.strict_client() as client:
        await client.emit("hang")
        await client.emit("hang")
        await trio.sleep(2)
        assert [warning.partition(", and")[0] for warning in warned()] == [
            "The connection hook (slow_hook, at test_slow_handlers.py) has not come back for 1.0 seconds"
        ]
        await trio.sleep(1.99)
        assert warned() == []
        await trio.sleep(0.02)
        assert warned() == [slow("hang", "hang")]


async def test_connection_middleware_is_named_as_its_client_waits(warned: Warned, autojump_clock: Clock) -> None:
    async def ask_somebody(ctx: Context, call_next: Next) -> object:
        await trio.sleep(5)
        return await call_next()

    class Controller:
        @on_connection
        async def joined(self) -> None:
            await trio.sleep_forever()

        @on_message("x")
        async def x(self) -> None: ...

    table = RoutingTable(Route("/", Controller), connection_middleware=[ask_somebody])
    async with open_test_server(table) as running, running.strict_client() as client:
        (warning,) = warned()
        assert warning == (
            "Connection middleware (ask_somebody, at test_slow_handlers.py) has not come back for 1.0 seconds, and the client of "
            "socket ID in namespace '/' waits for it. Until it is over, nobody knows whether it may join."
        )
        # The hook that follows is another incident.
        await client.emit("x")
        await trio.sleep(1.01)
        assert [warning.partition(", and")[0] for warning in warned()] == [
            "The connection hook (Controller.joined, at test_slow_handlers.py) has not come back for 1.0 seconds"
        ]


async def test_a_disconnection_hook_is_named_as_the_end_waits(warned: Warned, autojump_clock: Clock) -> None:
    ends = list[str]()

    class Controller:
        @on_message("x")
        async def x(self) -> None: ...

        @on_disconnection
        async def gone(self, reason: str) -> None:
            try:
                await trio.sleep_forever()
            finally:
                ends.append(reason)

    async with open_test_server(RoutingTable(Route("/", Controller))) as running:
        async with running.strict_client() as client:
            await client.disconnect()
            await trio.sleep(1.01)
            (warning,) = warned()
            assert warning == (
                "A disconnection hook (Controller.gone, at test_slow_handlers.py) has not come back for 1.0 seconds, and the end of "
                "socket ID in namespace '/' waits for it. What is not over within cleanup_timeout is cancelled."
            )
            await trio.sleep(30)
        assert ends == ["client namespace disconnect"]
        assert warned() == []


async def test_quick_hooks_are_not_warned_about_later(warned: Warned, autojump_clock: Clock) -> None:
    server = Server()

    @server.on_connection
    async def joined(socket: Socket) -> None:
        await trio.sleep(0.9)

    @server.on_disconnection
    async def gone(socket: Socket) -> None:
        await trio.sleep(0.9)

    async with open_test_server(server) as running:
        async with running.strict_client() as client:
            await client.emit("x")
            await trio.sleep(5)
        await trio.sleep(5)
        assert len(running.server.engine.services.timers) == 0
    assert warned() == []


async def test_who_comes_back_waits_for_hooks_that_are_named_themselves(warned: Warned, autojump_clock: Clock) -> None:
    server = Server(config=Config(connection_state_recovery=Recovery()))

    @server.on_disconnection
    async def slow_hook(socket: Socket) -> None:
        await trio.sleep(3)

    async with open_test_server(server) as running:
        async with await running.websocket() as client:
            await client.receive()
            await client.send("40")
            answer = str(await client.receive())
            pid = re.search(r'"pid":"([^"]+)"', answer)
            assert pid is not None
            await server.emit("x")
            offset = re.search(r'"x","([^"]+)"', str(await client.receive()))
            assert offset is not None
        async with running.strict_client(auth={"pid": pid[1], "offset": offset[1]}):
            assert [warning.partition(" (")[0] for warning in warned()] == ["A disconnection hook"]

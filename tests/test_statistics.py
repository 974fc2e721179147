"""What a server tells operators: each figure, in a situation in which it is another one."""

from __future__ import annotations

import dataclasses
from functools import partial

import pytest
import trio
import trio.testing

from trio_sio import (
    BusStatistics,
    Config,
    ConfigurationError,
    EngineServer,
    Health,
    Instrument,
    Limits,
    Ready,
    Route,
    RoutingTable,
    Server,
    Session,
    Socket,
    on_connection,
    on_message,
)
from trio_sio.statistics import add_up
from trio_sio.testing import InMemoryServer, LoopbackNetwork, RawHttp, RawWebSocket, UpgradeRefused, open_test_server

POLLING = "/socket.io/?EIO=4&transport=polling"


class Application:
    """Shared by all its sockets: handlers that run for as long as a test wants."""

    def __init__(self) -> None:
        self.let_go = trio.Event()
        self.sockets: list[Socket] = []

    @on_connection
    async def joined(self, socket: Socket) -> None:
        self.sockets.append(socket)
        if socket.handshake.auth.get("slow"):
            await self.let_go.wait()

    @on_message("quick")
    async def quick(self) -> None:
        await trio.lowlevel.checkpoint()

    @on_message("slow")
    async def slow(self) -> None:
        await self.let_go.wait()

    @on_message("beside", concurrent=True)
    async def beside(self) -> None:
        await self.let_go.wait()

    @on_message("leave")
    async def leave(self, socket: Socket) -> None:
        await socket.disconnect()


@pytest.fixture
def application() -> Application:
    return Application()


@pytest.fixture
def routes(application: Application) -> RoutingTable:
    return RoutingTable(Route("/", application), Route("/other", application))


async def open_session(memory: InMemoryServer) -> tuple[RawHttp, str]:
    """Open a session over polling, without a namespace; return its connection and its path."""
    http = await memory.http()
    response = await http.request("GET", POLLING)
    sid = response.body.split(b'"')[3].decode()
    return http, f"{POLLING}&sid={sid}"


# Health and readiness.


async def test_a_server_lives_from_the_beginning_to_the_end_of_its_scope(
    routes: RoutingTable, autojump_clock: trio.testing.MockClock
) -> None:
    server = Server(routes)
    assert server.health() == Health(alive=False, uptime=0)
    assert not server.ready().ready
    assert server.ready().reason.startswith("The server is not running: enter ")
    async with server:
        await trio.sleep(7)
        assert server.health() == Health(alive=True, uptime=7)
        assert server.ready() == Ready(ready=True, reason="")
        assert server.statistics().uptime == 7
        await server.drain()
        assert server.health().alive
        assert server.ready() == Ready(ready=False, reason="The server is shutting down.")
    assert server.health() == Health(alive=False, uptime=0)
    assert not server.ready().ready
    assert server.statistics().uptime == 0


async def test_it_is_not_ready_as_long_as_it_says_goodbye(routes: RoutingTable, autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(routes) as memory, trio.open_nursery() as nursery:
        await open_session(memory)  # and never polls again, so that draining takes its time
        nursery.start_soon(memory.server.drain)
        await trio.sleep(1)
        assert not memory.server.engine.drained.is_set()
        assert memory.server.health().alive
        assert not memory.server.ready().ready


@pytest.mark.hostile("P01")
async def test_the_health_page_of_a_listener(routes: RoutingTable) -> None:
    server = Server(routes)
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(server.serve, "127.0.0.1", 0, health_path="/healthz"))
        port = listeners[0].sockname[1]
        assert await ask_health(port) == (200, b'{"ready":true,"reason":""}')
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as client:
            await client.request("GET", POLLING)
            nursery.start_soon(server.drain)
            await trio.testing.wait_all_tasks_blocked()
            # The session has still to fetch its goodbye, so the listener answers.
            assert await ask_health(port) == (503, b'{"ready":false,"reason":"The server is shutting down."}')
            nursery.cancel_scope.cancel()


async def ask_health(port: int) -> tuple[int, bytes]:
    async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
        response = await http.request("GET", "/healthz")
    return response.status, response.body


async def test_a_health_page_has_a_path_of_its_own(routes: RoutingTable) -> None:
    for path in ("/socket.io", "/socket.io/", "healthz", ""):
        async with Server(routes) as server:
            with pytest.raises(ConfigurationError, match='write an absolute path beside the engine\'s, such as "/healthz"'):
                await server.serve("127.0.0.1", 0, health_path=path)


def test_a_server_can_be_asked_before_trio_runs() -> None:
    server = Server()
    assert not server.health().alive
    assert not server.ready().ready
    assert server.statistics().sessions == {"polling": 0, "upgrading": 0, "websocket": 0}


# Sessions and sockets.


def test_a_server_can_be_asked_when_trio_runs_no_more() -> None:
    server = Server(instruments=[Instrument()])  # which is told each second how late the loop is

    async def serve() -> None:
        async with server:
            await trio.sleep(1.5)

    trio.run(serve, clock=trio.testing.MockClock(autojump_threshold=0))
    assert not server.health().alive
    assert server.statistics().loop_lag_max == pytest.approx(0.0)


async def test_an_idle_server(routes: RoutingTable) -> None:
    async with open_test_server(routes) as memory:
        statistics = dataclasses.asdict(memory.server.statistics())
    statistics.pop("uptime")
    assert statistics.pop("sessions") == {"polling": 0, "upgrading": 0, "websocket": 0}
    assert not any(statistics.values()), statistics


async def test_sessions_and_sockets(routes: RoutingTable) -> None:
    async with open_test_server(routes) as memory:
        await open_session(memory)
        _, path = await open_session(memory)
        probe = await memory.websocket(f"EIO=4&transport=websocket&sid={path[-20:]}")
        await probe.send("2probe")
        assert await probe.receive() == "3probe"
        async with memory.strict_client() as first, memory.strict_client():
            await first.connection.join("/other")
            statistics = memory.server.statistics()
            assert statistics.handshakes == 4
            assert statistics.sessions == {"polling": 1, "upgrading": 1, "websocket": 2}
            assert statistics.unconnected_sessions == 2
            assert statistics.sockets == {"/": 2, "/other": 1}
            assert statistics.closed == {}
        memory.cancel()


async def test_sessions_that_ended(routes: RoutingTable, autojump_clock: trio.testing.MockClock) -> None:
    server = Server(routes, config=Config(ping_interval=5, ping_timeout=5, limits=Limits(outbox_packets=3)))
    async with open_test_server(server) as memory:
        async with memory.strict_client():
            pass
        async with memory.strict_client(answer_pings=False) as silent:
            await silent.closed()
        slow, path = await open_session(memory)
        await slow.request("POST", path, body="40")
        for number in range(10):
            await server.emit("x", number)
        await trio.sleep(1)
        statistics = server.statistics()
        assert statistics.closed == {"transport close": 1, "ping timeout": 1, "slow consumer": 1}
        assert statistics.sessions == {"polling": 0, "upgrading": 0, "websocket": 0}
        assert statistics.handshakes == 3


# What was refused.


async def test_refusals_by_code(routes: RoutingTable) -> None:
    async with open_test_server(routes, Config(limits=Limits(connections=1))) as memory, await memory.http() as http:
        for query in (
            "EIO=4&transport=nonsense",
            "EIO=4&transport=polling&sid=nobody",
            "EIO=3&transport=polling",
            "EIO=3&transport=polling",
        ):
            assert (await http.request("GET", f"/socket.io/?{query}")).status == 400
        with pytest.raises(UpgradeRefused):
            await memory.websocket("EIO=4&transport=websocket&sid=nobody")
        assert memory.server.statistics().refusals == {0: 1, 1: 2, 5: 2}
        assert memory.server.statistics().turned_away == {}
        async with memory.strict_client():
            assert (await http.request("GET", POLLING)).status == 503
            with pytest.raises(UpgradeRefused):
                await memory.websocket()
        assert memory.server.statistics().turned_away == {503: 2}
        assert memory.server.statistics().handshakes == 1


async def test_addresses_that_were_turned_away(routes: RoutingTable) -> None:
    async with open_test_server(routes, Config(limits=Limits(connections_per_address=1))) as memory, memory.strict_client():
        async with await memory.http() as http:
            assert (await http.request("GET", POLLING)).status == 429
        with pytest.raises(UpgradeRefused):
            await memory.websocket()
        assert memory.server.statistics().turned_away == {429: 2}
        assert memory.server.statistics().refusals == {}


# Packets.


async def test_what_waits_for_clients(routes: RoutingTable, application: Application) -> None:
    async with open_test_server(routes) as memory:
        http, path = await open_session(memory)
        await http.request("POST", path, body="40")
        await trio.testing.wait_all_tasks_blocked()
        before = memory.server.statistics()
        assert before.waiting_packets == 1  # CONNECT
        await application.sockets[0].emit("x")
        await application.sockets[0].emit("y")
        statistics = memory.server.statistics()
        assert statistics.waiting_packets == 3
        assert statistics.waiting_bytes - before.waiting_bytes == 2 * len('42["x"]')
        await http.request("GET", path)
        assert (memory.server.statistics().waiting_packets, memory.server.statistics().waiting_bytes) == (0, 0)
        memory.cancel()


async def test_what_was_dropped_is_counted_beyond_the_end_of_the_session(routes: RoutingTable, application: Application) -> None:
    server = Server(routes, config=Config(limits=Limits(outbox_packets=3), slow_consumer="drop"))
    async with open_test_server(server) as memory:
        http, path = await open_session(memory)
        await http.request("POST", path, body="40")
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(4):  # for two of which there is room
            await server.volatile().emit("x")
        assert server.statistics().dropped_packets == 2
        for _ in range(3):  # at the expense of the volatile ones, and then of itself
            await server.emit("y")
        assert server.statistics().dropped_packets == 5
        await http.request("POST", path, body="1")
        await trio.testing.wait_all_tasks_blocked()
        assert server.statistics().sessions["polling"] == 0
        assert server.statistics().dropped_packets == 5


async def test_what_crossed_a_disconnect(routes: RoutingTable) -> None:
    async with open_test_server(routes) as memory:
        websocket = await memory.websocket()
        await websocket.receive()
        await join(websocket)
        await websocket.send('42["leave"]')
        assert await websocket.receive() == "41"
        for _ in range(3):
            await websocket.send('42["quick"]')
        await trio.testing.wait_all_tasks_blocked()
        assert memory.server.statistics().crossed_packets == 3
        await websocket.close()
        assert memory.server.statistics().crossed_packets == 3


async def join(websocket: RawWebSocket) -> None:
    await websocket.send("40")
    assert str(await websocket.receive()).startswith("40")


# Handlers.


@pytest.mark.hostile("P07")
async def test_a_handler_that_hangs_shows(routes: RoutingTable, application: Application, autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(routes) as memory, memory.strict_client() as stuck, memory.strict_client() as other:
        server = memory.server
        assert (server.statistics().running_handlers, server.statistics().handler_seconds_max) == (0, 0)
        await trio.sleep(10)
        await stuck.emit("quick")
        await stuck.emit("slow")
        await trio.sleep(1)
        await stuck.emit("quick")  # which waits behind it and must not pass for it
        await trio.sleep(2)
        await other.emit("slow")
        await trio.sleep(1)
        assert server.statistics().running_handlers == 2
        assert server.statistics().handler_seconds_max == pytest.approx(4)
        application.let_go.set()
        await trio.sleep(1)
        assert (server.statistics().running_handlers, server.statistics().handler_seconds_max) == (0, 0)


async def test_a_handler_that_waited_for_its_turn_has_not_run_meanwhile(
    routes: RoutingTable, application: Application, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_test_server(routes) as memory:
        websocket = await memory.websocket()
        await websocket.receive()
        await websocket.send('40{"slow":true}')
        assert str(await websocket.receive()).startswith("40")
        await websocket.send('42["slow"]')
        await trio.sleep(3)
        # The connection hook.
        assert memory.server.statistics().running_handlers == 1
        assert memory.server.statistics().handler_seconds_max == pytest.approx(3)
        application.let_go.set()
        application.let_go = trio.Event()
        await trio.sleep(2)
        # The handler, which came to run when the hook was over.
        assert memory.server.statistics().running_handlers == 1
        assert memory.server.statistics().handler_seconds_max == pytest.approx(2)
        await websocket.send('42["slow"]')
        await trio.sleep(1)
        application.let_go.set()
        application.let_go = trio.Event()
        await trio.sleep(1)
        assert memory.server.statistics().handler_seconds_max == pytest.approx(1)
        memory.cancel()


async def test_concurrent_handlers(routes: RoutingTable, application: Application, autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(routes, Config(limits=Limits(concurrent_handlers=2))) as memory, memory.strict_client() as client:
        server = memory.server
        await client.emit("beside")
        await client.emit("beside")
        await trio.sleep(1)
        assert (server.statistics().socket_tasks, server.statistics().running_handlers) == (2, 0)
        await client.emit("beside")
        await trio.sleep(1)
        assert (server.statistics().socket_tasks, server.statistics().running_handlers) == (2, 1)
        assert server.statistics().handler_seconds_max == pytest.approx(1)
        application.let_go.set()
        await trio.sleep(1)
        assert (server.statistics().socket_tasks, server.statistics().running_handlers) == (0, 0)


# Other servers.


async def test_what_got_lost_between_servers(routes: RoutingTable) -> None:
    async with open_test_server(routes) as memory:
        assert memory.server.statistics().bus is None
    cluster = LoopbackNetwork().cluster()
    server = Server(routes, cluster=cluster)
    assert server.statistics().bus == BusStatistics(gaps=0, lost={}, bad_messages={})
    async with open_test_server(server):
        cluster.has_gap("Something got lost.")
        cluster.received("/", b"nonsense")
        assert server.statistics().bus == BusStatistics(gaps=1, lost={}, bad_messages={"format": 1})


# Engine.IO alone.


async def test_an_engine_alone_has_no_sockets() -> None:
    async def handler(session: Session) -> None:
        async for _ in session:
            pass

    async with open_test_server(EngineServer(handler)) as memory:
        websocket = await memory.websocket()
        await websocket.receive()
        statistics = memory.server.statistics()
        assert statistics.sessions["websocket"] == 1
        assert (statistics.unconnected_sessions, statistics.sockets) == (0, {})
        await websocket.close()


# Several servers.


async def test_the_figures_of_several_add_up() -> None:
    async with open_test_server(Server()) as memory:
        nothing = memory.server.statistics()
    one = dataclasses.replace(
        nothing, uptime=2.0, handshakes=3, sessions={"polling": 1, "websocket": 2}, sockets={"/": 1}, handler_seconds_max=5.0
    )
    other = dataclasses.replace(nothing, uptime=9.0, handshakes=4, sessions={"polling": 5}, sockets={"/": 1, "/x": 1}, refusals={1: 2})
    total = add_up([one, other])
    assert (total.uptime, total.handshakes, total.handler_seconds_max) == (9.0, 7, 5.0)
    assert (total.sessions, total.sockets, total.refusals) == ({"polling": 6, "websocket": 2}, {"/": 2, "/x": 1}, {1: 2})
    assert add_up([]).sessions == {}


def test_the_figures_of_their_buses_add_up_too() -> None:
    first, second = Server().statistics(), Server().statistics()
    assert add_up([]).bus is None
    one = dataclasses.replace(
        first, sessions={"websocket": 2}, uptime=5.0, closed={"a": 1}, bus=BusStatistics(gaps=1, lost={"full": 2}, bad_messages={})
    )
    other = dataclasses.replace(
        second,
        sessions={"websocket": 3},
        uptime=7.0,
        closed={"a": 2, "b": 1},
        bus=BusStatistics(gaps=2, lost={"full": 1}, bad_messages={"size": 1}),
    )
    total = add_up([one, second, other])
    assert (total.sessions["websocket"], total.uptime, total.closed) == (5, 7.0, {"a": 3, "b": 1})
    assert total.bus == BusStatistics(gaps=3, lost={"full": 3}, bad_messages={"size": 1})

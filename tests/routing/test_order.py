"""Which handlers run at the same time, and which outlive their socket."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_sio.config import Config
from trio_sio.limits import Limits
from trio_sio.namespaces.socket import Socket
from trio_sio.routing import Route, RoutingTable, on_connection, on_disconnection, on_message
from trio_sio.server import Server
from trio_sio.testing import StrictSocket, open_test_server

INTERNAL_ERROR = {"status": "error", "message": "Internal server error"}


class Work:
    """A controller whose handlers note when they begin and end, and wait for the test in between."""

    def __init__(self) -> None:
        self.trace: list[str] = []
        self.go_on = trio.Event()

    async def work(self, name: str) -> None:
        self.trace.append(f"{name} begins")
        try:
            await self.go_on.wait()
        except trio.Cancelled:
            self.trace.append(f"{name} cancelled")
            raise
        self.trace.append(f"{name} ends")

    @on_message("serial")
    async def serial(self, name: str) -> str:
        await self.work(name)
        return name

    @on_message("concurrent", concurrent=True)
    async def concurrent(self, name: str) -> str:
        await self.work(name)
        return name

    @on_message("finished", cancel_on_disconnect=False)
    async def finished(self, name: str) -> str:
        await self.work(name)
        return name

    @on_message("concurrent and finished", concurrent=True, cancel_on_disconnect=False)
    async def both(self, name: str) -> str:
        await self.work(name)
        return name

    @on_message("fail", concurrent=True)
    async def fail(self, name: str) -> None:
        await self.work(name)
        raise ValueError(name)

    @on_disconnection
    async def gone(self) -> None:
        self.trace.append("gone")


@pytest.mark.hostile("P28")
async def test_handlers_run_one_at_a_time_unless_they_are_concurrent() -> None:
    work = Work()
    async with open_test_server(RoutingTable(Route("/", work))) as server, server.strict_client() as client:
        for name in "abc":
            await client.emit("serial", name)
        await wait_all_tasks_blocked()
        assert work.trace == ["a begins"]
        work.go_on.set()
        await client.emit_with_ack("serial", "d")
        assert work.trace == [f"{name} {what}" for name in "abcd" for what in ("begins", "ends")]


@pytest.mark.hostile("P28")
@pytest.mark.parametrize("event", ["concurrent", "concurrent and finished"])
async def test_concurrent_handlers_start_in_the_order_of_arrival(event: str) -> None:
    names = [str(number) for number in range(20)]
    work = Work()
    async with open_test_server(RoutingTable(Route("/", work))) as server, server.strict_client() as client:
        for name in names:
            await client.emit(event, name)
        await wait_all_tasks_blocked()
        assert work.trace == [f"{name} begins" for name in names]
        work.go_on.set()
        assert await client.emit_with_ack(event, "last") == "last"
        assert sorted(work.trace) == sorted(f"{name} {what}" for name in [*names, "last"] for what in ("begins", "ends"))


@pytest.mark.hostile("P28")
async def test_a_concurrent_handler_begins_before_the_next_event_is_handled() -> None:
    work = Work()
    async with open_test_server(RoutingTable(Route("/", work))) as server, server.strict_client() as client:
        for event, name in [("serial", "a"), ("concurrent", "b"), ("concurrent", "c"), ("serial", "d")]:
            await client.emit(event, name)
        await wait_all_tasks_blocked()
        work.go_on.set()
        await client.emit_with_ack("serial", "e")
        assert [line for line in work.trace if line.endswith("begins")] == [f"{name} begins" for name in "abcde"]


async def test_a_route_can_make_all_its_handlers_concurrent() -> None:
    work = Work()
    async with open_test_server(RoutingTable(Route("/", work, concurrent=True))) as server, server.strict_client() as client:
        for name in "ab":
            await client.emit("serial", name)
        await wait_all_tasks_blocked()
        assert work.trace == ["a begins", "b begins"]


@pytest.mark.hostile("P07")
async def test_concurrent_handlers_are_bounded_per_socket() -> None:
    work = Work()
    config = Config(limits=Limits(concurrent_handlers=2))
    async with (
        open_test_server(RoutingTable(Route("/", work)), config=config) as server,
        server.strict_client() as client,
        server.strict_client() as other,
    ):
        for name in "abc":
            await client.emit("concurrent", name)
        await other.emit("concurrent", "other")
        await wait_all_tasks_blocked()
        assert sorted(work.trace) == ["a begins", "b begins", "other begins"]
        work.go_on.set()
        assert await client.emit_with_ack("concurrent", "d") == "d"
        assert "c ends" in work.trace


async def test_a_failing_concurrent_handler_gives_its_place_back() -> None:
    work = Work()
    work.go_on.set()
    config = Config(limits=Limits(concurrent_handlers=1))
    async with open_test_server(RoutingTable(Route("/", work)), config=config) as server, server.strict_client() as client:
        for name in "abc":
            assert await client.emit_with_ack("fail", name) == INTERNAL_ERROR


@pytest.mark.parametrize(
    ("event", "ending"), [("serial", "cancelled"), ("concurrent", "cancelled"), ("finished", "ends"), ("concurrent and finished", "ends")]
)
async def test_what_happens_to_a_handler_when_its_client_goes_abruptly(event: str, ending: str) -> None:
    work = Work()
    socket_server = Server(RoutingTable(Route("/", work)))
    async with open_test_server(socket_server) as server, server.strict_client() as client:
        await client.emit(event, "a")
        await wait_all_tasks_blocked()
        await socket_server.of("/").disconnect_sockets()
        await client.closed()
        await wait_all_tasks_blocked()
        work.go_on.set()
        await wait_all_tasks_blocked()
    assert [line for line in work.trace if line != "gone"] == ["a begins", f"a {ending}"]
    assert work.trace.count("gone") == 1


class Talker:
    """Handlers that need their own client while they run."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    async def greet(self) -> None:
        await self.socket.emit("question", 0)

    @on_message("ask me")
    async def ask(self) -> object:
        return await self.socket.emit_with_ack("question", 1)

    @on_message("wait for me")
    async def wait(self) -> object:
        await self.socket.emit("waiting")
        return (await self.socket.once("answer"))[0]

    @on_message("talk to yourself")
    async def talk(self) -> None:
        await self.socket.emit("talk to yourself")

    @on_message("leave me")
    async def leave(self) -> None:
        await self.socket.disconnect()
        await trio.sleep_forever()


@pytest.mark.hostile("P27")
async def test_a_handler_may_wait_for_its_own_client(autojump_clock: MockClock) -> None:
    async with open_test_server(RoutingTable(Route("/", Talker))) as server, server.strict_client() as client:
        client.on("question", lambda number: number + 1)
        assert await client.emit_with_ack("ask me", timeout=5) == 2

        async with trio.open_nursery() as nursery:
            nursery.start_soon(answer_when_asked, client)
            assert await client.emit_with_ack("wait for me", timeout=5) == "here"

        await client.emit("talk to yourself")
        assert await client.once("talk to yourself", timeout=5) == ()
        await client.emit("leave me")
        assert (await client.closed(timeout=5)).disconnected


async def answer_when_asked(client: StrictSocket) -> None:
    await client.once("waiting", timeout=5)
    await client.emit("answer", "here")

"""`rate_limit`, and refusals that the client understands."""

from __future__ import annotations

import contextlib
import gc
import logging
from collections.abc import Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.memory import kept_by
from tests.namespaces.recovering import Peer
from trio_sio import (
    Config,
    ConnectionRefused,
    Context,
    RateLimited,
    Refused,
    Route,
    RouteError,
    RoutingTable,
    Server,
    Socket,
    on_connection,
    on_message,
    rate_limit,
)
from trio_sio.routing import rate_limit as module
from trio_sio.routing.rate_limit import RateLimit
from trio_sio.testing import open_test_server

MockClock = trio.testing.MockClock


class Echo:
    @on_message("echo")
    async def echo(self, value: object) -> object:
        return value


async def passes(limit: RateLimit, socket: Any = None, count: int = 1) -> int:
    """Return how many of ``count`` deliveries pass."""
    passed = 0

    async def call_next() -> object:
        nonlocal passed
        passed += 1
        await trio.lowlevel.checkpoint()
        return None

    for _ in range(count):
        with contextlib.suppress(RateLimited):
            await limit(Context(socket, "x"), call_next)
    return passed


class Somebody:
    """As much of a socket as a limit looks at."""

    def __init__(self, address: str | None = None) -> None:
        self.handshake = self
        self.address = address


# What it takes.


@pytest.mark.parametrize("rate", ["", "10", "10/m", "0/s", "-1/s", "1.5/s", "10 / s", "10/S", "1e3/s", 10, None, "١/s"])
def test_a_rate_that_is_none_is_said(rate: Any) -> None:
    with pytest.raises(RouteError, match=r'is no rate; write a number per s, min or h, as in "10/s"'):
        rate_limit(rate)


@pytest.mark.parametrize("burst", [0, -1, 1.5, True, "5"])
def test_a_burst_that_lets_nothing_pass_is_said(burst: Any) -> None:
    with pytest.raises(RouteError, match="a whole number from 1 on"):
        rate_limit("10/s", burst=burst)


async def later(ctx: Context) -> str:
    raise NotImplementedError


@pytest.mark.parametrize(("per", "message"), [("adress", "is nobody"), (None, "is nobody"), (later, "a plain function of the context")])
def test_whose_limit_it_is_must_be_clear(per: Any, message: str) -> None:
    with pytest.raises(RouteError, match=message):
        rate_limit("10/s", per=per)


def of_a_hook(limit: RateLimit) -> object:
    class Late:
        @on_connection(middleware=[limit])
        def joined(self) -> None: ...

    return Route("/", Late)


@pytest.mark.parametrize(
    "use",
    [
        lambda limit: Route("/", Echo(), connection_middleware=[limit]),
        lambda limit: RoutingTable(connection_middleware=[limit]),
        of_a_hook,
        lambda limit: Server().of("/").use(limit),
    ],
)
def test_a_limit_that_could_refuse_nobody_is_said(use: Callable[[RateLimit], object]) -> None:
    with pytest.raises(RouteError, match=r'refuses no socket that connects.*per="address", or a function of the context'):
        use(rate_limit("10/s"))
    use(rate_limit("10/s", per="address"))


# Buckets.


@pytest.mark.parametrize(("rate", "interval"), [("10/s", 0.1), ("30/min", 2), ("2/h", 1800)])
async def test_a_bucket_empties_and_fills(rate: str, interval: float, autojump_clock: MockClock) -> None:
    limit, somebody = rate_limit(rate, burst=3), Somebody()
    assert await passes(limit, somebody, 5) == 3
    for _ in range(20):
        await trio.sleep(interval)
        assert await passes(limit, somebody, 2) == 1
    await trio.sleep(2 * interval)
    assert await passes(limit, somebody, 5) == 2
    await trio.sleep(1_000 * interval)
    assert await passes(limit, somebody, 5) == 3
    assert limit.refused == 2 + 20 + 3 + 2


async def test_who_waits_as_long_as_it_is_told_passes(autojump_clock: MockClock) -> None:
    limit, somebody = rate_limit("7/s", burst=1), Somebody()

    async def call_next() -> object:
        await trio.lowlevel.checkpoint()
        return None

    for _ in range(50):
        assert await passes(limit, somebody) == 1
        with pytest.raises(RateLimited) as info:
            await limit(Context(somebody, "x"), call_next)  # type: ignore[arg-type]
        await trio.sleep(info.value.retry_after)


async def test_without_a_burst_it_is_what_the_rate_names(autojump_clock: MockClock) -> None:
    assert await passes(rate_limit("4/min"), Somebody(), 10) == 4


@pytest.mark.hostile("R95")
async def test_buckets_go_with_their_sockets_and_keys_when_they_are_full(autojump_clock: MockClock) -> None:
    limit = rate_limit("1/s", burst=2)
    sockets = [Somebody() for _ in range(10)]
    assert [await passes(limit, socket, 3) for socket in sockets] == [2] * 10
    assert len(limit) == 10
    del sockets
    gc.collect()
    assert len(limit) == 0

    limit = rate_limit("1/s", burst=2, per="address")
    for number in range(10):
        assert await passes(limit, Somebody(f"10.0.0.{number}"), 3) == 2
    assert len(limit) == 10
    await trio.sleep(2)
    assert await passes(limit, Somebody("10.0.1.1")) == 1
    assert len(limit) == 1


@pytest.mark.hostile("R95")
async def test_no_more_keys_are_remembered_than_there_may_be(monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock) -> None:
    monkeypatch.setattr(module, "REMEMBERED_KEYS", 100)
    limit = rate_limit("1/h", per="address")
    for number in range(1_000):
        assert await passes(limit, Somebody(f"2001:db8:0:{number:x}::1"), 2) == 1
        assert len(limit) <= 100
    # Whoever was refused last is still known.
    assert await passes(limit, Somebody("2001:db8:0:3e7::1")) == 0


@pytest.mark.hostile("R95")
@pytest.mark.parametrize("key", [str, str.encode, lambda text: ("login", text)])
async def test_what_a_client_calls_itself_takes_little_memory(key: Callable[[str], Any]) -> None:
    limit = rate_limit("1/h", per=lambda ctx: key(ctx.args[0]))

    async def call_next() -> object:
        await trio.lowlevel.checkpoint()
        return None

    with kept_by(__file__) as kept:
        for number in range(100):
            await limit(Context(Somebody(), "login", [f"{number:0100000}"]), call_next)  # type: ignore[arg-type]
        assert 0 < kept() < 500_000
    assert len(limit) == 100
    for number in range(100):
        with pytest.raises(RateLimited):
            await limit(Context(Somebody(), "login", [f"{number:0100000}"]), call_next)  # type: ignore[arg-type]


async def test_long_keys_that_are_alike_are_not_the_same() -> None:
    keys = ["é" * 200, ("é" * 200).encode(), ("é" * 200,), "\ud800" * 200, "é" * 201]
    limit = rate_limit("1/h", per=lambda ctx: ctx.args[0])

    async def call_next() -> object:
        await trio.lowlevel.checkpoint()
        return None

    for key in keys:
        await limit(Context(Somebody(), "x", [key]), call_next)  # type: ignore[arg-type]
    assert len(limit) == len(keys)


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.0.0.2", False),
        ("10.0.0.1", "::ffff:10.0.0.1", True),
        ("2001:db8::1", "2001:db8::ffff:1", True),
        ("2001:db8::1", "2001:db8:0:1::1", False),
        (None, None, True),
    ],
)
async def test_who_shares_an_address(first: str | None, second: str | None, shared: bool) -> None:
    limit = rate_limit("1/h", per="address")
    assert await passes(limit, Somebody(first)) == 1
    assert await passes(limit, Somebody(second)) == (not shared)


# In a server.


async def refusal_of(peer: Peer) -> str:
    await peer.open()
    await peer.ask()
    return str(await peer.receive())


async def test_connection_middleware_refuses_and_the_limit_is_shared_where_it_stands_twice(autojump_clock: MockClock) -> None:
    limit = rate_limit("1/min", burst=2, per="address")
    table = RoutingTable(Route("/a", Echo(), connection_middleware=[limit]), Route("/b", Echo(), connection_middleware=[limit]))
    async with open_test_server(table) as server, server.client("/a"), server.client("/b"):
        with pytest.raises(ConnectionRefused, match="Too many events") as info:
            async with server.client("/a"):
                pass
        assert info.value.data == {"retry_after": 60}
    assert limit.refused == 1


def key_of_nothing(ctx: Context) -> object:
    raise KeyError("user")


@pytest.mark.parametrize("per", [key_of_nothing, lambda ctx: [], lambda ctx: later(Context(ctx.socket))])
@pytest.mark.hostile("R96")
async def test_a_key_that_is_none_lets_nothing_pass(per: Callable[[Context], Any]) -> None:
    table = RoutingTable(Route("/", Echo()), message_middleware=[rate_limit("10/s", per=per)])
    async with open_test_server(table) as server, server.client() as client:
        assert await client.emit_with_ack("echo", 1) == {"status": "error", "message": "Internal server error"}


async def test_what_is_dropped_leaves_those_behind_it_alone(autojump_clock: MockClock) -> None:
    heard: list[object] = []

    class Deaf:
        @on_message("say")
        def say(self, number: int) -> None:
            heard.append(number)

        @on_message("fence", middleware=[])
        def fence(self) -> None:
            return None

    class Limited(Deaf):
        @on_message("say", middleware=[rate_limit("1/s", burst=2)])
        def say(self, number: int) -> None:
            heard.append(number)

    async with open_test_server(RoutingTable(Route("/", Limited()))) as server, server.client() as client:
        for number in range(5):
            await client.emit("say", number)
        await client.emit_with_ack("fence")
    assert heard == [0, 1]


# Refusals.


class NotHere(Refused):
    data: dict[str, str]


class Strict:
    @on_message("plain")
    async def plain(self) -> None:
        raise Refused

    @on_message("typed")
    async def typed(self) -> None:
        raise NotHere("Not here.", {"code": "stranger"})

    @on_message("group")
    async def group(self) -> None:
        async with trio.open_nursery():
            raise NotHere("Not here.", {"code": "group"})


async def test_a_refusal_is_answered_and_is_no_failure(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_sio.routing")
    async with open_test_server(RoutingTable(Route("/", Strict()))) as server, server.client() as client:
        assert await client.emit_with_ack("plain") == {"status": "error", "message": "Refused"}
        assert await client.emit_with_ack("typed") == {"status": "error", "message": "Not here.", "data": {"code": "stranger"}}
        assert await client.emit_with_ack("group") == {"status": "error", "message": "Not here.", "data": {"code": "group"}}
    assert "Strict.typed refused event 'typed' of socket " in caplog.text
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []


async def test_exception_handlers_are_asked_first() -> None:
    table = RoutingTable(Route("/", Strict(), exception_handlers={Refused: lambda ctx, exc: exc.data}))
    async with open_test_server(table) as server, server.client() as client:
        assert await client.emit_with_ack("typed") == {"code": "stranger"}


async def test_functions_of_a_socket_refuse_likewise(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(config=Config())

    @server.of("/").on_connection
    async def joined(socket: Socket) -> None:
        def refuse() -> None:
            raise NotHere("Not here.", {"code": "stranger"})

        socket.on("typed", refuse)
        await trio.lowlevel.checkpoint()

    async with open_test_server(server) as memory, memory.client() as client:
        assert await client.emit_with_ack("typed") == {"status": "error", "message": "Not here.", "data": {"code": "stranger"}}
    assert [record for record in caplog.records if record.levelno >= logging.INFO] == []

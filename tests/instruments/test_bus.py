"""What instruments are told of other servers, and what they let travel there with a broadcast."""

from __future__ import annotations

import contextvars
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.instruments.ledger import Ledger
from trio_sio import EncodeError, Instrument, Route, RoutingTable, Server, Socket, on_connection
from trio_sio.cluster import codec, fields, messages, payload
from trio_sio.cluster.redis import RedisCluster
from trio_sio.limits import Limits
from trio_sio.namespaces.instruments import Instruments
from trio_sio.testing import InMemoryServer, LoopbackCluster, LoopbackNetwork, open_test_server

TRACE: contextvars.ContextVar[str] = contextvars.ContextVar("TRACE", default="")


class Hall:
    @on_connection
    def joined(self, socket: Socket) -> None:
        """Let everybody in."""


class Traced(Ledger):
    """Lets a context variable travel, and sets it where something is delivered."""

    def inject(self, namespace: str, event: str) -> Mapping[str, str] | None:
        return {"traceparent": TRACE.get()} if TRACE.get() else None

    @contextmanager
    def delivering(self, namespace: str, event: str, carried: Mapping[str, str]) -> Iterator[None]:
        token = TRACE.set(carried.get("traceparent", ""))
        try:
            with super().delivering(namespace, event, carried):
                yield
        finally:
            TRACE.reset(token)

    def broadcast_emitted(self, namespace: str, event: str, *args: Any) -> None:
        self._write("broadcast_emitted", event, TRACE.get())


@asynccontextmanager
async def two(first: Instrument, second: Instrument) -> AsyncIterator[tuple[InMemoryServer, InMemoryServer]]:
    network = LoopbackNetwork()
    servers = [Server(RoutingTable(Route("/", Hall)), cluster=network.cluster(), instruments=[one]) for one in (first, second)]
    async with open_test_server(servers[0]) as here, open_test_server(servers[1]) as there:
        yield here, there


async def test_what_is_injected_is_there_where_it_is_delivered(autojump_clock: trio.testing.MockClock) -> None:
    here, there = Traced(), Traced()
    async with two(here, there) as (first, second), second.strict_client() as client:
        assert isinstance(first.server, Server)
        await trio.sleep(1)
        client.on("question", lambda: 1)
        await first.server.emit("plain")
        TRACE.set("00-x")
        await first.server.emit("traced")
        await first.server.local.emit("here")
        assert await first.server.emit_with_ack("question") == [1]
        assert (await client.receive()).name == "plain"
        assert (await client.receive()).name == "traced"
        assert here.of("broadcast_emitted") == [("plain", ""), ("traced", "00-x"), ("here", "00-x"), ("question", "00-x")]
        assert there.of("broadcast_emitted") == [("plain", ""), ("traced", "00-x"), ("question", "00-x")]
        assert there.of("delivering") == [
            ("/", "plain", ()),
            ("/", "traced", (("traceparent", "00-x"),)),
            ("/", "question", (("traceparent", "00-x"),)),
        ]
    for ledger in (here, there):
        ledger.require_balanced()


async def test_the_bus_and_its_gaps_are_told(autojump_clock: trio.testing.MockClock) -> None:
    here, there = Ledger(), Ledger()
    async with two(here, there) as (first, _):
        assert isinstance(first.server, Server)
        assert first.server.cluster is not None
        first.server.cluster.has_gap("Something was lost.")
        assert here.names("bus_up", "bus_gap") == ["bus_up", "bus_gap"]
        assert here.of("bus_gap") == [("Something was lost.",)]
    assert here.of("bus_down") == there.of("bus_down") == [("The server has ended.",)]
    here.require_balanced()


@pytest.mark.hostile("O04")
@pytest.mark.parametrize(
    "carried",
    [
        "text",
        ["list"],
        {"a": 1},
        {"a": None},
        {"a": {"b": "c"}},
        {str(number): "x" for number in range(17)},
        {"a": "x" * 4096},
        {"a": "\ud800"},
        {},
        None,
    ],
)
async def test_what_others_say_is_carried_is_looked_at(
    carried: object, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    options = {"rooms": [], "except": [], "flags": {}, "carried": carried}
    data = {"packet": {"type": 2, "data": ["news"]}, "opts": options}
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", Hall)), cluster=(cluster := LoopbackNetwork().cluster()), instruments=[ledger])
    wire = {"type": messages.Broadcast.TYPE, "data": data, "uid": "other", "nsp": "/", "number": 1}
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        cluster.received("/", payload.dumps(wire, Limits(), 1_000_000))
        assert (await client.receive()).name == "news"
        assert [dict(carried) for _, _, carried in ledger.of("delivering")] == [{}] or carried == {"a": "\ud800"}
    assert not caplog.records
    ledger.require_balanced()


@pytest.mark.hostile("O05")
async def test_what_is_too_much_to_carry_is_left_out_alone(
    autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    class Greedy(Instrument):
        def inject(self, namespace: str, event: str) -> Any:
            match event:
                case "many":
                    return {str(number): "x" for number in range(100)}
                case "long":
                    return {"first": "x", "second": "x" * 5000}
                case _:
                    return {"first": "x", "second": b"bytes"}

    here, there = Greedy(), Ledger()
    async with two(here, there) as (first, second), second.strict_client() as client:
        assert isinstance(first.server, Server)
        await trio.sleep(1)
        for event in ("many", "long", "bytes"):
            await trio.sleep(100)
            await first.server.emit(event)
            assert (await client.receive()).name == event
        assert [len(carried) for _, _, carried in there.of("delivering")] == [16, 1, 1]
    lines = [record.getMessage() for record in caplog.records if record.name == "trio_sio.instruments"]
    assert [line.partition(" failed")[0].rpartition(".")[2] for line in lines] == ["inject"] * 3


def test_what_nobody_carries_is_not_on_the_wire() -> None:
    message = messages.Broadcast(uid="a", namespace="/", event=("x",), options=fields.Options())
    assert b"carried" not in codec.encode(message, Limits())


@pytest.mark.hostile("O03")
async def test_one_that_emits_where_it_is_asked_what_travels_is_stopped(caplog: pytest.LogCaptureFixture) -> None:
    class Echoing(Instrument):
        def inject(self, namespace: str, event: str) -> Mapping[str, str] | None:
            server.emit_nowait("again")
            return None

    server = Server(RoutingTable(Route("/", Hall)), cluster=LoopbackNetwork().cluster(), instruments=[Echoing()])
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        await server.emit("news")
        await trio.testing.wait_all_tasks_blocked()
        assert 1 < len(client.pending) < 20
    (line,) = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
    assert "Echoing.inject failed" in line


class Balance(Instrument):
    """Writes down what comes of that for which it was asked."""

    def __init__(self) -> None:
        self.told = list[tuple[str, ...]]()

    def inject(self, namespace: str, event: str) -> None:
        self.told.append(("inject", namespace, event))

    def broadcast_emitted(self, namespace: str, event: str, *_: object) -> None:
        self.told.append(("emitted", namespace, event))

    def broadcast_failed(self, namespace: str, event: str, error: BaseException) -> None:
        self.told.append(("failed", namespace, event, type(error).__name__))


@pytest.mark.parametrize("make", [LoopbackNetwork().cluster, partial(RedisCluster, "redis://localhost")], ids=["node", "classic"])
async def test_a_broadcast_that_fails_has_an_end_all_the_same(make: Callable[[], LoopbackCluster | RedisCluster]) -> None:
    one, cluster = Balance(), make()
    server = Server(cluster=cluster)
    server.of("/").observe(Instruments([one]))

    def publish(*_: object) -> None:
        raise OSError("The bus is broken.")

    server.emit_nowait("news")
    with pytest.raises(EncodeError):
        server.emit_nowait("news", object())
    with pytest.raises(EncodeError):
        server.emit_nowait("connect")
    with pytest.MonkeyPatch.context() as patch, pytest.raises(OSError, match="broken"):
        if isinstance(cluster, RedisCluster):
            patch.setattr(cluster.pubsub, "publish_nowait", publish)
        else:
            patch.setattr(cluster, "publish", publish)
        server.emit_nowait("news")
    begun = ("inject", "/", "news")
    assert one.told == [
        begun,
        ("emitted", "/", "news"),
        begun,
        ("failed", "/", "news", "EncodeError"),
        ("inject", "/", "connect"),
        ("failed", "/", "connect", "EncodeError"),
        begun,
        ("failed", "/", "news", "OSError"),
    ]


async def test_a_method_may_be_an_attribute_of_the_instrument() -> None:
    one, told = Instrument(), []
    one.inject = lambda namespace, event: told.append(("inject", event))  # type: ignore[method-assign]
    one.broadcast_emitted = lambda namespace, event, *_: told.append(("emitted", event))  # type: ignore[method-assign]
    server = Server(RoutingTable(Route("/", Hall)), cluster=LoopbackNetwork().cluster(), instruments=[one])
    async with open_test_server(server):
        await server.emit("news")
    assert told == [("inject", "news"), ("emitted", "news")]

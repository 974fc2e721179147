"""`Metrics`: what happens is counted, for Prometheus, under names that do not depend on what clients say."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry, Counter

from trio_sio import ConfigurationError, ConnectionRefused, Route, RoutingTable, Server, Socket, broadcasts, on_connection, on_message
from trio_sio.metrics import Metrics
from trio_sio.testing import open_test_server

ROOT = Path(__file__).parent.parent.parent


class Desk:
    def __init__(self) -> None:
        self.sockets: list[Socket] = []

    @on_connection
    async def connected(self, socket: Socket) -> None:
        self.sockets.append(socket)

    @on_message("add")
    async def add(self, a: int, b: int) -> int:
        return a + b

    @on_message("fail")
    async def fail(self) -> None:
        raise ZeroDivisionError

    @on_message("tell")
    @broadcasts("told")
    async def tell(self, text: str) -> str:
        return text


async def refuse(ctx: object, call_next: object) -> None:
    raise ConnectionRefused("not today")


@pytest.fixture
def desk() -> Desk:
    return Desk()


@pytest.fixture
def server(desk: Desk) -> Server:
    return Server(RoutingTable(Route("/", desk), Route("/closed", Desk, connection_middleware=[refuse])))


@pytest.fixture
def metrics(server: Server) -> Metrics:
    return Metrics(server)


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(f"trio_sio_{name}", labels)


async def test_sockets_and_events(server: Server, metrics: Metrics) -> None:
    async with open_test_server(server) as memory, memory.strict_client() as client, memory.strict_client() as other:
        assert value(metrics, "sessions", transport="websocket") == 2
        assert value(metrics, "sockets", namespace="/") == 2
        assert value(metrics, "sockets_joined_total", namespace="/") == 2
        assert await client.emit_with_ack("add", 1, 2) == 3
        await client.emit("fail")
        await client.emit("add", "no number")
        await client.emit("tell", "x" * 100)
        assert await other.once("told") == ("x" * 100,)
        await trio.testing.wait_all_tasks_blocked()
        assert value(metrics, "events_received_total", namespace="/") == 4
        handled = {"namespace": "/", "event": "add"}
        assert value(metrics, "events_handled_total", **handled, outcome="ok") == 1
        assert value(metrics, "events_handled_total", **handled, outcome="refused") == 1
        assert value(metrics, "events_handled_total", namespace="/", event="fail", outcome="failed") == 1
        assert value(metrics, "handler_seconds_count", **handled) == 2
        assert value(metrics, "events_emitted_total", namespace="/", event="told") == 1
        assert value(metrics, "deliveries_total", namespace="/", event="told") == 2
        size = value(metrics, "emitted_bytes_total", namespace="/")
        assert size is not None
        assert 2 * 100 < size < 2 * 200
    assert value(metrics, "sockets_left_total", namespace="/", reason="transport close") == 2


async def test_who_was_not_let_in(server: Server, metrics: Metrics) -> None:
    async with open_test_server(server) as memory, memory.strict_client() as client:
        for namespace in ("/closed", "/nowhere", "/nowhere-else"):
            with pytest.raises(ConnectionRefused):
                await client.connection.join(namespace)
        assert value(metrics, "sockets_refused_total", namespace="/closed") == 1
        assert value(metrics, "sockets_refused_total", namespace="other") == 2


async def test_acknowledgements(server: Server, metrics: Metrics, desk: Desk, autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(server) as memory, memory.strict_client() as client:
        client.on("told", len)
        assert await desk.sockets[0].emit_with_ack("told", "abc") == 3
        with pytest.raises(trio.TooSlowError):
            await desk.sockets[0].emit_with_ack("made up", timeout=3)
        assert value(metrics, "acks_total", namespace="/", event="told", outcome="answered") == 1
        assert value(metrics, "acks_total", namespace="/", event="other", outcome="timeout") == 1
        assert value(metrics, "ack_seconds_sum", namespace="/", event="other") == pytest.approx(3, abs=0.1)


@pytest.mark.hostile("O10")
async def test_names_that_clients_make_up_make_no_series(server: Server, metrics: Metrics) -> None:
    async with open_test_server(server) as memory, memory.strict_client() as client:
        series = count_series(metrics)
        for number in range(10_000):
            await client.emit(f"bomb{number}", number)
        await trio.testing.wait_all_tasks_blocked()
        assert value(metrics, "events_handled_total", namespace="/", event="other", outcome="unknown") == 10_000
        assert count_series(metrics) - series < 30


def count_series(metrics: Metrics) -> int:
    return sum(len(metric.samples) for metric in metrics.registry.collect())


async def test_a_registry_of_the_applications_has_them_as_well(server: Server) -> None:
    registry = CollectorRegistry()
    Counter("orders", "Of the application.", registry=registry).inc()
    metrics = Metrics(server, registry)
    async with open_test_server(server):
        assert registry.get_sample_value("orders_total") == 1
        assert value(metrics, "ready") == 1
    assert value(metrics, "ready") is None  # there is nothing to tell of a server that does not run


def test_two_servers_want_two_registries(server: Server) -> None:
    registry = CollectorRegistry()
    Metrics(server, registry)
    with pytest.raises(ConfigurationError, match="has the metrics of another server; give each server one of its own"):
        Metrics(Server(), registry)


def test_what_is_refused_leaves_nothing_in_the_registry(server: Server) -> None:
    registry = CollectorRegistry()
    Counter("trio_sio_acks", "Somebody else's, in the middle of ours.", registry=registry)
    with pytest.raises(ConfigurationError, match="has the metrics of another server"):
        Metrics(server, registry)
    assert {metric.name for metric in registry.collect()} == {"trio_sio_acks"}
    assert not server.instruments


async def test_it_comes_before_the_server_is_entered(server: Server) -> None:
    registry = CollectorRegistry()
    async with Server() as entered:
        with pytest.raises(RuntimeError, match="add instruments before"):
            Metrics(entered, registry)
        assert not list(registry.collect())
    Metrics(server, registry)


def test_without_the_package_a_sentence_says_what_to_install() -> None:
    code = "import sys; sys.modules['prometheus_client'] = None; import trio_sio.metrics"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT)
    assert done.stderr.splitlines()[-1] == "ImportError: Metrics need prometheus_client; install it with `pip install 'trio-sio[metrics]'`"

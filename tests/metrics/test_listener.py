"""Scrapes where people make them: at a listener of ours, under a host, and of several workers."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
from hypercorn.middleware.dispatcher import TrioDispatcherMiddleware
from prometheus_client import CollectorRegistry
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector
from quart_trio import QuartTrio

from tests.doors.hypercorn_site import hypercorn_config
from trio_sio import ConfigurationError, EngineServer, RoutingTable, Server
from trio_sio.doors.asgi.messages import ASGIFramework
from trio_sio.doors.hypercorn import serve
from trio_sio.metrics import Metrics
from trio_sio.testing import RawHttp

POLLING = "/socket.io/?EIO=4&transport=polling"


async def ask(port: int, path: str = "/metrics", method: str = "GET", **fields: str) -> tuple[int, str]:
    async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
        response = await http.request(method, path, headers=fields)
    return response.status, response.body.decode()


@pytest.mark.hostile("O12", "O13")
async def test_a_scrape_of_a_listener_also_while_it_drains() -> None:
    server = Server()
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(server.serve, "127.0.0.1", 0, metrics_path="/metrics", docs_path="/events"))
        port = listeners[0].sockname[1]
        status, text = await ask(port)
        assert status == 200
        assert "\ntrio_sio_ready 1.0\n" in text
        assert "\nprocess_open_fds " in text
        assert await ask(port, method="HEAD") == (200, "")
        assert (await ask(port, method="POST"))[0] == 405
        assert (await ask(port, Accept="application/openmetrics-text; version=x"))[0] == 200
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as client:
            await client.request("GET", POLLING)
            nursery.start_soon(server.drain)
            await trio.testing.wait_all_tasks_blocked()
            status, text = await ask(port)
            assert status == 200
            assert "\ntrio_sio_ready 0.0\n" in text
            nursery.cancel_scope.cancel()


async def test_the_metrics_that_were_made_before_are_those() -> None:
    server = Server()
    metrics = Metrics(server)
    async with server, trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(server.serve, "127.0.0.1", 0, metrics_path="/metrics"))
        assert (await ask(listeners[0].sockname[1]))[0] == 200
        assert server.instruments == (metrics,)
        nursery.cancel_scope.cancel()


async def test_a_collector_that_raises_is_a_scrape_that_fails_and_no_more(caplog: pytest.LogCaptureFixture) -> None:
    class Broken(Collector):
        def collect(self) -> list[Metric]:
            raise ZeroDivisionError

    registry = CollectorRegistry()
    server = Server()
    Metrics(server, registry)
    registry.register(broken := Broken())
    async with server, trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(server.serve, "127.0.0.1", 0, metrics_path="/metrics"))
        port = listeners[0].sockname[1]
        assert (await ask(port))[0] == 500
        registry.unregister(broken)
        assert (await ask(port))[0] == 200
        nursery.cancel_scope.cancel()
    assert [record.exc_info is not None for record in caplog.records] == [True]


async def test_where_it_cannot_be() -> None:
    async with Server() as server:
        with pytest.raises(ConfigurationError, match=r"was entered without metrics; write Metrics\(server\) before"):
            await server.serve("127.0.0.1", 0, metrics_path="/metrics")
    for path in ("metrics", "/socket.io/"):
        with pytest.raises(ConfigurationError, match=f'metrics_path is {path!r}, .* such as "/metrics"'):
            await Server().serve("127.0.0.1", 0, metrics_path=path)
    with pytest.raises(ConfigurationError, match="metrics_path is '/x', which is the health_path, too"):
        await Server().serve("127.0.0.1", 0, metrics_path="/x", health_path="/x")


async def test_an_engine_server_has_none() -> None:
    async def converse(connection: object) -> None:
        raise AssertionError

    with pytest.raises(ConfigurationError, match="not of an EngineServer; leave metrics_path out"):
        await EngineServer(converse).serve("127.0.0.1", 0, metrics_path="/metrics")


async def test_without_the_package_a_sentence_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "prometheus_client", None)
    for name in [name for name in sys.modules if name.startswith("trio_sio.metrics")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ConfigurationError, match=r"pip install .trio-sio\[metrics\]..\.$"):
        await Server().serve("127.0.0.1", 0, metrics_path="/metrics")


# Under a host.


async def call(app: ASGIFramework, **scope: object) -> list[dict[str, object]]:
    sent: list[dict[str, object]] = []

    async def send(message: dict[str, object]) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message)

    async def receive() -> dict[str, object]:
        await trio.lowlevel.checkpoint()
        return {"type": "websocket.connect"}

    await app({"path": "/metrics", "query_string": b"", "headers": [], **scope}, receive, send)
    return sent


async def test_an_application_to_mount() -> None:
    server = Server()
    app = Metrics(server).asgi()
    async with server:
        start, *body = await call(app, type="http", method="GET")
        assert (start["type"], start["status"]) == ("http.response.start", 200)
        text = b"".join(message["body"] for message in body).decode()  # type: ignore[misc]
        assert "\ntrio_sio_ready 1.0\n" in text
        (start, *_) = await call(app, type="http", method="GET", headers=[(b"accept", b"application/openmetrics-text; version=x")])
        assert start["status"] == 200
        assert await call(app, type="websocket") == [{"type": "websocket.close"}]
        with pytest.raises(ConfigurationError, match="The metrics are a page, and know nothing of 'webtransport'"):
            await call(app, type="webtransport")


async def test_beside_quart_under_hypercorn() -> None:
    """Whoever dispatches tells the lifespan to all, and all end with the one that knows nothing of it."""
    site = QuartTrio(__name__)
    told: list[str] = []

    @site.before_serving
    async def began() -> None:
        told.append("began")

    @site.after_serving
    async def ended() -> None:
        told.append("ended")

    @site.get("/hello")
    async def hello() -> str:
        return "hello"

    server = Server()
    mounts: dict[str, Any] = {"/metrics": Metrics(server).asgi(), "/": site}
    pages = cast(ASGIFramework, TrioDispatcherMiddleware(mounts))
    stop = trio.Event()
    with trio.fail_after(10):
        async with trio.open_nursery() as nursery:
            (url,) = await nursery.start(partial(serve, server.asgi(pages), hypercorn_config(), shutdown_trigger=stop.wait))
            port = int(url.rpartition(":")[2])
            assert told == ["began"]
            assert await ask(port, "/hello") == (200, "hello")
            status, text = await ask(port)
            assert status == 200
            assert "\ntrio_sio_ready 1.0\n" in text
            stop.set()
    assert told == ["began", "ended"]


# Of several workers.


async def test_all_workers_whichever_is_asked(tmp_path: Path) -> None:
    from trio_sio import workers

    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            serving = await nursery.start(partial(workers.serve, make_table, "127.0.0.1", 0, workers=3, metrics_path="/metrics"))
            port = serving.listeners[0].sockname[1]
            for _ in range(4):
                status, text = await ask(port)
                assert status == 200
                for number in range(3):
                    assert f'\ntrio_sio_ready{{worker="{number}"}} 1.0\n' in text
            nursery.cancel_scope.cancel()


def make_table() -> RoutingTable:
    return RoutingTable()

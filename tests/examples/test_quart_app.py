"""examples/quart_app: pages, an API and sockets on one port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from hypercorn.config import Config as HypercornConfig

from examples.quart_app.app import Board, BoardController, make_site
from trio_sio import Route, RoutingTable, Server, open_client
from trio_sio.doors import hypercorn
from trio_sio.testing import HttpResponse, RawHttp

ROOT = Path(__file__).parents[2]
BOUND = 10.0


@asynccontextmanager
async def running(
    shutdown_trigger: Callable[[], Awaitable[object]] = trio.sleep_forever, graceful_timeout: float = 3
) -> AsyncIterator[int]:
    board = Board()
    server = Server(RoutingTable(Route("/", BoardController(board))))
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    config.graceful_timeout = graceful_timeout
    serve = partial(hypercorn.serve, server.asgi(make_site(server, board)), config, shutdown_trigger=shutdown_trigger)
    async with trio.open_nursery() as nursery:
        urls: list[str] = await nursery.start(serve)
        yield int(urls[0].rpartition(":")[2])
        nursery.cancel_scope.cancel()


async def request(port: int, method: str, target: str, body: str | None = None) -> HttpResponse:
    async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
        return await http.request(method, target, headers={"Content-Type": "application/json"}, body=body)


async def test_what_is_posted_is_heard_and_what_is_pinned_is_there() -> None:
    async with running() as port, open_client(f"http://127.0.0.1:{port}", transports=["websocket"]) as client:
        assert await client.once("board") == ([],)
        assert (await request(port, "POST", "/notices", '{"text": "Lunch"}')).status == 204
        assert await client.once("pinned") == ("Lunch",)
        assert await client.emit_with_ack("pin", "Tea") == "Tea"
        assert await client.once("pinned") == ("Tea",)
        assert json.loads((await request(port, "GET", "/notices")).body) == ["Lunch", "Tea"]
        page = await request(port, "GET", "/")
        assert page.status == 200
        assert b"<h1>Notice board</h1>" in page.body


@pytest.mark.parametrize("body", ["", "[]", "{}", '{"text": 1}', '{"text": ""}', json.dumps({"text": "x" * 201})])
async def test_what_is_no_notice_is_refused(body: str) -> None:
    async with running() as port, open_client(f"http://127.0.0.1:{port}", transports=["websocket"]) as client:
        response = await request(port, "POST", "/notices", body)
        assert (response.status, response.body) == (400, b'Send {"text": "..."} with 1 to 200 characters.\n')
        assert (await client.emit_with_ack("pin", "x" * 201))["status"] == "error"
        assert json.loads((await request(port, "GET", "/notices")).body) == []


async def test_who_keeps_a_connection_does_not_hold_up_the_end() -> None:
    stop = trio.Event()
    async with running(shutdown_trigger=stop.wait, graceful_timeout=3_600) as port:
        kept = []
        for method, target, body in [("GET", "/", None), ("GET", "/notices", None), ("POST", "/notices", '{"text": "Lunch"}')]:
            kept.append(RawHttp(await trio.open_tcp_stream("127.0.0.1", port)))
            assert (await kept[-1].request(method, target, headers={"Content-Type": "application/json"}, body=body)).status in (200, 204)
        stop.set()
        for http in kept:
            with trio.fail_after(BOUND):
                assert await http.stream.receive_some() == b""
            await http.stream.aclose()


@pytest.mark.slow
def test_the_program_serves_until_it_is_told_to_stop() -> None:
    command = [sys.executable, str(ROOT / "examples/quart_app/app.py")]
    environment = {**os.environ, "PORT": "0", "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            line = program.stdout.readline()
            assert line.startswith("Listening on http://127.0.0.1:")
            port = int(line.rpartition(":")[2])
            assert trio.run(request, port, "GET", "/notices").body == b"[]\n"
            program.send_signal(signal.SIGTERM)
            _, errors = program.communicate(timeout=20)
        finally:
            program.kill()
    assert program.returncode == 0
    assert "Traceback" not in errors

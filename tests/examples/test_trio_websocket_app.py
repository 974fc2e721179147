"""examples/trio_websocket_app.py: two protocols at one trio-websocket server."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
from trio_websocket import WebSocketServer, open_websocket_url, serve_websocket

from examples.trio_websocket_app import Ticker, handle
from trio_sio import Config, Route, RoutingTable, Server, open_client

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
async def test_both_protocols_tell_the_same() -> None:
    ticker = Ticker(number=41)
    server = Server(RoutingTable(Route("/", ticker)), config=Config(transports=["websocket"]))
    async with server, trio.open_nursery() as nursery:
        host: WebSocketServer = await nursery.start(serve_websocket, partial(handle, server, ticker), "127.0.0.1", 0, None)
        async with open_client(f"http://127.0.0.1:{host.port}", transports=["websocket"]) as client:
            assert await client.emit_with_ack("latest") == 41
            async with open_websocket_url(f"ws://127.0.0.1:{host.port}/ticks") as websocket:
                assert await websocket.get_message() == "41"
            nursery.start_soon(ticker.run, server)
            assert await client.once("tick") == (42,)
        nursery.cancel_scope.cancel()


@pytest.mark.slow
def test_the_program_serves_until_it_is_interrupted() -> None:
    command = [sys.executable, "-m", "examples.trio_websocket_app"]
    environment = {**os.environ, "PORT": "0"}
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as program:
        try:
            assert program.stdout is not None
            assert int(program.stdout.readline().removeprefix("Listening on http://127.0.0.1:")) > 0
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=20)
        finally:
            program.kill()
    assert (program.returncode, errors) == (0, "")

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
from trio_websocket import open_websocket_url

from examples.trio_websocket_app import Ticker, say_ticks
from trio_sio import Config, Route, RoutingTable, Server, open_client
from trio_sio.doors.trio_websocket import serve
from trio_sio.testing import RawWebSocket, UpgradeRefused

ROOT = Path(__file__).parents[2]


@pytest.mark.slow
async def test_both_protocols_tell_the_same() -> None:
    ticker = Ticker(number=41)
    server = Server(RoutingTable(Route("/", ticker)), config=Config(transports=["websocket"]))
    async with server, trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve, server, "127.0.0.1", 0, other=partial(say_ticks, ticker)))
        async with open_client(url, transports=["websocket"]) as client:
            assert await client.emit_with_ack("latest") == 41
            async with open_websocket_url(f"{url.replace('http', 'ws')}/ticks") as websocket:
                assert await websocket.get_message() == "41"
            elsewhere = await trio.open_tcp_stream("127.0.0.1", int(url.rpartition(":")[2]))
            with pytest.raises(UpgradeRefused, match="404"):
                await RawWebSocket.open(elsewhere, "/elsewhere")
            await trio.aclose_forcefully(elsewhere)
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

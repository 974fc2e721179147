"""examples/engine_io.py: sessions without Socket.IO."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from examples.engine_io import shout
from tests.ports import free_port
from trio_sio import Config, EngineServer
from trio_sio.testing import WebSocketClosed, open_test_server

ROOT = Path(__file__).parents[2]


async def test_what_comes_goes_back_louder(capsys: pytest.CaptureFixture[str]) -> None:
    async with open_test_server(EngineServer(shout, config=Config(path="/live"))) as server:
        async with await server.websocket("EIO=4&transport=websocket&name=Ann") as ann:
            assert str(await ann.receive()).startswith("0{")
            assert await ann.receive() == "4Hello, Ann. Say `bye` to leave."
            await ann.send("4hello")
            assert await ann.receive() == "4HELLO"
            await ann.send(b"\x01\x02")
            assert await ann.receive() == b"\x02\x01"
            await ann.send("4bye")
            with pytest.raises(WebSocketClosed):
                await ann.receive()
        assert capsys.readouterr().out == ""

        async with await server.websocket() as somebody:
            await somebody.receive()
            assert await somebody.receive() == "4Hello, stranger. Say `bye` to leave."
            await somebody.close()
    assert capsys.readouterr().out == "stranger has left: transport close\n"


@pytest.mark.slow
def test_the_program_serves_until_it_is_interrupted() -> None:
    port = free_port()
    with subprocess.Popen(
        [sys.executable, "-m", "examples.engine_io"], cwd=ROOT, env={**os.environ, "PORT": str(port)}, stdout=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == f"Listening on http://127.0.0.1:{port}/live\n"
            program.send_signal(signal.SIGINT)
            program.wait(timeout=30)
        finally:
            program.kill()

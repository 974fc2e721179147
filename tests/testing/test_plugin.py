"""The pytest plugin, as another project has it: in a pytest of its own, which knows nothing of this repository's settings."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

pytestmark = pytest.mark.slow

TESTS = """
import pytest
from trio_sio import ConfigurationError, Config, Server

def make_server():
    server = Server()

    @server.on("add")
    async def add(socket, a: int, b: int) -> int:
        return a + b

    @server.on("stay")
    async def stay(socket) -> None:
        await socket.join("room")

    return server

@pytest.mark.trio
async def test_calls(socketio_server, l0):
    one, other = await socketio_server(make_server()), await socketio_server(make_server())
    async with l0(one.server):
        async with one.strict_client() as client:
            assert await client.emit_with_ack("add", 1, 2) == 3
        async with other.strict_client() as client:
            assert await client.emit_with_ack("add", 3, 4) == 7

@pytest.mark.trio
async def test_leaves_something(socketio_server, l0, autojump_clock):
    server = await socketio_server(make_server())
    async with server.strict_client() as client:
        async with l0(server.server):
            await client.emit_with_ack("stay")

@pytest.mark.trio
async def test_wrong_arguments(socketio_server):
    with pytest.raises(ConfigurationError):
        await socketio_server(make_server(), Config())
"""


def run(command: list[str], directory: Path) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    return subprocess.run(
        [sys.executable, *command], cwd=directory, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_the_fixtures(tmp_path: Path) -> None:
    (tmp_path / "test_app.py").write_text(TESTS)
    plugins = ["-p", "pytest_trio.plugin", "-p", "trio_sio.testing.plugin", "-p", "no:cacheprovider"]
    pytest_run = run(["-m", "pytest", "--quiet", "--tb=short", "-W", "error", *plugins, "-c", os.devnull, "--rootdir", "."], tmp_path)
    assert "2 passed" in pytest_run.stdout, pytest_run.stdout + pytest_run.stderr
    assert "1 failed" in pytest_run.stdout
    assert "AssertionError: rooms: 1 instead of 0" in pytest_run.stdout


def test_pytest_finds_it() -> None:
    import tomllib

    with (ROOT / "pyproject.toml").open("rb") as file:
        assert tomllib.load(file)["project"]["entry-points"]["pytest11"] == {"trio_sio": "trio_sio.testing.plugin"}

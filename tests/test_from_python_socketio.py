"""What docs/from-python-socketio.md says: what its tables name exists, and its program runs before and after."""

from __future__ import annotations

import contextlib
import dataclasses
import inspect
import os
import re
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
import socketio
import trio
import trio.testing

from tests.conftest import ROOT
from tests.pages import BLOCKS, TEXTS
from tests.ports import free_port
from trio_sio import (
    ClientSocket,
    Config,
    ConnectionRefused,
    Manager,
    Reconnection,
    Server,
    Socket,
    open_client,
)
from trio_sio.testing import open_test_server


def columns(section: str) -> tuple[str, str]:
    """Return what is written as code in the first two columns of the table below a heading."""
    rows = re.findall(
        r"^\| (.*?) \| (.*?) \|", TEXTS["from-python-socketio"].partition(f"## {section}\n")[2].partition("\n## ")[0], re.MULTILINE
    )
    theirs, ours = (" ".join(" ".join(re.findall(r"`([^`]+)`", cell)) for cell in column) for column in zip(*rows, strict=True))
    return theirs, ours


def members(prefix: str, text: str) -> set[str]:
    return set(re.findall(rf"(?<![\w.]){prefix}\.(\w+)", text)) - {"on_"}


def test_what_the_tables_name_exists() -> None:
    theirs, ours = columns("The server")
    server, options = Server(), {field.name for field in dataclasses.fields(Config)}
    assert len(members("server", ours)) > 8
    assert [name for name in members("server", ours) if not hasattr(server, name)] == []
    assert len(members("socket", ours)) > 10
    assert [name for name in members("socket", ours) if not hasattr(Socket, name) and name not in Socket.__slots__] == []
    assert set(re.findall(r"(\w+)=", " ".join(re.findall(r"Config\((.*?)\) ", ours)))) - {"origins", "credentials"} <= options
    assert {"ping_interval", "ping_timeout", "max_http_buffer_size"} <= options
    assert [name for name in members("sio", theirs) if not hasattr(socketio.AsyncServer, name)] == []

    theirs, ours = columns("The client")
    assert [name for name in members("socket", ours) if not hasattr(ClientSocket, name) and name not in {"id", "manager"}] == []
    assert [name for name in members("manager", ours) if not hasattr(Manager, name)] == []
    assert set(re.findall(r"(\w+)=", " ".join(re.findall(r"Reconnection\((.*?)\)", ours)))) <= set(
        inspect.signature(Reconnection).parameters
    )
    assert [name for name in members("sio", theirs) if not hasattr(socketio.AsyncClient, name)] == []


def started(command: list[str], directory: Path, environment: Mapping[str, str], port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(ConnectionRefusedError), socket.create_connection(("127.0.0.1", port), timeout=10):
            return process
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)


async def test_tuples_and_nothing() -> None:
    server = Server()

    @server.on("pair")
    def pair(socket: Socket) -> tuple[int, int]:
        return 1, 2

    @server.on("nothing")
    def nothing(socket: Socket) -> None:
        pass

    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        assert await client.emit_with_ack("pair") == (1, 2)
        assert await client.emit_with_ack("nothing") is None
        await server.emit("e", (1, 2))
        await server.emit("e", 1, 2)
        await server.emit("e")
        assert [await client.once("e") for _ in range(3)] == [([1, 2],), (1, 2), ()]


async def refusal(url: str) -> str:
    with pytest.raises(ConnectionRefused) as info:
        async with open_client(url, "/chat"):
            pass
    return info.value.message


@pytest.mark.slow
@pytest.mark.parametrize("server", ["server_before", "server_after"])
def test_one_program_twice(server: str, tmp_path: Path) -> None:
    for name, text in BLOCKS["from-python-socketio"].items():
        (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    port = free_port()
    environment = os.environ | {"PORT": str(port), "PYTHONPATH": str(ROOT)}
    process = started([sys.executable, f"{server}.py"], tmp_path, environment, port)
    try:
        assert trio.run(refusal, f"http://127.0.0.1:{port}") == "Tell us your name."
        for client in ("client_before", "client_after"):
            done = subprocess.run(
                [sys.executable, f"{client}.py"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False
            )
            assert (done.stderr, done.returncode) == ("", 0)
            assert done.stdout.splitlines() == ["5", "why?", "said Bob hello", "left Bob"]
    finally:
        process.kill()
        process.wait()

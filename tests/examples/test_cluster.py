"""examples/cluster: a Redis, two servers and nginx, started and ended by one program."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
import trio

from tests.conftest import require_tool
from tests.ports import free_port
from trio_sio import open_client
from trio_sio.client.socket import ClientSocket

FLEET = Path(__file__).parents[2] / "examples" / "cluster" / "fleet.py"
BOUND = 40.0


def four_ports() -> int:
    """Return the first of four ports that are free."""
    while True:
        first = free_port()
        try:
            for port in range(first, first + 4):
                with socket.socket() as probe:
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return first


@pytest.mark.slow
async def test_two_servers_are_one() -> None:
    require_tool("redis-server", "nginx")
    port = four_ports()
    process = await trio.lowlevel.open_process([sys.executable, str(FLEET)], env={**os.environ, "PORT": str(port)}, stdout=subprocess.PIPE)
    assert process.stdout is not None
    try:
        with trio.fail_after(BOUND):
            said = b""
            while b"Clients connect to" not in said:
                piece = await process.stdout.receive_some()
                assert piece, said
                said += piece
            async with AsyncExitStack() as stack:
                clients = dict[str, ClientSocket]()
                while len(clients) < 2:
                    client = await stack.enter_async_context(open_client(f"http://127.0.0.1:{port}"))
                    client.on("question", lambda question: f"{question} yes")
                    clients[(await client.emit_with_ack("here"))["server"]] = client
                await clients["a"].emit("say", "hello")
                assert await clients["b"].once("said") == ("a", "hello")
                here = await clients["b"].emit_with_ack("here")
                assert {client.id for client in clients.values()} <= set(here["everybody"])
                assert here["missing"] == []
                assert set(await clients["b"].emit_with_ack("vote", "tea?")) == {"tea? yes"}
    finally:
        process.send_signal(signal.SIGINT)
        with trio.move_on_after(BOUND, shield=True):
            await process.wait()
    assert process.returncode == 0
    for number in range(port, port + 4):
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", number)) != 0

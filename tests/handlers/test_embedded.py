"""examples/embedded.py: a server next to another task."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from examples.embedded import Thermometer, ThermometerController, watch
from tests.ports import free_port
from trio_sio import Route, RoutingTable, Server
from trio_sio.testing import open_test_server

ROOT = Path(__file__).parents[2]


async def test_the_task_and_the_clients_share_the_thermometer(autojump_clock: trio.testing.MockClock) -> None:
    thermometer = Thermometer(noise=random.Random(1))
    server = Server(RoutingTable(Route("/", ThermometerController(thermometer))))
    async with open_test_server(server) as in_memory, in_memory.client() as client, trio.open_nursery() as nursery:
        nursery.start_soon(watch, thermometer, server)
        (reading,) = await client.once("reading")
        assert await client.emit_with_ack("latest") == reading
        assert await client.emit_with_ack("every", 60) == 60
        assert (await client.emit_with_ack("every", 0))["message"] == "Choose 0.1 to 60 seconds."
        await client.once("reading", timeout=100)
        start = trio.current_time()
        await client.once("reading", timeout=100)
        assert trio.current_time() - start == 60
        nursery.cancel_scope.cancel()


@pytest.mark.slow
def test_the_program_serves_until_it_is_interrupted() -> None:
    port = free_port()
    command = [sys.executable, "-m", "examples.embedded"]
    with subprocess.Popen(
        command, cwd=ROOT, env={**os.environ, "PORT": str(port)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as program:
        try:
            assert program.stdout is not None
            assert program.stdout.readline() == f"Listening on http://127.0.0.1:{port}\n"
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                assert client.recv(100).startswith(b"HTTP/1.1 200 ")
            program.send_signal(signal.SIGINT)
            _, errors = program.communicate(timeout=20)
        finally:
            program.kill()
    assert (program.returncode, errors) == (0, "")

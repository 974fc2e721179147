"""Where there is no compiler: ``websockets`` comes without its extension, and everything works, only slower."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys

sys.modules["websockets.speedups"] = None  # as if it had not been built

import trio
import trio_sio

server = trio_sio.Server()


@server.on("echo")
def echo(socket: trio_sio.Socket, *args: object) -> tuple[object, ...]:
    return args


async def main() -> None:
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, "127.0.0.1", 0)
        async with trio_sio.open_client(f"http://127.0.0.1:{listeners[0].sockname[1]}", transports=["websocket"]) as client:
            for value in ("", "é" * 1_000, bytes(range(256)) * 300, "x" * 100_000):
                assert await client.emit_with_ack("echo", value) == value
        nursery.cancel_scope.cancel()


trio.run(main)
"""


@pytest.mark.slow
def test_an_echo_without_the_extension_of_websockets() -> None:
    process = subprocess.run([sys.executable, "-W", "error", "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False)
    assert process.stderr == ""
    assert process.returncode == 0

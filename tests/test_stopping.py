"""`Server.run`: a program that only serves, and how it ends."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.ports import free_port
from trio_sio import Server, Socket, open_client

PROGRAM = """
import logging, sys
import trio
from trio_sio import Config, Server
server = Server(config=Config(drain_timeout=30))

@server.on_connection
async def joined(socket):
    print("joined", flush=True)

@server.on_disconnection
async def gone(socket, reason):
    if sys.argv[2] == "slow":
        await trio.sleep(9)
    print("gone:", reason, flush=True)

sys.exit(server.run("127.0.0.1", int(sys.argv[1])))
"""


@pytest.fixture
def program(tmp_path: Path) -> Path:
    path = tmp_path / "program.py"
    path.write_text(PROGRAM, encoding="utf-8")
    return path


def start(program: Path, port: int, kind: str) -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, str(program), str(port), kind], stdout=subprocess.PIPE, text=True)


async def until_it_listens(port: int) -> None:
    while True:
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.05)
        else:
            await stream.aclose()
            return


@pytest.mark.parametrize(("kind", "number"), [("fast", signal.SIGTERM), ("fast", signal.SIGINT), ("slow", signal.SIGTERM)])
async def test_a_signal_says_goodbye_and_a_second_one_does_not_wait(program: Path, kind: str, number: signal.Signals) -> None:
    port = free_port()
    process = start(program, port, kind)
    assert process.stdout is not None
    try:
        with trio.fail_after(30):
            await until_it_listens(port)
            async with open_client(f"http://127.0.0.1:{port}", transports=["websocket"], reconnection=None, connect_timeout=20) as client:
                assert await trio.to_thread.run_sync(process.stdout.readline) == "joined\n"
                process.send_signal(number)
                await client.closed(timeout=20)
                if kind == "slow":
                    process.send_signal(number)
            code = await trio.to_thread.run_sync(process.wait)
            said = process.stdout.read()
        assert (code, said) == ((0, "gone: server shutting down\n") if kind == "fast" else (128 + number, ""))
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


@pytest.mark.parametrize(("host", "shown"), [("127.0.0.1", "127.0.0.1:{}"), ("::1", "[::1]:{}")])
async def test_in_a_nursery_of_ones_own_it_tells_where_it_listens(host: str, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_sio.server")
    server = Server()
    codes: list[int] = []

    async def serve(*, task_status: trio.TaskStatus[list[object]]) -> None:
        codes.append(await server.serve_until_signal(host, 0, task_status=task_status))  # type: ignore[arg-type]

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(serve)
        port = listener.sockname[1]
        os.kill(os.getpid(), signal.SIGTERM)
    assert codes == [0]
    assert caplog.messages == [f"Listening on {shown.format(port)}.", "SIGTERM: saying goodbye."]


async def test_what_keeps_it_from_listening_comes_out_as_from_serve() -> None:
    with pytest.RaisesGroup(OSError, flatten_subgroups=True, allow_unwrapped=True):
        await Server().serve_until_signal("256.0.0.1", 0)


async def test_a_drain_by_others_ends_it_too() -> None:
    server = Server()

    @server.on_connection
    def joined(socket: Socket) -> None: ...

    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve_until_signal, "127.0.0.1", 0)
        await server.drain()

"""Clocks, threads and descriptors: what surrounds the process, section P of the catalogue."""

from __future__ import annotations

import ast
import contextlib
import os
import subprocess
import sys
import time

import pytest
import trio
import trio.testing

from tests.conftest import ROOT
from tests.hostile.http import hang_up
from tests.hostile.process import Record, failures, join_main, listening, tcp_client
from trio_sio import Server
from trio_sio.testing import RawHttp, RawWebSocket, open_test_server

DAY = 86_400.0

# A stamp for the application; how long a turn has taken, by a clock that does not jump, which tests may hold; and one that does not
# jump either, and that the workers of one machine have in common, or that systemd has. The watchdog is a thread of its own, which
# asks for how long the loop, whose clock Trio has, has not turned.
CLOCK_READINGS = {
    ("namespaces/handshake.py", "time.time"),
    ("doors/native/readiness.py", "time.perf_counter"),
    ("engine/watchdog.py", "time.monotonic"),
    ("workers/board.py", "time.monotonic_ns"),
    ("cli/service.py", "time.monotonic_ns"),
}
CLOCKS = {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "now", "utcnow", "today"}


@pytest.mark.hostile("P25")
@pytest.mark.parametrize("jump", [DAY, -DAY], ids=["forward", "back"])
async def test_the_wall_clock_jumps(
    server: Server,
    record: Record,
    jump: float,
    autojump_clock: trio.testing.MockClock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_test_server(server) as memory, memory.strict_client() as client:
        assert await client.emit_with_ack("echo", 1) == 1
        real = time.time
        monkeypatch.setattr(time, "time", lambda: real() + jump)
        # Two heartbeats later it is still there, and new ones come in.
        await trio.sleep(2.5 * server.config.ping_interval)
        assert await client.emit_with_ack("echo", 2) == 2
        async with memory.strict_client() as newcomer:
            assert await newcomer.emit_with_ack("echo", 3) == 3
        assert not record.reasons.keys() - {"transport close"}
    assert not failures(caplog)


@pytest.mark.hostile("P25")
def test_nothing_waits_for_the_wall_clock() -> None:
    package = ROOT / "trio_sio"
    readings = {
        (str(path.relative_to(package)), ast.unparse(node))
        for path in package.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Attribute) and node.attr in CLOCKS and ast.unparse(node.value) in ("time", "datetime", "date")
    }
    assert readings == CLOCK_READINGS


@pytest.mark.hostile("P26")
def test_emitting_from_a_thread(server: Server) -> None:
    tokens: list[trio.lowlevel.TrioToken] = []

    async def run() -> None:
        async with open_test_server(server) as memory, memory.strict_client() as client:
            tokens.append(trio.lowlevel.current_trio_token())
            # In a thread that Trio started the token goes without saying.
            await trio.to_thread.run_sync(lambda: trio.from_thread.run(server.emit, "news", 1))
            assert await client.once("news") == (1,)

    trio.run(run)

    with pytest.raises(trio.RunFinishedError):
        trio.from_thread.run(server.emit, "news", 2, trio_token=tokens[0])


def descriptors() -> set[int]:
    """Return those of this process; the one that lists them is closed by the time they are looked at."""
    found = set()
    for name in os.listdir("/dev/fd"):
        with contextlib.suppress(OSError):
            os.fstat(int(name))
            found.add(int(name))
    return found


@pytest.mark.hostile("P32")
async def test_no_descriptor_of_ours_gets_into_a_child(server: Server) -> None:
    before = descriptors()
    async with listening(server) as port, tcp_client(port), RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
        assert (await http.request("GET", "/socket.io/?EIO=4&transport=polling")).status == 200
        ours = descriptors() - before
        assert len(ours) > 5  # listener, epoll, and both ends of two connections

        command = [sys.executable, "-c", "import os; print(*os.listdir('/dev/fd'))"]
        child = await trio.to_thread.run_sync(lambda: subprocess.run(command, close_fds=False, capture_output=True, text=True, check=True))

        # The one with which it lists them has the lowest number that is free.
        assert len(ours & {int(name) for name in child.stdout.split()}) <= 1
        assert not [descriptor for descriptor in ours if os.get_inheritable(descriptor)]


@pytest.mark.hostile("P32")
async def test_no_descriptor_is_left_of_many_clients(server: Server) -> None:
    async with listening(server) as port:
        before = descriptors()
        for number in range(20):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            websocket = await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket")
            await join_main(websocket)
            await hang_up(stream, reset=number % 2 == 0)
        with trio.fail_after(5):
            while descriptors() != before:  # noqa: ASYNC110  # nothing tells when the last one is closed
                await trio.sleep(0.005)

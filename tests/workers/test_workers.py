"""Real processes behind one port: how they begin, who serves whom, and how they end."""

from __future__ import annotations

import math
import os
import re
import signal
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from datetime import date
from functools import partial
from pathlib import Path
from typing import Literal

import orjson
import pytest
import trio

from tests.cluster.redis_server import RedisServer
from tests.conftest import require_tool
from tests.ports import free_port
from tests.workers import app
from tests.workers.processes import BOUND, ROOT, eventually, is_alive, open_command, open_workers, url_of
from trio_sio import ClientSocket, ConfigurationError, open_client
from trio_sio.testing.raw import RawHttp
from trio_sio.workers import Workers, WorkersFailed, serve, serve_listeners, worker_number

pytestmark = pytest.mark.slow

Transports = Sequence[Literal["polling", "websocket"]]
TRANSPORTS: list[Transports] = [("polling",), ("websocket",), ("polling", "websocket")]


async def health(port: int) -> tuple[int, dict[str, object]]:
    async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as client:
        response = await client.request("GET", "/healthz")
        return response.status, orjson.loads(response.body)


def pids(workers: Workers) -> list[int]:
    return [slot.process.pid if slot.process is not None else 0 for slot in workers._slots]


@asynccontextmanager
async def open_clients(url: str, count: int, transports: Transports = ("websocket",)) -> AsyncIterator[list[ClientSocket]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(open_client(url, transports=transports)) for _ in range(count)]


def environment_of(pid: int) -> set[str]:
    """Return the names in the environment of a process."""
    return {one.partition("=")[0] for one in Path(f"/proc/{pid}/environ").read_text(errors="replace").split("\0")}


def inherited(pid: int) -> list[str]:
    """Return which descriptors a process would pass on to what it starts, beyond the usual three."""
    found = []
    for info in Path(f"/proc/{pid}/fdinfo").iterdir():
        with suppress(FileNotFoundError):
            (flags,) = re.findall(r"^flags:\s*([0-7]+)$", info.read_text(), re.MULTILINE)
            if int(info.name) > 2 and not int(flags, 8) & os.O_CLOEXEC:
                found.append(info.name)
    return found


async def test_life(monkeypatch: pytest.MonkeyPatch) -> None:
    """One start for what needs no start of its own: starting takes seconds."""
    monkeypatch.setenv("NOTIFY_SOCKET", "@this-program-tells-it-itself")
    async with open_workers(app.quick, 3, health_path="/healthz", docs_path="/events") as workers:
        url = url_of(workers)
        assert [environment_of(pid) & {"PATH", "NOTIFY_SOCKET"} for pid in pids(workers)] == [{"PATH"}] * 3
        assert [inherited(pid) for pid in pids(workers)] == [[], [], []]
        numbers = set[int]()
        for transports in TRANSPORTS:
            async with open_clients(url, 6, transports) as clients:
                for client in clients:
                    number, pid = await client.emit_with_ack("who")
                    assert pid == pids(workers)[number]
                    numbers.add(number)
                    assert await client.emit_with_ack("echo", "ä", b"\x00") == ("ä", b"\x00")
                    # On a busy machine a worker that has just started hears of the others after a while.
                    while transports is TRANSPORTS[0] and await client.emit_with_ack("count") < 6:  # noqa: ASYNC110 - nobody is told
                        await trio.sleep(0.02)
                    assert await client.emit_with_ack("count") == 6
                # What one of them says all hear.
                await clients[0].emit("say", "x", b"\x01")
                for client in clients:
                    assert await client.once("said", timeout=5) == ("x", b"\x01")
                statistics = await workers.statistics()
                assert statistics.total.sockets == {"/": 6}
                assert sum(sum(one.sessions.values()) for one in statistics.workers if one is not None) == 6
        assert numbers == {0, 1, 2}
        port = int(url.rpartition(":")[2])
        for _ in range(6):
            async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
                page = await http.request("GET", "/events")
                assert page.status == 200
                assert b"<code>who</code>" in page.body
        status, told = await health(port)
        assert (status, told["ready"], told["reason"]) == (200, True, "")
        assert [worker["state"] for worker in told["workers"]] == ["serving"] * 3  # type: ignore[attr-defined]

        # One is killed: its clients connect again, the others do not notice, and it is replaced.
        async with open_clients(url, 9) as clients:
            before = pids(workers)
            homes = [await client.emit_with_ack("who") for client in clients]
            assert {number for number, _ in homes} == {0, 1, 2}
            os.kill(before[1], signal.SIGKILL)
            await eventually(lambda: 0 != pids(workers)[1] != before[1] and workers._slots[1].ready.is_set())
            for client, (number, pid) in zip(clients, homes, strict=True):
                now = await client.emit_with_ack("who", timeout=10)
                assert (now == (number, pid)) == (number != 1)
            assert [one == other for one, other in zip(pids(workers), before, strict=True)] == [True, False, True]

        # All are replaced, one by one: somebody always accepts.
        before = pids(workers)
        refused, answers = list[object](), set[int]()
        async with trio.open_nursery() as nursery:

            async def knock() -> None:
                while True:
                    try:
                        answers.add((await health(port))[0])
                    except OSError as error:
                        refused.append(error)
                    await trio.sleep(0.01)

            nursery.start_soon(knock)
            await workers.restart()
            nursery.cancel_scope.cancel()
        assert not set(before) & set(pids(workers))
        assert (refused, answers) == ([], {200})

        # A restart that a drain overtakes comes to its end with it.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(workers.restart)
            await trio.sleep(0.05)
            await workers.drain()
        assert not any(map(is_alive, before))


async def test_a_worker_that_hangs_is_replaced(capfd: pytest.CaptureFixture[str]) -> None:
    async with open_workers(app.quick, 2, worker_timeout=1.0) as workers, open_clients(url_of(workers), 1) as (client,):
        number, pid = await client.emit_with_ack("who")
        slot = workers._slots[number]
        await client.emit("hang")
        await eventually(lambda: not is_alive(pid))
        await eventually(slot.ready.is_set)
    assert "in hang" in capfd.readouterr().err  # the stack, from `faulthandler`


async def test_workers_that_end_again_and_again_end_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_sio.workers.supervisor.MOST_CRASHES", 2)
    monkeypatch.setattr("trio_sio.workers.supervisor._DELAY", 0.01)
    with pytest.RaisesGroup(WorkersFailed, flatten_subgroups=True, allow_unwrapped=True) as raised:
        async with open_workers(app.quick, 1) as workers:
            slot = workers._slots[0]
            while True:
                await slot.ready.wait()
                if slot.process is not None:
                    slot.process.send_signal(signal.SIGSEGV)  # nothing, if it has ended just now
                await trio.sleep(0.1)
    assert "has ended 3 times in a row, at last so: SIGSEGV ended it." in repr(raised.value)


@pytest.mark.parametrize(
    ("factory", "options", "message"),
    [
        (app.alone, {}, "must hear each other"),
        (app.nothing, {}, "Workers need a Server or a RoutingTable, not 'NoneType'"),
        (lambda: app.make_server(None), {}, "give a function that is defined at the top of a module"),
        (app.quick, {"health_path": "here"}, "write an absolute path"),
        (app.quick, {"workers": 0}, "is no number of workers"),
        (app.quick, {"workers": 65}, "is no number of workers"),
        (app.quick, {"worker_timeout": 0}, "is no time"),
        (app.quick, {"worker_timeout": 0.25}, "tells four times a second that it does not; write 1 second or more"),
        (app.quick, {"worker_timeout": "10"}, "is no time"),
        (app.quick, {"certfile": "README.md"}, "certfile and keyfile name no certificate"),
    ],
)
async def test_what_is_of_no_use_is_refused_with_a_sentence(factory: object, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        await serve(factory, "127.0.0.1", 0, **({"workers": 2} | options))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("x" * 200_000, r"200,\d+ bytes"),
        (object(), "give strings, numbers, lists and dicts"),
        # They would come, but as something else.
        (math.inf, "give strings, numbers, lists and dicts"),
        ((1, 2), "give strings, numbers, lists and dicts"),
        ({"day": date(2026, 1, 1)}, "give strings, numbers, lists and dicts"),
    ],
)
async def test_arguments_that_no_worker_can_be_told_are_refused(argument: object, message: str) -> None:
    """They would wait for them."""
    with socket.socket() as sock, trio.fail_after(5):
        sock.bind(("127.0.0.1", 0))
        with pytest.raises(ConfigurationError, match=message):
            await serve_listeners(app.quick, [sock], workers=1, arguments=[argument])
        assert sock.fileno() == -1


async def test_arguments_that_just_fit_arrive() -> None:
    with socket.socket() as sock, trio.fail_after(BOUND):
        sock.bind(("127.0.0.1", 0))
        async with trio.open_nursery() as nursery:
            await nursery.start(partial(serve_listeners, app.with_text, [sock], workers=1, arguments=["x" * 120_000, 120_000]))
            nursery.cancel_scope.cancel()


async def test_what_fails_at_the_start_fails() -> None:
    with pytest.raises(WorkersFailed, match=r"does not start: Its exit code is 1\."):
        await serve(app.broken, "127.0.0.1", 0, workers=1)


async def test_a_unix_socket_and_a_server_within_a_scope(tmp_path: Path) -> None:
    from trio_sio.doors.native import open_unix_socket

    path = tmp_path / "socket"
    async with trio.open_nursery() as nursery:
        await nursery.start(partial(serve_listeners, app.entered, [open_unix_socket(path)], workers=2))
        for _ in range(3):
            async with RawHttp(await trio.open_unix_socket(path)) as client:
                assert (await client.request("GET", "/socket.io/?EIO=4&transport=polling")).status == 200
        nursery.cancel_scope.cancel()
    assert not path.exists()


def test_without_workers_there_is_one() -> None:
    assert worker_number() == 0


def catches(pid: int, number: signal.Signals) -> bool:
    """Tell whether a process has a handler for a signal."""
    (caught,) = re.findall(r"^SigCgt:\s*([0-9a-f]+)$", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    return bool(int(caught, 16) >> (number - 1) & 1)


async def test_the_program_of_the_page_about_scaling(tmp_path: Path) -> None:
    """Its function is one of the program that was started, which a worker must not start once more."""
    page = (ROOT / "docs" / "scaling.md").read_text(encoding="utf-8")
    (program,) = [block for block in re.findall(r"```python\n(.*?)```", page, re.DOTALL) if "workers.serve" in block]
    port = free_port()
    chat = 'from trio_sio import on_message\n\nclass Chat:\n    @on_message("hello")\n    def hello(self):\n        return "hello"\n\n'
    (tmp_path / "program.py").write_text(chat + program.replace("3000", str(port)))
    with trio.fail_after(BOUND):
        process = await trio.lowlevel.open_process([sys.executable, str(tmp_path / "program.py")])
        try:
            client = None
            while client is None:
                with suppress(OSError):
                    client = await trio.open_tcp_stream("127.0.0.1", port)
            async with open_client(f"http://127.0.0.1:{port}", transports=["polling"]) as connected:
                assert await connected.emit_with_ack("hello") == "hello"
            await client.aclose()
            await eventually(lambda: catches(process.pid, signal.SIGTERM))  # it does once all workers serve
            process.terminate()
            assert await process.wait() == 0
        finally:
            process.kill()


# The command.

RUN = ("--workers", "2", "--port", "0", "--drain-timeout", "2")


@pytest.fixture
async def manager(tmp_path: Path) -> AsyncIterator[trio.socket.SocketType]:
    """Yield what a service manager listens on."""
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        await sock.bind(str(tmp_path / "notify"))
        yield sock


async def test_the_command(manager: trio.socket.SocketType, tmp_path: Path) -> None:
    service = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "60000000"}
    served = ("--health-path", "/healthz", "--static", "handlers/web")
    async with open_command("handlers:routes", *RUN, *served, **service) as command:
        assert [await manager.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
        port = int((await command.says(r"Serving http://127\.0\.0\.1:(\d+)/socket\.io/ over polling, websocket in 2 workers"))[1])
        before = command.workers()
        assert len(before) == 2
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as visitor:
            assert b"<html" in (await visitor.request("GET", "/")).body
        async with open_clients(f"http://127.0.0.1:{port}", 4, ["polling"]) as clients:
            for client in clients:
                assert await client.emit_with_ack("echo", "x") == "x"
        command.process.send_signal(signal.SIGHUP)
        await command.says("SIGHUP: replacing the workers, one by one")
        await eventually(lambda: not any(map(is_alive, before)) and len(command.workers()) == 2)
        await command.says("has found server", 6)
        assert re.fullmatch(rb"RELOADING=1\nMONOTONIC_USEC=[0-9]+", await manager.recv(100))
        assert await manager.recv(100) == b"READY=1"
        command.process.terminate()
        assert await command.ends() == 0
        assert await manager.recv(100) == b"STOPPING=1"
        with trio.move_on_after(0):
            pytest.fail(f"{await manager.recv(100)!r} came after the end")
        assert "SIGTERM: saying goodbye" in command.output
        assert "Traceback" not in command.output


async def test_workers_that_hear_each_other_through_redis(tmp_path: Path) -> None:
    require_tool("redis-server")
    redis = RedisServer(tmp_path)
    redis.start()
    try:
        async with open_command("tests.workers.app:routes", *RUN, "--redis", redis.url) as command:
            port = (await command.says(r"Serving http://127\.0\.0\.1:(\d+)"))[1]
            async with open_clients(f"http://127.0.0.1:{port}", 8) as clients:
                assert len({await client.emit_with_ack("who") for client in clients}) == 2
                await clients[0].emit("say", "x")
                for client in clients:
                    assert await client.once("said", timeout=5) == ("x",)
            command.process.terminate()
            assert await command.ends() == 0
    finally:
        redis.kill()


async def test_a_second_signal_ends_at_once() -> None:
    async with open_command("handlers:routes", "--workers", "2", "--port", "0", "--drain-timeout", "60") as command:
        port = (await command.says(r"Serving http://127\.0\.0\.1:(\d+)"))[1]
        workers = command.workers()
        # A client that holds up the drain: it polls no more.
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", int(port))) as client:
            await client.request("GET", "/socket.io/?EIO=4&transport=polling")
        command.process.send_signal(signal.SIGINT)
        await command.says("SIGINT: saying goodbye")
        command.process.send_signal(signal.SIGINT)
        assert await command.ends() == 128 + signal.SIGINT
        assert not any(map(is_alive, workers))


async def test_a_parent_that_is_killed_leaves_no_orphans() -> None:
    async with open_command("handlers:routes", *RUN) as command:
        await command.says("Serving")
        workers = command.workers()
        assert len(workers) == 2
        command.process.kill()
        await eventually(lambda: not any(map(is_alive, workers)))


async def test_workers_without_a_limit_for_their_drain_end_all_the_same() -> None:
    """``math.inf`` switches a time-out off."""
    async with (
        open_workers(app.unhurried, 1) as workers,
        open_client(url_of(workers), transports=["websocket"], reconnection=None) as client,
    ):
        (pid,) = pids(workers)
        await workers.restart()
        await client.closed()
        await workers.drain()
        assert not is_alive(pid)
    async with open_command("tests.workers.app:unhurried", "--workers", "1", "--port", "0") as command:
        await command.says("Serving")
        (worker,) = command.workers()
        command.process.kill()
        await eventually(lambda: not is_alive(worker))
        await eventually(lambda: command._ended)
        assert "Traceback" not in command.output


async def test_a_worker_that_hangs_does_not_outlive_its_parent() -> None:
    async with open_command("tests.workers.app:quick", "--workers", "1", "--port", "0") as command:
        port = (await command.says(r"Serving http://127\.0\.0\.1:(\d+)"))[1]
        (worker,) = command.workers()
        async with open_clients(f"http://127.0.0.1:{port}", 1) as (client,):
            await client.emit("hang")
            await trio.sleep(0.1)
            command.process.kill()
            await eventually(lambda: not is_alive(worker))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["handlers:routes", *RUN, "--certfile", "README.md"], "certfile and keyfile name no certificate"),
        (["handlers:routes", *RUN, "--keyfile", "README.md"], "keyfile alone makes no TLS"),
        (["handlers:routes", *RUN, "--door", "hypercorn"], "A connection of hypercorn's cannot go from one worker to another"),
        (["handlers:routes", "--worker-timeout", "3"], "name their number with --workers as well"),
        (["handlers:routes", "--workers", "none"], "is not a number of processes"),
        (["handlers:routes", *RUN, "--worker-timeout", "nan"], "is not a time"),
        (["handlers:routes", *RUN, "--worker-timeout", "0.25"], "write 1 second or more"),
        (["handlers:nothing", *RUN], "has no attribute 'nothing'"),
        (["tests.workers.app:alone", "--workers", "2", "--port", "0"], "must hear each other"),
    ],
)
async def test_the_command_refuses_with_a_sentence(arguments: list[str], message: str) -> None:
    async with open_command(*arguments) as command:
        await command.says(message)
        assert await command.ends() == 2
        assert "Traceback" not in command.output

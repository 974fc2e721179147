"""``trio-sio run --reload``: a real process, and files that really change."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio

from tests.conftest import ROOT
from tests.workers.processes import eventually, is_alive
from trio_sio import cli

APP = """
from trio_sio import Route, RoutingTable, on_message

class Chat:
    @on_message("{event}")
    def say(self) -> None: ...

routes = RoutingTable(Route("/", Chat))
"""


class Running:
    """The command, and what it prints."""

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self._texts = {"stdout": "", "stderr": ""}

    async def expect(self, pattern: str, where: str = "stdout") -> str:
        """Return what ``pattern`` finds in the output that was not looked at yet."""
        stream: trio.abc.ReceiveStream = getattr(self.process, where)
        with trio.fail_after(30):
            while (found := re.search(pattern, self._texts[where])) is None:
                data = await stream.receive_some()
                assert data, self._texts
                self._texts[where] += data.decode()
        self._texts[where] = self._texts[where][found.end() :]
        return found[1] if found.groups() else found[0]

    async def ended(self) -> int:
        with trio.fail_after(30):
            return await self.process.wait()


@asynccontextmanager
async def reloading(directory: Path, *arguments: str) -> AsyncIterator[Running]:
    """Run the command in ``directory``, below which there is app.py."""

    async def kill(process: trio.Process) -> None:
        process.terminate()  # and not killed, or the server would stay
        with trio.move_on_after(10, shield=True):
            await process.wait()

    command = [sys.executable, "-m", "trio_sio", "run", "app:routes", "--port", "0", "--reload", *arguments]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"}
    run = partial(trio.run_process, command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    async with trio.open_nursery() as nursery:
        yield Running(await nursery.start(partial(run, env=environment, deliver_cancel=kill)))
        nursery.cancel_scope.cancel()


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return bytes(response.read())


@pytest.mark.slow
async def test_another_server_for_other_code(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP.format(event="first"))
    async with reloading(tmp_path, "--health-path", "/healthz") as running:
        url = await running.expect(r"Serving (http://127\.0\.0\.1:\d+)/")
        await running.expect(r"first +say")
        assert await trio.to_thread.run_sync(fetch, f"{url}/healthz") == b'{"ready":true,"reason":""}'
        # Somebody who never fetches the goodbye does not hold it up.
        await trio.to_thread.run_sync(fetch, f"{url}/socket.io/?EIO=4&transport=polling")

        (tmp_path / "notes.txt").write_text("no code")
        app.write_text(APP.format(event="second"))
        await running.expect(r"app\.py has changed: starting again\.\n", "stderr")
        await running.expect(r"second +say")
        with pytest.raises(OSError):
            await trio.to_thread.run_sync(fetch, f"{url}/healthz")

        # A mistake ends the server, not the waiting for its correction.
        app.write_text("class")
        await running.expect("SyntaxError", "stderr")
        await running.expect(r"The server has ended with exit code 1; it starts again when a file changes\.\n", "stderr")
        app.write_text(APP.format(event="third"))
        await running.expect(r"third +say")

        running.process.send_signal(signal.SIGINT)
        await running.expect("SIGINT: saying goodbye; ", "stderr")
        assert await running.ended() == 0


def descendants(pid: int) -> list[int]:
    """Return the processes that this one has started, and those that they have."""
    children = [int(one) for path in Path(f"/proc/{pid}/task").glob("*/children") for one in path.read_text().split()]
    return [*children, *(one for child in children for one in descendants(child))]


@pytest.mark.slow
async def test_other_workers_for_other_code(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text(APP.format(event="first"))
    async with reloading(tmp_path, "--workers", "2", "--drain-timeout", "1") as running:
        await running.expect(r"Serving http://127\.0\.0\.1:\d+/.* in 2 workers")
        await running.expect(r"first +say")
        before = descendants(running.process.pid)
        assert len(before) == 3
        app.write_text(APP.format(event="second"))
        await running.expect(r"second +say")
        after = descendants(running.process.pid)
        assert len(after) == 3
        assert not set(before) & set(after)
        running.process.terminate()
        await running.expect("SIGTERM: saying goodbye; ", "stderr")
        assert await running.ended() == 0
    with trio.fail_after(10):
        await eventually(lambda: not any(map(is_alive, [*before, *after])))


@pytest.mark.slow
async def test_a_signal_while_no_server_runs(tmp_path: Path) -> None:
    (tmp_path / "app.py").write_text("nothing = 1\n")
    async with reloading(tmp_path) as running:
        await running.expect("trio-sio: Module 'app' has no attribute 'routes'\\.\n", "stderr")
        await running.expect("The server has ended with exit code 2; ", "stderr")
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 2


@pytest.mark.slow
async def test_a_server_that_does_not_stop(tmp_path: Path) -> None:
    app = tmp_path / "app.py"
    app.write_text("import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\nprint('stubborn', flush=True)\ntime.sleep(600)\n")
    async with reloading(tmp_path) as running:
        await running.expect("stubborn")
        app.write_text(APP.format(event="say"))
        await running.expect(r"say +say")
        running.process.send_signal(signal.SIGTERM)
        assert await running.ended() == 0


def test_without_watchfiles_it_says_so(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "watchfiles", None)
    assert cli.main(["run", "app:routes", "--reload"]) == 2
    assert capsys.readouterr().err == "trio-sio: --reload needs watchfiles; install it with `pip install 'trio-sio[reload]'`.\n"


def test_an_inherited_socket_is_not_passed_on(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", "app:routes", "--reload", "--host", "fd://3"]) == 2
    assert capsys.readouterr().err.startswith("trio-sio: --reload starts other processes, which do not inherit the socket; ")

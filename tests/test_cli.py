"""The command line: what it accepts, what it says when it cannot, and how it stops."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from trio_sio import cli

ROOT = Path(__file__).parent.parent

APP = """
import sys
from contextlib import asynccontextmanager
import trio
from trio_sio import Config, Route, RoutingTable, Server, on_message

class Chat:
    @on_message("say")
    async def say(self, text: str) -> str:
        return text

routes = RoutingTable(Route("/chat", Chat))
server = Server(routes, config=Config(path="/engine.io", transports=["websocket"]))

def make_routes():
    return routes

def make_server():
    return server

@asynccontextmanager
async def open_routes():
    print("opened")
    try:
        yield routes
    finally:
        print("closed")

@asynccontextmanager
async def open_nothing():
    yield 5

async def coroutine():
    return routes

def needs_argument(x):
    return routes

class Holder:
    routes = routes

@asynccontextmanager
async def hangs(server):
    yield
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()

hanging = Server(routes, config=Config(drain_timeout=0), lifespan=hangs)
number = 5

@asynccontextmanager
async def open_hanging():
    yield routes
    print("draining", file=sys.stderr, flush=True)
    with trio.CancelScope(shield=True):
        await trio.sleep_forever()
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Stand in a directory with a module ``cli_app``."""
    (tmp_path / "cli_app.py").write_text(APP)
    (tmp_path / "cli_broken.py").write_text("import cli_missing_dependency")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    monkeypatch.delitem(sys.modules, "cli_app", raising=False)
    return tmp_path


@pytest.mark.parametrize("attribute", ["routes", "server", "make_routes", "make_server", "open_routes", "Holder.routes"])
@pytest.mark.usefixtures("app")
def test_routes_prints_the_table(attribute: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["routes", f"cli_app:{attribute}"]) == 0
    output = capsys.readouterr().out
    assert "/chat" in output
    assert "say" in output
    assert ("opened" in output and "closed" in output) is (attribute == "open_routes")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["cli_app"], "'cli_app' does not name anything; write MODULE:ATTR, as in chat:routes."),
        (["cli_app:"], "'cli_app:' does not name anything; write MODULE:ATTR, as in chat:routes."),
        (["cli_nowhere:routes"], "There is no module 'cli_nowhere' here or on sys.path."),
        (["cli_nowhere.sub:routes"], "There is no module 'cli_nowhere.sub' here or on sys.path."),
        (["cli_app:nothing"], "Module 'cli_app' has no attribute 'nothing'."),
        (["cli_app:Holder.nothing"], "Module 'cli_app' has no attribute 'Holder.nothing'."),
        (["cli_app:number"], "cli_app:number is 'int' in the end; it must be a RoutingTable, "),
        (["cli_app:open_nothing"], "cli_app:open_nothing is 'int' in the end; it must be a RoutingTable, "),
        (["cli_app:coroutine"], "cli_app:coroutine is 'coroutine' in the end; it must be a RoutingTable, "),
        (["cli_app:needs_argument"], "cli_app:needs_argument is 'function' in the end; it must be a RoutingTable, "),
        (["cli_app:server", "--ping-interval", "3"], "cli_app:server is a Server, which has a Config of its own; set ping_interval there"),
        (["cli_app:routes", "--path", "nonsense"], "Config.path is 'nonsense'; write an absolute path"),
        (["cli_app:routes", "--ping-interval", "-1"], "Config.ping_interval is -1.0; it must be"),
        (["cli_app:routes", "--cors-origin", "nonsense"], "CORS origin 'nonsense' is not an origin; "),
        (["cli_app:routes", "--host", "host.invalid"], "'host.invalid' has no address here; "),
    ],
)
@pytest.mark.usefixtures("app")
def test_what_cannot_be_done_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *arguments]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"trio-sio: {sentence}")
    assert error.count("\n") == 1
    assert error.endswith(".\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["run", "cli_app:routes", "--port", "70000"], "'70000' is not a port; write a number from 0 to 65535"),
        (["run", "cli_app:routes", "--port", "-1"], "'-1' is not a port"),
        (["run", "cli_app:routes", "--static", "missing"], "'missing' is not a directory"),
        (["run", "cli_app:routes", "--client-bundle", "missing"], "'missing' is not a directory"),
        (["run"], "MODULE:ATTR"),
        ([], "COMMAND"),
    ],
)
@pytest.mark.usefixtures("app")
def test_wrong_options(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as info:
        cli.main(arguments)
    assert info.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.usefixtures("app")
def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        assert cli.main(["run", "cli_app:open_routes", "--port", str(port)]) == 2
    output = capsys.readouterr()
    assert output.err == f"trio-sio: Another program listens on port {port} of 127.0.0.1; stop it, or choose another --port.\n"
    assert "closed" in output.out


@pytest.mark.usefixtures("app")
def test_a_module_that_fails_to_import_keeps_its_traceback() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ModuleNotFoundError, match="cli_missing_dependency"), flatten_subgroups=True):
        cli.main(["run", "cli_broken:routes"])


@contextmanager
def running(app: Path, *arguments: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command in a process of its own; yields it with what it printed when it started."""
    command = [sys.executable, "-W", "error", "-c", "import sys; from trio_sio import cli; cli._GRACE = 0.1; sys.exit(cli.main())"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [*command, "run", "--port", "0", *arguments], cwd=app, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            lines: list[str] = []
            while not any("say" in line for line in lines):  # the last line of the table's that matters here
                line = process.stdout.readline()
                assert line, process.stderr and process.stderr.read()
                lines.append(line)
            yield process, "".join(lines)
        finally:
            process.kill()


def fetch(url: str) -> bytes:
    with urllib.request.urlopen(url, timeout=10) as response:
        return bytes(response.read())


@pytest.mark.hostile("P01")
def test_run_serves_until_it_is_told_to_stop(app: Path) -> None:
    (app / "page.txt").write_text("static")
    bundle = app / "bundle"
    bundle.mkdir()
    (bundle / "socket.io.js").write_text("client")
    options = ["--static", ".", "--client-bundle", "bundle", "--path", "/io", "--ping-interval", "3", "--ping-timeout", "2"]
    options += ["--max-http-buffer-size", "1000", "--cors-origin", "https://a.example", "--cors-origin", "https://b.example"]
    with running(app, "cli_app:routes", *options) as (process, printed):
        first = printed.splitlines()[0]
        assert first.startswith("Serving http://127.0.0.1:")
        assert first.endswith("/io/ over polling, websocket")
        url = first.split()[1]
        assert fetch(url.replace("/io/", "/page.txt")) == b"static"
        assert fetch(f"{url}socket.io.js") == b"client"
        opened = fetch(f"{url}?EIO=4&transport=polling")
        assert opened.endswith(b'"pingInterval":3000,"pingTimeout":2000,"maxPayload":1000}')
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


def test_a_server_is_run_with_its_own_config(app: Path) -> None:
    with running(app, "cli_app:make_server", "--log-level", "warning") as (process, printed):
        assert printed.splitlines()[0].endswith("/engine.io/ over websocket")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.hostile("P02")
def test_a_second_signal_ends_it_at_once(app: Path, second: signal.Signals) -> None:
    with running(app, "cli_app:open_hanging") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.stderr is not None
        while "once more" not in process.stderr.readline():
            pass
        while "draining" not in process.stderr.readline():
            pass
        process.send_signal(second)
        assert process.wait(10) == 128 + second
        assert process.stderr.read() == ""


@pytest.mark.hostile("P03")
def test_what_does_not_stop_is_named(app: Path) -> None:
    with running(app, "cli_app:hanging") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1
        assert process.stderr is not None
        error = process.stderr.read()
        assert "Still running after" in error
        assert "in hangs" in error

"""The command line: what it accepts, what it says when it cannot, and how it stops."""

from __future__ import annotations

import errno
import math
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest
import trustme
from cryptography.hazmat.primitives import serialization

from trio_sio import CORS, cli
from trio_sio.cli import run

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

@asynccontextmanager
async def fails(server):
    yield
    raise OSError("the disk is full")

failing = Server(routes, lifespan=fails)

@asynccontextmanager
async def open_failing():
    yield routes
    raise OSError("the disk is full")

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
        (["cli_app:route"], "Module 'cli_app' has no attribute 'route'. Perhaps 'routes' is meant."),
        (["cli_nowhere.py:routes"], "'cli_nowhere.py' is no module but a path; write cli_nowhere:routes, in the directory"),
        (["./src/app.py:routes"], "'./src/app.py' is no module but a path; write src.app:routes, in the directory"),
        (["cli_app:Holder.nothing"], "Module 'cli_app' has no attribute 'Holder.nothing'."),
        (["cli_app:number"], "cli_app:number is 'int' in the end; it must be a RoutingTable, "),
        (["cli_app:open_nothing"], "cli_app:open_nothing is 'int' in the end; it must be a RoutingTable, "),
        (["cli_app:coroutine"], "cli_app:coroutine is 'coroutine' in the end; it must be a RoutingTable, "),
        (["cli_app:needs_argument"], "cli_app:needs_argument is 'function' in the end; it must be a RoutingTable, "),
        (["cli_app:server", "--ping-interval", "3"], "cli_app:server is a Server, which has a Config of its own; set ping_interval there"),
        (["cli_app:routes", "--path", "nonsense"], "Config.path is 'nonsense'; write an absolute path"),
        (["cli_app:routes", "--ping-interval", "-1"], "Config.ping_interval is -1.0; it must be"),
        (["cli_app:routes", "--cors", "nonsense"], "CORS origin 'nonsense' is not an origin; "),
        (["cli_app:routes", "--allowed-host", "*"], "Config.allowed_hosts has '*', which has a wildcard; list every name"),
        (["cli_app:routes", "--trusted-proxies", "-1"], "Config.trusted_proxies is -1; it must be an integer of at least 0."),
        (["cli_app:routes", "--drain-timeout", "nan"], "Config.drain_timeout is nan; it must be a number of at least 0."),
        (["cli_app:routes", "--max-http-buffer-size", "0"], "Config.max_http_buffer_size is 0; it must be an integer of at least 1."),
        (["cli_app:routes", "--cookie", "a b"], "Cookie.name is 'a b'; write letters, digits and hyphens, such as"),
        (["cli_app:server", "--compression"], "cli_app:server is a Server, which has a Config of its own; set compression there"),
        (["cli_app:routes", "--host", "host.invalid"], "'host.invalid' has no address here; "),
        (["cli_app:routes", "--host", "unix:"], "'unix:' names no path; write --host unix:/PATH, as in unix:/run/chat.sock."),
        (["cli_app:routes", "--host", "unix:no/sock"], "Listening on unix:no/sock is not possible: No such file or directory."),
        (["cli_app:routes", "--host", f"unix:/{'x' * 200}"], f"Listening on unix:/{'x' * 200} is not possible: AF_UNIX path too long."),
        (
            ["cli_app:routes", "--host", "unix:cli_app.py"],
            "Listening on unix:cli_app.py is not possible: a file that is no socket is there; ",
        ),
        (["cli_app:routes", "--host", "fd://"], "'fd://' names no file descriptor; write --host fd://NUMBER, as in fd://3."),
        (["cli_app:routes", "--host", "fd://-1"], "'fd://-1' names no file descriptor; "),
        (["cli_app:routes", "--host", "fd://999999999"], "Listening on fd://999999999 is not possible: Bad file descriptor."),
        (["cli_app:routes", "--door", "hypercorn", "--static", "."], "--door hypercorn serves no files; leave --static and "),
        (["cli_app:routes", "--health-path", "/socket.io/"], "health_path is '/socket.io/', where the engine is; write"),
        (["cli_app:routes", "--health-path", "healthz"], "health_path is 'healthz', which is no path of letters"),
        (["cli_app:routes", "--metrics-path", "metrics"], "metrics_path is 'metrics', which is no path"),
        (["cli_app:routes", "--door", "hypercorn", "--metrics-path", "/metrics"], "--door hypercorn has no --metrics-path; leave it out, "),
        (["cli_app:routes", "--door", "hypercorn", "--health-path", "/healthz"], "--door hypercorn has no --health-path; leave it out, "),
        (["cli_app:routes", "--keyfile", "cli_app.py"], "keyfile alone makes no TLS; name the certificate with certfile as well."),
        (["cli_app:routes", "--certfile", "cli_app.py"], "certfile and keyfile name no certificate with its private key in PEM; name "),
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
        (["run", "cli_app:routes", "--certfile", "missing"], "'missing' is not a file"),
        (["run", "cli_app:routes", "--trusted-proxies", "one"], "argument --trusted-proxies: invalid int value: 'one'"),
        (["run", "cli_app:routes", "--ping-timeout", "soon"], "argument --ping-timeout: invalid float value: 'soon'"),
        (["run", "cli_app:routes", "--keyfile", "."], "'.' is not a file"),
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


def test_every_option_of_the_configuration_sets_its_field() -> None:
    options = {
        "--path": "/io",
        "--client-bundle": ".",
        "--trusted-proxies": "1",
        "--cookie": "sticky",
        "--max-http-buffer-size": "1000",
        "--ping-interval": "3",
        "--ping-timeout": "2.5",
        "--drain-timeout": "inf",
    }
    arguments = [part for option in options.items() for part in option]
    arguments += ["--cors", "https://a.example", "--cors", "https://b.example", "--compression", "--per-message-deflate"]
    arguments += ["--allowed-host", "a.example", "--allowed-host", "localhost:3000"]

    assert run._config_changes(cli._parser().parse_args(["run", "cli_app:routes", *arguments])) == {
        "path": "/io",
        "serve_client": ".",
        "trusted_proxies": 1,
        "cookie": "sticky",
        "max_http_buffer_size": 1_000,
        "ping_interval": 3.0,
        "ping_timeout": 2.5,
        "drain_timeout": math.inf,
        "cors": CORS(origins=["https://a.example", "https://b.example"]),
        "allowed_hosts": ["a.example", "localhost:3000"],
        "compression": True,
        "per_message_deflate": True,
    }
    assert run._config_changes(cli._parser().parse_args(["run", "cli_app:routes"])) == {}
    assert run._config_changes(cli._parser().parse_args(["run", "cli_app:routes", "--cors", "*"])) == {"cors": CORS(origins="*")}


def test_help_tells_the_defaults(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    with pytest.raises(SystemExit) as info:
        cli.main(["run", "--help"])
    assert info.value.code == 0
    output = capsys.readouterr().out
    for group in ("\nwhere to listen:\n", "\nconfiguration:\n  Replace fields of Config; "):
        assert group in output
    for option, default in [("--port PORT", "(3000)"), ("--path PATH", "(/socket.io)"), ("--drain-timeout SECONDS", "(20)")]:
        assert re.search(f"\n  {option}\\s.*{re.escape(default)}", output)


@pytest.mark.usefixtures("app")
def test_a_port_in_use(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as occupied:
        port = occupied.getsockname()[1]
        assert cli.main(["run", "cli_app:open_routes", "--port", str(port)]) == 2
    output = capsys.readouterr()
    assert output.err == f"trio-sio: Another program listens on port {port} of 127.0.0.1; stop it, or choose another --port.\n"
    assert "closed" in output.out


def test_a_unix_socket_in_use(app: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(socket.AF_UNIX) as occupied:
        occupied.bind("sock")
        occupied.listen()
        assert cli.main(["run", "cli_app:routes", "--host", "unix:sock"]) == 2
    assert capsys.readouterr().err == "trio-sio: Another program listens on unix:sock; stop it, or choose another --host.\n"
    assert (app / "sock").is_socket()


@pytest.mark.usefixtures("app")
def test_an_inherited_socket_that_nobody_can_connect_to(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.socket(type=socket.SOCK_DGRAM) as wrong:
        host = f"fd://{wrong.detach()}"  # the command closes it
    assert cli.main(["run", "cli_app:routes", "--host", host]) == 2
    sentence = "A socket of type SOCK_DGRAM takes no connections; give a bound socket of type SOCK_STREAM."
    assert capsys.readouterr().err == f"trio-sio: Listening on {host} is not possible: {sentence}\n"


@pytest.mark.parametrize(
    ("certificate", "key", "sentence"),
    [
        ("chain.pem", "other.pem", "The private key in 'other.pem' does not belong to the certificate."),
        ("chain.pem", "encrypted.pem", "The private key in 'encrypted.pem' is encrypted; name one that is not."),
        ("chain.pem", "chain.pem", "certfile and keyfile name no certificate with its private key in PEM."),
        ("chain.pem", "", "certfile and keyfile name no certificate with its private key in PEM; name the key's file with keyfile, "),
    ],
)
def test_certificates_that_cannot_be_used(app: Path, certificate: str, key: str, sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    write_certificate(app)
    other = trustme.CA().issue_cert("localhost").private_key_pem
    other.write_to_path(app / "other.pem")
    private = serialization.load_pem_private_key(other.bytes(), None)
    encryption = serialization.BestAvailableEncryption(b"secret")
    encrypted = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)
    (app / "encrypted.pem").write_bytes(encrypted)

    arguments = ["run", "cli_app:routes", "--certfile", certificate]
    assert cli.main(arguments + ["--keyfile", key] * bool(key)) == 2

    error = capsys.readouterr().err
    assert error.startswith(f"trio-sio: {sentence}")
    assert error.count("\n") == 1


@pytest.mark.usefixtures("app")
def test_a_certificate_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def load(*_arguments: object) -> None:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", load)
    assert cli.main(["run", "cli_app:routes", "--certfile", "cli_app.py"]) == 2
    assert capsys.readouterr().err == "trio-sio: The certificate or its key cannot be read: Permission denied.\n"


def write_certificate(directory: Path) -> ssl.SSLContext:
    """Write chain.pem, key.pem and both.pem for localhost; return what a client needs in order to trust them."""
    authority = trustme.CA()
    issued = authority.issue_cert("localhost")
    (directory / "chain.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    issued.private_key_pem.write_to_path(directory / "key.pem")
    issued.private_key_and_cert_chain_pem.write_to_path(directory / "both.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


@pytest.mark.usefixtures("app")
def test_a_module_that_fails_to_import_keeps_its_traceback() -> None:
    with pytest.RaisesGroup(pytest.RaisesExc(ModuleNotFoundError, match="cli_missing_dependency"), flatten_subgroups=True):
        cli.main(["run", "cli_broken:routes"])


# A session that opens and does not poll holds a stopping server for a quarter of this.
BRISK = ["--drain-timeout", "2"]


@contextmanager
def running(app: Path, *arguments: str, inherited: Sequence[int] = (), **variables: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command in a process of its own; yields it with what it printed when it started."""
    command = [sys.executable, "-W", "error", "-c", "import sys; from trio_sio import cli; cli.run._GRACE = 0.1; sys.exit(cli.main())"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    with subprocess.Popen(
        [*command, "run", "--port", "0", *arguments],
        cwd=app,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=inherited,
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


def fetch(url: str, context: ssl.SSLContext | None = None) -> bytes:
    with urllib.request.urlopen(url, timeout=10, context=context) as response:
        return bytes(response.read())


@pytest.mark.hostile("P01")
@pytest.mark.slow
def test_run_serves_until_it_is_told_to_stop(app: Path) -> None:
    (app / "page.txt").write_text("static")
    bundle = app / "bundle"
    bundle.mkdir()
    (bundle / "socket.io.js").write_text("client")
    options = ["--static", ".", "--client-bundle", "bundle", "--path", "/io", "--ping-interval", "3", "--ping-timeout", "2"]
    options += ["--max-http-buffer-size", "1000", "--cors", "https://a.example", "--cors", "https://b.example"]
    options += ["--trusted-proxies", "1", "--cookie", "sticky", "--compression", "--per-message-deflate", "--drain-timeout", "5"]
    options += ["--health-path", "/healthz", "--log-level", "debug"]
    with (
        socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager,
        running(app, "cli_app:routes", *options, NOTIFY_SOCKET=notified(manager, app), WATCHDOG_USEC="60000000") as (process, printed),
    ):
        first = printed.splitlines()[0]
        assert first.startswith("Serving http://127.0.0.1:")
        assert first.endswith("/io/ over polling, websocket")
        url = first.split()[1]
        assert fetch(url.replace("/io/", "/page.txt")) == b"static"
        assert fetch(url.replace("/io/", "/healthz")) == b'{"ready":true,"reason":""}'
        assert fetch(f"{url}socket.io.js") == b"client"
        opened = fetch(f"{url}?EIO=4&transport=polling")
        assert opened.endswith(b'"pingInterval":3000,"pingTimeout":2000,"maxPayload":1000}')
        assert [manager.recv(100) for _ in range(2)] == [b"READY=1", b"WATCHDOG=1"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert manager.recv(100) == b"STOPPING=1"
        assert process.stderr is not None
        logged = process.stderr.read()
        assert "Traceback" not in logged
        assert re.search(r"DEBUG +trio_sio\.doors\.native\.access: GET '/page\.txt' from 127\.0\.0\.1: 200 in ", logged), logged


def notified(manager: socket.socket, directory: Path) -> str:
    """Let a socket be what is told by a service how it is; return where."""
    where = str(directory / "notify")
    manager.settimeout(10)
    manager.bind(where)
    return where


@pytest.mark.slow
def test_a_server_is_run_with_its_own_config(app: Path) -> None:
    with running(app, "cli_app:make_server", "--log-level", "warning") as (process, printed):
        first = printed.splitlines()[0]
        assert first.endswith("/engine.io/ over websocket")
        with pytest.raises(urllib.error.HTTPError, match="400"):
            fetch(f"{first.split()[1]}?EIO=3&transport=websocket")
        process.send_signal(signal.SIGINT)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert process.stderr.read() == "SIGINT: saying goodbye; once more to stop at once.\n"


@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.hostile("P02")
@pytest.mark.slow
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
@pytest.mark.slow
def test_what_does_not_stop_is_named(app: Path) -> None:
    with running(app, "cli_app:hanging") as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1
        assert process.stderr is not None
        error = process.stderr.read()
        assert "Still running after" in error
        assert "in hangs" in error


@pytest.mark.hostile("R35")
@pytest.mark.slow
@pytest.mark.parametrize("door", ["native", "hypercorn"])
@pytest.mark.parametrize("target", ["failing", "open_failing"])
def test_what_fails_to_stop_is_a_failure(target: str, door: str, app: Path) -> None:
    with running(app, f"cli_app:{target}", "--door", door) as (process, _):
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 1
        assert process.stderr is not None
        assert "OSError: the disk is full" in process.stderr.read()


@pytest.mark.slow
@pytest.mark.parametrize("option", ["", "encrypted"])
def test_run_on_a_unix_socket(app: Path, option: str) -> None:
    context = write_certificate(app) if option else None
    arguments = [*BRISK, "--host", "unix:sock", *(["--certfile", "both.pem"] if option else [])]
    with running(app, "cli_app:routes", *arguments) as (process, printed):
        scheme = "https" if option else "http"
        assert printed.splitlines()[0] == f"Serving {scheme}://unix:{app}/sock:/socket.io/ over polling, websocket"
        assert request_hello(app / "sock", context).startswith(b"HTTP/1.1 200")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert not (app / "sock").exists()


def request_hello(path: Path, context: ssl.SSLContext | None) -> bytes:
    """Open a session through a Unix socket; return the beginning of the response."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(10)
        sock.connect(str(path))
        with context.wrap_socket(sock, server_hostname="localhost") if context else sock as stream:
            stream.sendall(b"GET /socket.io/?EIO=4&transport=polling HTTP/1.1\r\nHost: localhost\r\n\r\n")
            return stream.recv(100)


@pytest.mark.slow
@pytest.mark.parametrize("secure", [False, True], ids=["plain", "TLS"])
def test_run_under_hypercorn(app: Path, secure: bool) -> None:
    context = write_certificate(app)
    options = ["--certfile", "both.pem"] if secure else []
    with running(app, "cli_app:routes", *BRISK, "--door", "hypercorn", "--host", "127.0.0.1", *options) as (process, printed):
        first = printed.splitlines()[0]
        url = re.fullmatch(r"Serving (https?)://127\.0\.0\.1:(\d+)/socket\.io/ over polling, websocket", first)
        assert url is not None
        assert url[1] == ("https" if secure else "http")
        assert fetch(f"{url[1]}://localhost:{url[2]}/socket.io/?EIO=4&transport=polling", context if secure else None).startswith(b"0{")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        assert process.stderr is not None
        assert "Traceback" not in process.stderr.read()


@pytest.mark.usefixtures("app")
def test_hypercorn_has_to_be_there(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setitem(sys.modules, "hypercorn.config", None)
    assert cli.main(["run", "cli_app:routes", "--door", "hypercorn"]) == 2
    assert "install it with `pip install 'trio-sio[hypercorn]'`." in capsys.readouterr().err


@pytest.mark.usefixtures("app")
def test_hypercorn_has_to_be_one_that_was_tested(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("importlib.metadata.version", lambda _: "0.17.3")
    assert cli.main(["run", "cli_app:routes", "--door", "hypercorn"]) == 2
    assert "this is 0.17.3. Install it with " in capsys.readouterr().err


@pytest.mark.slow
def test_run_on_an_inherited_socket(app: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
        with running(app, "cli_app:routes", *BRISK, "--host", f"fd://{sock.fileno()}", inherited=[sock.fileno()]) as (process, printed):
            assert printed.startswith(f"Serving http://127.0.0.1:{port}/socket.io/ over")
            assert fetch(f"http://127.0.0.1:{port}/socket.io/?EIO=4&transport=polling").startswith(b"0{")
            process.send_signal(signal.SIGTERM)
            assert process.wait(10) == 0


@pytest.mark.slow
@pytest.mark.parametrize("options", [["--certfile", "chain.pem", "--keyfile", "key.pem"], ["--certfile", "both.pem"]])
def test_run_with_tls(app: Path, options: list[str]) -> None:
    context = write_certificate(app)
    context.set_alpn_protocols(["h2", "http/1.1"])  # as browsers do
    with running(app, "cli_app:routes", *BRISK, "--host", "localhost", *options) as (process, printed):
        first = printed.splitlines()[0]
        assert first.startswith("Serving https://")
        port = int(first.split()[1].split(":")[-1].partition("/")[0])
        assert fetch(f"https://localhost:{port}/socket.io/?EIO=4&transport=polling", context).startswith(b"0{")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["run", "app:routes", "--prot", "80"], "unrecognized arguments: --prot 80; did you mean --port?"),
        (["run", "app:routes", "--health=/x", "--worker", "2"], "--worker 2; did you mean --health-path, --workers?"),
        (["contract", "app:routes", "--fromat", "typescript"], "did you mean --format?"),
        (["routes", "app:routes", "more"], "unrecognized arguments: more\n"),
    ],
)
def test_an_option_that_is_misspelt(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        cli.main(arguments)
    assert says in capsys.readouterr().err

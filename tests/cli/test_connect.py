"""``trio-sio connect`` against a real server, in this process and in one of its own: what it prints, and its exit code."""

from __future__ import annotations

import argparse
import base64
import contextlib
import itertools
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from queue import Queue
from typing import Any

import pytest
import trio
import trustme

from tests.client.fake_server import Connection, open_packet
from tests.client.proxy import Proxy, open_proxy
from trio_sio import Config, ConnectionRefused, Context, Next, Server, Socket
from trio_sio.cli import main
from trio_sio.cli.connect import add_connect_options, connect_command

ROOT = Path(__file__).parent.parent.parent
BOUND = 20  # seconds; nothing here takes that long unless it fails

EVIL = "\x1b]0;title\x07\x1b[2J\u202e\x9b31m"
EVIL_SHOWN = r"\u001b]0;title\u0007\u001b[2J\u202e\u009b31m"


def make_server(config: Config, gone: Callable[[tuple[object, str]], None], notes: dict[str, list[object]]) -> Server:
    """Return a server; ``gone``: called with label and reason when a client has left; ``notes``: what clients said."""
    server = Server(config=config)

    async def check(ctx: Context, call_next: Next) -> object:
        if ctx.socket.handshake.auth.get("token") != "secret":
            raise ConnectionRefused(f"bad token {EVIL}", data={"code": 4001, "hint": EVIL})
        return await call_next()

    server.of("/private").use(check)

    @server.of("/fragile").on_connection
    async def fail(socket: Socket) -> None:
        raise ZeroDivisionError

    @server.on_connection
    async def joined(socket: Socket) -> None:
        if socket.handshake.auth.get("label") == "new":
            await socket.emit("welcome")

    @server.on_disconnection
    async def left(socket: Socket, reason: str) -> None:
        gone((socket.handshake.auth.get("label"), reason))

    @server.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @server.on("note")
    async def note(socket: Socket, key: str, value: Any) -> None:
        notes[key].append(value)

    @server.on("say")
    async def say(socket: Socket, *args: Any) -> None:
        await socket.emit("said", *args)

    @server.on("flood")
    async def flood(socket: Socket, count: int, size: int) -> None:
        for number in range(count):
            await socket.emit("wave", number, "." * size)

    @server.on("binary")
    async def binary(socket: Socket) -> bytes:
        await socket.emit("data", b"\x01\x02\xff", {"more": bytes(40)})
        return b"\x07"

    @server.on("evil")
    async def evil(socket: Socket) -> str:
        await socket.emit(EVIL, EVIL, {EVIL: 1})
        return EVIL

    @server.on("ask")
    async def ask(socket: Socket) -> object:
        return await socket.emit_with_ack("question", timeout=5)

    @server.on("never")
    async def never(socket: Socket) -> None:
        await trio.sleep_forever()

    @server.on("bye")
    async def bye(socket: Socket) -> None:
        await socket.emit("last words")
        await socket.disconnect()

    @server.of("/private").on("seen")
    async def seen(socket: Socket) -> object:
        handshake = socket.handshake
        mine = {name: value for name, value in handshake.query.items() if name not in ("EIO", "transport", "t", "sid")}
        return {"auth": handshake.auth, "header": handshake.headers.get("x-mine"), "cookies": dict(handshake.cookies), "query": mine}

    return server


class Site:
    """Servers in a thread of their own: by HTTP, behind two proxies, by TLS, with MessagePack, with an impatient heartbeat.

    The proxy "late" lets no WebSocket through before `let_upgrade`.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self.ports: dict[str, int] = {}
        self._servers: dict[str, Server] = {}
        self.notes: dict[str, list[object]] = defaultdict(list)
        self._gone: Queue[tuple[object, str]] = Queue()
        self.proxy: Proxy
        self._late: Proxy
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._token: trio.lowlevel.TrioToken
        self._stop = trio.CancelScope()
        self._ready = threading.Event()

    def url(self, which: str) -> str:
        return f"http{'s' if which == 'tls' else ''}://localhost:{self.ports[which]}"

    def reason(self, label: str) -> str:
        """Wait until the client has left that said so in its credentials; return why."""
        while True:
            found, reason = self._gone.get(timeout=BOUND)
            if found == label:
                return reason

    def cut(self) -> None:
        self._token.run_sync_soon(self.proxy.cut)

    def let_upgrade(self) -> None:
        self._token.run_sync_soon(self._late.websockets.set)

    def wait_for_pongs(self, which: str, seconds: float) -> None:
        """Wait until the only client has answered pings for so long."""

        async def wait() -> None:
            (connection,) = self._servers[which].engine.connections
            until = trio.current_time() + seconds
            with trio.fail_after(BOUND):
                while connection.confirmed < until:  # noqa: ASYNC110 - an end that only this test looks for
                    await trio.sleep(0.02)

        trio.from_thread.run(wait, trio_token=self._token)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        configs = {
            "http": Config(path="/socket.io"),
            "tls": Config(),
            "msgpack": Config(parser="msgpack", path="/io"),
            "impatient": Config(ping_interval=0.1, ping_timeout=1, transports=["websocket"]),
        }
        with self._stop:
            async with trio.open_nursery() as nursery:
                for name, config in configs.items():
                    server = self._servers[name] = make_server(config, self._gone.put, self.notes)
                    context = self._context if name == "tls" else None
                    listeners = await nursery.start(
                        lambda task_status, server=server, context=context: server.serve(
                            "localhost", 0, ssl_context=context, task_status=task_status
                        )
                    )
                    self.ports[name] = listeners[0].sockname[1]
                async with open_proxy(self.ports["http"]) as self.proxy, open_proxy(self.ports["http"]) as self._late:
                    self.ports["proxy"] = self.proxy.port
                    self.ports["late"] = self._late.port
                    self._late.websockets = trio.Event()
                    self._ready.set()
                    await trio.sleep_forever()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=trio.run, args=(self._serve,))
        thread.start()
        try:
            assert self._ready.wait(BOUND)
            yield
        finally:
            self._token.run_sync_soon(self._stop.cancel)
            thread.join(BOUND)


AUTHORITY = trustme.CA()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    site = Site(AUTHORITY)
    with site.running():
        yield site


class Ran:
    """What a run of the command has printed, and how it ended."""

    def __init__(self, code: object, out: str, err: str) -> None:
        self.code = code
        self.out = out.splitlines()
        self.err = err

    @property
    def news(self) -> list[str]:
        """The lines without states, and with ``(ms)`` for each latency."""
        return [re.sub(r"\(\d+\.\d ms\)", "(ms)", line) for line in self.out if not line.startswith("-- ")]


Run = Callable[..., Ran]


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str]) -> Run:
    """Run ``trio-sio connect`` in this process."""

    def run(*arguments: str) -> Ran:
        capfd.readouterr()
        try:
            code: object = main(["connect", *arguments])
        except SystemExit as exc:
            code = exc.code
        return Ran(code, *capfd.readouterr())

    return run


# Scripts.


def test_steps_are_done_in_order(site: Site, run: Run) -> None:
    ran = run(
        site.url("http"), "--emit", "say 1", "--expect", "said 1", "--emit", 'echo? "a" {"b": null}', "--emit", "echo?", "--emit", "say 2"
    )
    assert (ran.code, ran.err) == (0, "")
    # An upgrade may come before the first line is printed.
    assert re.fullmatch(r"-- connected id=[\w-]{20} transport=(polling|websocket)", ran.out[0])
    assert ran.news[:3] == ["<- said 1", '<- ack echo (ms) "a" {"b": null}', "<- ack echo (ms) null"]


def test_a_script_that_ends_has_sent_everything(site: Site, run: Run) -> None:
    assert run(site.url("http"), "--auth", '{"label": "said"}', "--emit", "say 1").code == 0
    assert site.reason("said") == "client namespace disconnect"
    assert run(site.url("http"), "--auth", '{"label": "noted"}', "--emit", 'note "noted" 5').code == 0
    assert site.reason("noted") == "client namespace disconnect"
    assert site.notes["noted"] == [5]


def test_what_comes_first_is_that_it_is_connected(site: Site, run: Run) -> None:
    for _ in range(6):  # two tasks print, and either may run first
        ran = run(site.url("http"), "--auth", '{"label": "new"}', "--transport", "websocket", "--expect", "welcome")
        assert [line.split()[1] for line in ran.out] == ["connected", "welcome"]


def test_ack_is_for_every_event(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--ack", "--emit", "echo 1", "--emit", "echo 2", "--transport", "websocket")
    assert ran.news == ["<- ack echo (ms) 1", "<- ack echo (ms) 2"]
    assert ran.out[0].endswith("transport=websocket")


def test_an_event_may_come_before_its_turn(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--ack", "--emit", "say 1", "--emit", "say 2", "--expect", "said 2", "--expect", "said 1")
    assert (ran.code, ran.err) == (0, "")


@pytest.mark.slow
def test_an_event_meets_one_expectation(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--emit", "say 1", "--expect", "said", "--expect", "said", "--timeout", "2")
    assert (ran.code, ran.err) == (1, "trio-sio: No event like 'said' came within 2 seconds.\n")
    assert run(site.url("http"), "--emit", "say 1", "--emit", "say 1", "--expect", "said", "--expect", "said").code == 0


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        pytest.param(
            ["--emit", "say 1", "--expect", "said 2", "--timeout", "2"],
            "No event like 'said 2' came within 2 seconds.",
            marks=pytest.mark.slow,
        ),
        pytest.param(["--emit", "never?", "--timeout", "2"], "'never?' was not acknowledged within 2 seconds.", marks=pytest.mark.slow),
        (["--emit", "bye", "--expect", "said"], "The server has disconnected this client."),
        (["--emit", "bye", "--emit", "never?"], "The server has disconnected this client."),
    ],
)
def test_what_does_not_come_is_1(site: Site, run: Run, arguments: list[str], sentence: str) -> None:
    ran = run(site.url("http"), *arguments)
    assert (ran.code, ran.err) == (1, f"trio-sio: {sentence}\n")
    if "bye" in arguments:
        # An upgrade may be through in between.
        assert (ran.news[-1], ran.out[-1]) == ('<- "last words"', "-- ended: io server disconnect")


@pytest.mark.parametrize("steps", [["--expect", "x"], ["--emit", "x?"]])
def test_who_is_sent_away_at_once_is_1(site: Site, run: Run, steps: list[str]) -> None:
    for transport in ["polling", "websocket"] * 5:  # it may be over before the first line is printed
        ran = run(site.url("http"), "--namespace", "/fragile", "--transport", transport, *steps)
        assert (ran.code, ran.err) == (1, "trio-sio: The server has disconnected this client.\n")
        assert [line for line in ran.out if "connected" not in line] == ["-- ended: io server disconnect"]


async def test_a_server_that_says_goodbye_instead_of_an_answer_is_1(capfd: pytest.CaptureFixture[str]) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        connection = Connection(stream)
        with contextlib.suppress(trio.EndOfChannel):
            while True:
                request = await connection.request()
                if request.method == "POST":
                    await connection.respond()
                    joining.set()
                elif "sid" in request.query:
                    await joining.wait()
                    await connection.respond(b"41")
                else:
                    await connection.respond(open_packet())

    joining = trio.Event()

    parser = argparse.ArgumentParser()
    add_connect_options(parser)
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
            url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
            options = parser.parse_args([url, "--transport", "polling", "--expect", "x"])
            assert await connect_command(options) == 1
            nursery.cancel_scope.cancel()
    assert capfd.readouterr() == ("", "trio-sio: The server has disconnected this client.\n")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--emit", "say hello"], "error: argument --emit: 'hello' is not JSON; write text in quotes: \"hello\"."),
        (["--expect", "said?"], "error: argument --expect: 'said?' has a '?' behind the name, which is for --emit; "),
        (["--auth", "[1]"], 'error: argument --auth: \'[1]\' is not a JSON object; write it as in {"token": "secret"}'),
        (["--auth", "secret"], "error: argument --auth: 'secret' is not JSON; write text in quotes: \"secret\"."),
        (["--transport", "websocket,carrier-pigeon"], "error: argument --transport: 'carrier-pigeon' is not a transport; "),
        (["--header", "Bearer abc"], "error: argument --header: 'Bearer abc' is not a header field; "),
        (["--query", "room"], "error: argument --query: 'room' is not a query parameter; "),
        (["--timeout", "soon"], "error: argument --timeout: 'soon' is not a number of seconds above 0"),
        (["--timeout", "0"], "error: argument --timeout: '0' is not a number of seconds above 0"),
        (["--parser", "xml"], "error: argument --parser: invalid choice: 'xml'"),
        (["--cacert", "missing"], "error: argument --cacert: 'missing' is not a file"),
        (["--cacert", __file__], "trio-sio: There is no certificate in PEM in "),
        (["--namespace", "chat", "--emit", "x"], "trio-sio: 'chat' is no namespace: "),
        (["--emit", "connect"], "trio-sio: The event name 'connect' is reserved; choose another one."),
    ],
)
def test_wrong_usage_is_2(site: Site, run: Run, arguments: list[str], sentence: str) -> None:
    ran = run(site.url("http"), *arguments)
    assert ran.code == 2
    assert sentence in ran.err


def test_no_address_is_2(run: Run) -> None:
    ran = run("localhost:3000", "--emit", "x")
    assert ran.code == 2
    assert ran.err.startswith("trio-sio: The URL 'localhost:3000' is not complete; ")


def test_no_connection_is_3(site: Site, run: Run) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unheard:
        port = unheard.getsockname()[1]
        slow = run(f"http://127.0.0.1:{port}", "--emit", "x", "--timeout", "0.3")
    nobody = run(f"http://127.0.0.1:{port}", "--emit", "x")
    wrong = run(site.url("http"), "--path", "/wrong", "--emit", "x")
    assert [ran.code for ran in (slow, nobody, wrong)] == [3, 3, 3]
    assert [ran.out for ran in (slow, nobody, wrong)] == [[], [], []]
    assert nobody.err.startswith(f"trio-sio: No connection to http://127.0.0.1:{port}/socket.io/: ")
    assert "404" in wrong.err


def test_a_refusal_is_4_and_json(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--namespace", "/private", "--auth", '{"token": "guess"}', "--emit", "x")
    assert (ran.code, ran.out) == (4, [])
    assert ran.err.isascii()
    assert json.loads(ran.err) == {"message": f"bad token {EVIL}", "data": {"code": 4001, "hint": EVIL}}


def test_what_the_server_sees(site: Site, run: Run) -> None:
    arguments = ["--header", "X-Mine: a: b", "--header", "Cookie: one=1; two=2", "--query", "room=a=b", "--query", "empty="]
    arguments += ["--auth", '{"token": "secret"}', "--namespace", "/private"]
    ran = run(site.url("http"), *arguments, "--emit", "seen?", "--json")
    [ack] = [line for line in map(json.loads, ran.out) if line["type"] == "ack"]
    seen = {"auth": {"token": "secret"}, "header": "a: b", "cookies": {"one": "1", "two": "2"}, "query": {"room": "a=b", "empty": ""}}
    assert ack["args"] == [seen]
    assert ran.code == 0


@pytest.mark.parametrize(
    ("options", "transports"), [(["polling"], ["polling"]), (["websocket"], ["websocket"]), (["websocket,polling"], ["websocket"])]
)
def test_transports(site: Site, run: Run, options: list[str], transports: list[str]) -> None:
    arguments = [part for option in options for part in ("--transport", option)]
    # Two round trips, so that an upgrade would have been seen.
    ran = run(site.url("http"), *arguments, "--ack", "--emit", "echo", "--emit", "echo", "--emit", "echo", "--json")
    states = [line for line in map(json.loads, ran.out) if line["type"] == "state"]
    assert [state["transport"] for state in states] == transports


def test_messagepack(site: Site, run: Run) -> None:
    ran = run(site.url("msgpack"), "--path", "/io", "--parser", "msgpack", "--emit", 'echo? {"a": [1, "é"]}', "--emit", "binary?")
    assert (ran.code, ran.err) == (0, "")
    assert '<- ack echo (ms) {"a": [1, "é"]}' in ran.news
    assert "<- ack binary (ms) <1 byte: 07>" in ran.news


def test_tls(site: Site, run: Run, tmp_path: Path) -> None:
    AUTHORITY.cert_pem.write_to_path(tmp_path / "authority.pem")
    arguments = ["--emit", "echo? 1", "--timeout", "5"]
    trusting = run(site.url("tls"), "--cacert", str(tmp_path / "authority.pem"), *arguments)
    assert (trusting.code, trusting.err, trusting.news) == (0, "", ["<- ack echo (ms) 1"])
    suspicious = run(site.url("tls"), *arguments)
    assert suspicious.code == 3
    assert "is not trusted" in suspicious.err
    unencrypted = run(site.url("http"), "--cacert", str(tmp_path / "authority.pem"), *arguments)
    assert unencrypted.code == 2


def test_hostile_text_commands_nothing(site: Site, run: Run) -> None:
    ran = run(site.url("http"), "--emit", "evil?", "--expect", json.dumps(EVIL))
    assert ran.code == 0
    assert all(line.isprintable() for line in ran.out)
    assert sorted(ran.news) == [f'<- "{EVIL_SHOWN}" "{EVIL_SHOWN}" {{"{EVIL_SHOWN}": 1}}', f'<- ack evil (ms) "{EVIL_SHOWN}"']


def test_json(site: Site, run: Run) -> None:
    steps = ["--emit", "binary?", "--expect", "data", "--emit", "evil?", "--emit", "bye", "--expect", "x"]
    ran = run(site.url("http"), "--json", "--transport", "polling", *steps)
    assert ran.code == 1
    assert all(line.isascii() for line in ran.out)
    lines = [json.loads(line) for line in ran.out]
    assert lines[0] == {"type": "state", "state": "connected", "id": lines[0]["id"], "recovered": False, "transport": "polling"}
    assert lines[-1] == {"type": "state", "state": "ended", "reason": "io server disconnect", "error": None}
    events = [(line["event"], line["args"]) for line in lines if line["type"] == "event"]
    more = {"more": {"base64": base64.b64encode(bytes(40)).decode()}}
    assert events == [("data", [{"base64": "AQL/"}, more]), (EVIL, [EVIL, {EVIL: 1}]), ("last words", [])]
    acks = [line for line in lines if line["type"] == "ack"]
    assert [(ack["event"], ack["args"]) for ack in acks] == [("binary", [{"base64": "Bw=="}]), ("evil", [EVIL])]
    assert all(0 < ack["latency"] < BOUND for ack in acks)


def test_help_tells_notation_and_exit_codes(run: Run, capfd: pytest.CaptureFixture[str]) -> None:
    ran = run("--help")
    assert ran.code == 0
    beginnings = ('  event {"json": 1} [2]   emit an event: ', "exit codes:", "  4    refused by the server; ", "  130  ", "  141  ")
    for line in beginnings:
        assert any(one.startswith(line) for one in ran.out)


# Processes.


class Process:
    """``trio-sio connect`` in a process of its own, whose output the test reads up to what it waits for."""

    def __init__(self, arguments: Sequence[str], terminal: bool) -> None:
        code = "import sys; from trio_sio.cli import main; sys.exit(main())"
        if terminal:
            # So that Ctrl-C and Ctrl-D mean what they mean at a terminal.
            code = f"import fcntl, os, termios; os.setsid(); fcntl.ioctl(0, termios.TIOCSCTTY, 0); {code}"
        command = [sys.executable, "-W", "error", "-c", code, "connect", *arguments]
        self._input, theirs = pty.openpty() if terminal else (-1, subprocess.PIPE)
        out = theirs if terminal else subprocess.PIPE
        environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUTF8": "1"}
        self.process = subprocess.Popen(command, stdin=theirs, stdout=out, stderr=subprocess.PIPE, env=environment)
        if terminal:
            os.close(theirs)
            self._output = self._input
        else:
            assert self.process.stdin
            assert self.process.stdout
            self._input, self._output = self.process.stdin.fileno(), self.process.stdout.fileno()
        self._terminal = terminal
        self.read = ""

    def type(self, text: str) -> None:
        os.write(self._input, text.encode())

    def see(self, pattern: str) -> str:
        """Read until ``pattern`` is there; return what it matches. What is in front of it is passed over."""
        deadline = time.monotonic() + BOUND
        while not (match := re.search(pattern, self.read, re.MULTILINE)):
            assert select.select([self._output], [], [], max(0, deadline - time.monotonic()))[0], self.read
            data = os.read(self._output, 65536)
            assert data, self.read
            self.read += data.decode()
        self.read = self.read[match.end() :]
        return match[0]

    def end_input(self) -> None:
        assert self.process.stdin
        self.process.stdin.close()

    def wait(self) -> tuple[int, str]:
        """Return the exit code and what was written on the standard error stream."""
        assert self.process.stderr
        code = self.process.wait(BOUND)
        return code, self.process.stderr.read().decode()

    def __enter__(self) -> Process:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.process.kill()
        with self.process:
            pass
        if self._terminal:
            os.close(self._input)


@pytest.fixture
def start() -> Iterator[Callable[..., Process]]:
    with contextlib.ExitStack() as stack:

        def start(*arguments: str, terminal: bool = False) -> Process:
            return stack.enter_context(Process(arguments, terminal))

        yield start


Start = Callable[..., Process]


@pytest.mark.slow
def test_a_session_through_a_pipe(site: Site, start: Start) -> None:
    process = start(site.url("late"))
    process.see(r"^-- connected id=[\w-]{20} transport=polling$")
    site.let_upgrade()
    process.see("^-- upgraded transport=websocket$")
    process.type('say "é" {"json": 1} [2, 3]\n\nsa')
    process.see(r'^<- said "é" \{"json": 1\} \[2, 3\]$')
    process.type("y 4\n")
    process.see("^<- said 4$")
    process.type("/state\n/help\nask?\n")
    process.see("^-- connected id=.* transport=websocket$")
    process.see(r'^event \{"json": 1\} \[2\] ')
    process.see("^/quit")
    process.see("^<- question$")
    process.see(r"^<- ack ask \(.* ms\) null$")
    process.type("say oops\n/stat\nconnect 1\nnever?\n/quit\necho? 1\n")
    code, err = process.wait()
    assert code == 0
    assert [line.partition(";")[0] for line in err.splitlines()] == [
        "trio-sio: 'oops' is not JSON",
        "trio-sio: There is no '/stat'",
        "trio-sio: The event name 'connect' is reserved",
    ]


@pytest.mark.slow
def test_the_end_of_the_input_waits_for_acknowledgements(site: Site, start: Start) -> None:
    process = start(site.url("http"), "--timeout", "5")
    process.type("".join(f"echo? {number}\n" for number in range(200)) + "say 1\necho? 200\nnever?")
    process.end_input()
    for number in range(201):
        process.see(rf"^<- ack echo \(\d+\.\d ms\) {number}$")
    assert process.wait() == (0, "trio-sio: 'never?' was not acknowledged within 5 seconds.\n")


@pytest.mark.slow
def test_events_leave_in_the_order_of_the_lines(site: Site, start: Start) -> None:
    process = start(site.url("http"))
    process.type("".join(f'note? "line" {number}\nnote "line" {number + 1}\n' for number in range(0, 100, 2)))
    process.end_input()
    assert process.wait() == (0, "")
    assert site.notes["line"] == list(range(100))


@pytest.mark.slow
def test_input_from_a_file(site: Site, tmp_path: Path) -> None:
    (tmp_path / "lines").write_text("echo? 1\necho? 2")
    command = [sys.executable, "-W", "error", "-m", "trio_sio", "connect", site.url("http"), "--json"]
    with (tmp_path / "lines").open() as lines:
        ran = subprocess.run(command, stdin=lines, capture_output=True, timeout=BOUND, check=True, cwd=ROOT)
    acks = [line for line in map(json.loads, ran.stdout.splitlines()) if line["type"] == "ack"]
    assert [ack["args"] for ack in acks] == [[1], [2]]
    assert ran.stderr == b""


@pytest.mark.slow
def test_closed_descriptors_are_refused(site: Site) -> None:
    command = f'exec "{sys.executable}" -m trio_sio connect {site.url("http")} <&-'
    ran = subprocess.run(["sh", "-c", command], capture_output=True, timeout=BOUND, check=False, cwd=ROOT)
    assert (ran.returncode, ran.stdout) == (2, b"")
    assert ran.stderr == b"trio-sio: The standard input or output is closed; redirect it to /dev/null instead.\n"


def connect(site: Site, *arguments: str) -> list[str]:
    return [sys.executable, "-m", "trio_sio", "connect", site.url("http"), "--transport", "websocket", *arguments]


@pytest.mark.slow
@pytest.mark.parametrize("script", [[], ["--emit", "echo? 1"]])
def test_output_that_cannot_be_written_is_1(site: Site, script: list[str]) -> None:
    with Path("/dev/full").open("wb") as full:
        ran = subprocess.run(
            connect(site, *script), input=b"echo? 1\n", stdout=full, stderr=subprocess.PIPE, timeout=BOUND, check=False, cwd=ROOT
        )
    assert (ran.returncode, ran.stderr) == (1, b"trio-sio: The standard output cannot be written: No space left on device.\n")


@pytest.mark.slow
def test_input_that_cannot_be_read_is_1(site: Site) -> None:
    fd = os.open(os.devnull, os.O_WRONLY)
    try:
        ran = subprocess.run(connect(site), stdin=fd, capture_output=True, timeout=BOUND, check=False, cwd=ROOT)
    finally:
        os.close(fd)
    assert (ran.returncode, ran.stderr) == (1, b"trio-sio: The standard input cannot be read: Bad file descriptor.\n")


@pytest.mark.slow
def test_pipes_that_do_not_block(site: Site) -> None:
    """Whoever shares a pipe may have made it so: then its end waits as if it had not."""
    stdin, typing = os.pipe()
    reading, stdout = os.pipe()
    os.set_blocking(stdin, False)
    os.set_blocking(stdout, False)
    with subprocess.Popen(connect(site, "--json"), stdin=stdin, stdout=stdout, stderr=subprocess.PIPE, cwd=ROOT) as process:
        os.close(stdin)
        os.close(stdout)
        with open(reading, "rb") as lines:
            assert json.loads(lines.readline())["state"] == "connected"  # nothing is typed yet
            os.write(typing, b"flood 30 50000\n")
            assert process.stderr
            # More than a pipe holds, which nobody reads yet.
            assert not select.select([process.stderr], [], [], 1)[0]
            waves = (line["args"][0] for line in map(json.loads, lines) if line["type"] == "event")
            assert list(itertools.islice(waves, 30)) == list(range(30))
            os.close(typing)
        assert (process.wait(BOUND), process.stderr.read()) == (0, b"")


@pytest.mark.slow
@pytest.mark.parametrize("redirection", ["2>&-", "2>/dev/full"])
@pytest.mark.parametrize(
    ("arguments", "code"),
    [(["--namespace", "/private", "--emit", "x"], 4), (["--expect", "x", "--timeout", "0.2"], 1), (["--path", "/wrong", "--emit", "x"], 3)],
)
def test_nobody_is_told_without_a_standard_error_stream(site: Site, redirection: str, arguments: list[str], code: int) -> None:
    command = shlex.join(connect(site, "--json", *arguments))
    ran = subprocess.run(["sh", "-c", f"exec {command} {redirection}"], capture_output=True, timeout=BOUND, check=False, cwd=ROOT)
    assert (ran.returncode, ran.stderr) == (code, b"")
    assert {json.loads(line)["type"] for line in ran.stdout.splitlines()} <= {"state"}


@pytest.mark.slow
@pytest.mark.parametrize("key", ["\x03", "\x04"], ids=["Ctrl-C", "Ctrl-D"])
def test_a_session_at_a_terminal(site: Site, start: Start, key: str) -> None:
    label = f"terminal {ord(key)}"
    process = start(site.url("http"), "--auth", json.dumps({"label": label}), terminal=True)
    process.see(r"-- connected id=")
    process.type("echo? 1\n")
    process.see(r"<- ack echo \(\d+\.\d ms\) 1\r\n")
    process.type("evil\n")
    process.see(re.escape(EVIL_SHOWN))
    process.type(key)
    assert process.wait() == (0, "")
    assert site.reason(label) == "client namespace disconnect"
    assert "\x1b" not in process.read


@pytest.mark.slow
def test_an_interrupted_script_ends_like_any_program(site: Site, start: Start) -> None:
    process = start(site.url("http"), "--expect", "nothing", "--timeout", "60")
    process.see("^-- connected")
    process.process.send_signal(signal.SIGINT)
    assert process.wait() == (130, "")


@pytest.mark.slow
def test_the_connection_comes_back(site: Site, start: Start) -> None:
    process = start(site.url("proxy"), "--transport", "websocket")
    process.see("^-- connected")
    site.cut()
    process.see(r"^-- lost: transport close \(.*\)$")
    process.see(r"^-- again in \d\.\d s$")
    process.type("echo? 1\n")
    process.see("^-- connecting$")
    process.see("^-- connected")
    process.see(r"^<- ack echo \(\d+\.\d ms\) 1$")
    process.end_input()
    assert process.wait() == (0, "")


@pytest.mark.slow
def test_without_reconnection_a_lost_connection_is_1(site: Site, start: Start) -> None:
    process = start(site.url("proxy"), "--transport", "websocket", "--no-reconnect")
    process.see("^-- connected")
    site.cut()
    process.see(r"^-- ended: transport close$")
    code, err = process.wait()
    assert code == 1
    assert err.startswith("trio-sio: The connection was lost (transport close), and reconnection is off: ")


@pytest.mark.slow
def test_who_does_not_read_on_does_not_lose_the_connection(site: Site, start: Start) -> None:
    process = start(site.url("impatient"), "--transport", "websocket")
    process.see("^-- connected.*\n")
    process.type("flood 50 5000\n")
    site.wait_for_pongs("impatient", 1.5)  # longer than the server waits for one
    lines = process.see(r'(?s)\A.*^<- wave 49 "').splitlines()
    assert [line.split()[2] for line in lines] == [str(number) for number in range(50)]
    process.type("echo? 1\n")
    process.see("^<- ack echo .* 1$")
    process.end_input()
    assert process.wait() == (0, "")


@pytest.mark.slow
def test_output_that_nobody_wants(site: Site, start: Start) -> None:
    process = start(site.url("http"))
    process.see("^-- connected")
    assert process.process.stdout
    process.process.stdout.close()
    process.type("say 1\n")
    assert process.wait() == (128 + signal.SIGPIPE, "")


@pytest.mark.slow
def test_a_line_without_end(site: Site, start: Start, tmp_path: Path) -> None:
    with (tmp_path / "line").open("wb") as line:
        line.truncate(20 * 1024 * 1024)
    command = [sys.executable, "-m", "trio_sio", "connect", site.url("http")]
    with (tmp_path / "line").open("rb") as line:
        ran = subprocess.run(command, stdin=line, capture_output=True, timeout=BOUND, check=False, cwd=ROOT)
    assert ran.returncode == 2
    assert ran.stderr == b"trio-sio: A line has more than 16777216 bytes; no server takes that much by default.\n"

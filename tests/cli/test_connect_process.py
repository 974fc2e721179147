"""``trio-sio connect`` in a process of its own: pipes, a terminal, signals, and a network that fails."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import pty
import re
import select
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.cli.serving import BOUND, EVIL_SHOWN, ROOT, Site


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

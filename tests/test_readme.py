"""What the README shows works as it stands: every Python and JavaScript block is run, and every command but `make test`."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
import socketio

from tests.ports import free_port

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parent.parent
PORT_IN_README = "3000"
SERVED = f"trio-sio run chat:routes --port {PORT_IN_README}"
START_TIMEOUT = 30
# `make run` in a fresh clone installs first.
MAKE_TIMEOUT = 300
# Longer than what stopping may take by default.
STOP_TIMEOUT = 30


class Block(NamedTuple):
    """One fenced block of the README."""

    language: str
    text: str

    @property
    def name(self) -> str:
        """The file name in its first line: ``# chat.py``."""
        match = re.match(r"(?:#|//) ([\w.]+)\n", self.text)
        return match[1] if match else ""


def read_blocks() -> list[Block]:
    return [Block(*found) for found in re.findall(r"^```(\w+)\n(.*?)^```$", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)]


BLOCKS = read_blocks()
FILES = {block.name: block for block in BLOCKS if block.language in ("python", "js")}
SERVERS = [name for name, block in FILES.items() if re.search(r"\b(trio|server)\.run\(", block.text)]
TESTS = [name for name in FILES if name.startswith("test_")]
MODULES = [name for name in FILES if name.endswith(".py") and name not in SERVERS and name not in TESTS]
COMMANDS = [
    line.removeprefix("$ ") for block in BLOCKS if block.language == "console" for line in block.text.splitlines() if line.startswith("$ ")
]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all of the README's files, as a reader would have copied them."""
    directory = tmp_path_factory.mktemp("readme")
    for name, block in FILES.items():
        (directory / name).write_text(block.text)
    (directory / "node_modules").symlink_to(ROOT / "node_modules")
    return directory


@pytest.fixture
def port() -> int:
    return free_port()


def shown_below(command: str) -> str:
    """Return what the README shows as the output of ``command``."""
    block = next(block for block in BLOCKS if f"$ {command}\n" in block.text)
    return block.text.partition(f"$ {command}\n")[2].partition("$ ")[0]


def without_figures(output: str) -> str:
    """Leave out what is different each time: ids and milliseconds."""
    return re.sub(r"id=\S+|[\d.]+ ms", "", output)


def environment(port: int | None = None) -> dict[str, str]:
    """The environment of somebody who activated the virtual environment, and may have set PORT."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    return os.environ | {"PATH": path, "PYTHONPATH": str(ROOT)} | ({"PORT": str(port)} if port else {})


def run(command: list[str], directory: Path) -> str:
    process = subprocess.run(command, cwd=directory, env=environment(), capture_output=True, text=True, timeout=60, check=False)
    assert process.returncode == 0, f"{command} ended with {process.returncode}:\n{process.stdout}{process.stderr}"
    return process.stdout


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


@contextlib.contextmanager
def serving(command: list[str], directory: Path, port: int, log: Path, start_timeout: float = START_TIMEOUT) -> Iterator[None]:
    """Run a server until the block is left; then press Ctrl-C, and check that it ends because of that."""
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=directory, env=environment(port), stdout=output, stderr=output, start_new_session=True)
    try:
        for _ in range(int(start_timeout / 0.05)):
            if _listens(port):
                break
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(0.05)
                pytest.fail(f"{command} ended with {process.returncode} before it served:\n{log.read_text()}")
        else:
            pytest.fail(f"{command} does not listen on port {port}:\n{log.read_text()}")
        yield
        assert process.poll() is None, f"{command} ended while it was used:\n{log.read_text()}"
        # What a terminal does: everybody in the foreground gets the signal.
        os.killpg(process.pid, signal.SIGINT)
        code = process.wait(STOP_TIMEOUT)
        assert code in (0, 130, -signal.SIGINT) or "Interrupt" in log.read_text(), f"{command} ended with {code}:\n{log.read_text()}"
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    assert not _listens(port)


def get(port: int, path: str) -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    with contextlib.closing(connection):
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()


def open_session(port: int) -> None:
    status, body = get(port, "/socket.io/?EIO=4&transport=polling")
    assert (status, body[:2]) == (200, "0{")


def call(port: int, namespace: str, event: str, *args: object, auth: dict[str, str] | None = None) -> object:
    """Emit one event with the other Python client; return the acknowledgement."""

    async def main() -> object:
        client = socketio.AsyncClient(reconnection=False)
        await client.connect(f"http://127.0.0.1:{port}", namespaces=[namespace], auth=auth, wait_timeout=10)
        try:
            return await client.call(event, args, namespace=namespace, timeout=10)
        finally:
            await client.disconnect()

    return asyncio.run(main())


def use_hello(port: int) -> None:
    assert call(port, "/", "add", 1, 2) == 3
    refusal = call(port, "/", "add", "one")
    assert isinstance(refusal, dict)
    assert refusal["status"] == "error"


def use_counter(port: int) -> None:
    assert call(port, "/", "count", 2) == 2
    assert call(port, "/", "count", 3) == 5


def use_chat(port: int) -> None:
    assert call(port, "/chat", "move", "kitchen", auth={"token": "secret"}) == 1


def use_pages(port: int) -> None:
    assert get(port, "/") == (200, "<h1>Hello</h1>")
    use_chat(port)


def use_demo(port: int) -> None:
    status, page = get(port, "/")
    assert status == 200
    assert "<html" in page


USES: dict[str, Callable[[int], None]] = {
    "hello.py": use_hello,
    "counter.py": use_counter,
    "pages.py": use_pages,
    "make run": use_demo,
    SERVED: use_chat,
}


def test_every_block_can_be_run() -> None:
    assert [block.text for block in BLOCKS if block.language in ("python", "js") and not block.name] == []
    assert {block.language for block in BLOCKS} <= {"python", "js", "console"}
    assert COMMANDS[:2] == ["make run", "make test"]
    assert set(SERVERS) <= set(USES)


@pytest.mark.parametrize("name", SERVERS)
def test_program(name: str, workspace: Path, port: int, tmp_path: Path) -> None:
    with serving([sys.executable, name], workspace, port, tmp_path / "log"):
        open_session(port)
        USES[name](port)
    assert "Traceback" not in (tmp_path / "log").read_text(), "Ctrl-C is how a program ends, and shows nothing to worry about."


@pytest.mark.parametrize("name", MODULES)
def test_module(name: str, workspace: Path) -> None:
    run([sys.executable, "-W", "error", name], workspace)


@pytest.mark.parametrize("name", TESTS)
def test_test(name: str, workspace: Path) -> None:
    options = ["--quiet", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", "-c", os.devnull]
    run([sys.executable, "-m", "pytest", *options, name], workspace)


@pytest.mark.needs("socket.io-client")
def test_javascript_client(workspace: Path, port: int, tmp_path: Path) -> None:
    client = workspace / "hello.mjs"
    client.write_text(FILES["hello.mjs"].text.replace(PORT_IN_README, str(port)))
    with serving([sys.executable, "hello.py"], workspace, port, tmp_path / "log"):
        assert run(["node", client.name], workspace).strip() == "3"


@pytest.mark.parametrize("command", [command for command in COMMANDS if command not in ("make run", "make test")])
def test_command(command: str, workspace: Path, port: int, tmp_path: Path) -> None:
    arguments = shlex.split(command.replace(PORT_IN_README, str(port)))
    if command.startswith("trio-sio connect "):
        with serving(shlex.split(SERVED.replace(PORT_IN_README, str(port))), workspace, port, tmp_path / "log"):
            assert without_figures(run(arguments, workspace)) == without_figures(shown_below(command))
        return
    if command not in USES:
        assert run(arguments, workspace)
        return
    with serving(arguments, workspace, port, tmp_path / "log"):
        open_session(port)
        USES[command](port)


def test_make_run(port: int, tmp_path: Path) -> None:
    with serving(["make", "run"], ROOT, port, tmp_path / "log", MAKE_TIMEOUT):
        open_session(port)
        USES["make run"](port)

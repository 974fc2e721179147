"""examples/deployment: the commands in its files are run as they stand."""

from __future__ import annotations

import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import pytest
import trio

from tests.cluster.redis_server import RedisServer
from tests.conftest import ROOT, require_tool
from trio_sio import open_client

EXAMPLE: Final = ROOT / "examples" / "deployment"
UNIT: Final = EXAMPLE / "chat.service"
BOUND: Final = 60.0


def of_the_unit() -> list[str]:
    return shlex.split(service()["ExecStart"])


def of_the_image() -> list[str]:
    match = re.search(r"^CMD (\[.*\])$", (EXAMPLE / "Containerfile").read_text(), re.MULTILINE)
    assert match is not None
    command: list[str] = json.loads(match[1])
    return command


def of_the_pods() -> list[str]:
    match = re.search(r"^ +args: (\[[^\]]*\])$", (EXAMPLE / "kubernetes.yaml").read_text(), re.MULTILINE)
    assert match is not None
    command: list[str] = json.loads(match[1])
    return command


COMMANDS: Final = {"systemd": of_the_unit, "image": of_the_image, "Kubernetes": of_the_pods}


def service() -> dict[str, str]:
    unit = configparser.ConfigParser(interpolation=None)
    unit.optionxform = str  # type: ignore[assignment,method-assign]
    unit.read(UNIT)
    return dict(unit["Service"])


def value(command: Sequence[str], option: str) -> str:
    """Return what ``option`` is in ``command``."""
    return command[command.index(option) + 1]


@asynccontextmanager
async def running(command: Sequence[str], redis: str | None, manager: Path) -> AsyncIterator[tuple[trio.Process, str]]:
    """Run ``command`` on a port of its own, as a service of whoever listens at ``manager``; yields its address."""
    program, *arguments = command
    assert Path(program).name == "trio-sio"
    for option, replacement in {"--port": "0", "--redis": redis}.items():
        if replacement is not None:
            arguments[arguments.index(option) + 1] = replacement
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "NOTIFY_SOCKET": str(manager)}
    process = await trio.lowlevel.open_process(
        [sys.executable, "-m", "trio_sio", *arguments], cwd=EXAMPLE, env=environment, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    try:
        printed = b""
        while (found := re.search(rb"http://[\d.]+:(\d+)/", printed)) is None:
            data = await process.stdout.receive_some()
            assert data, f"it ended after {printed!r}"
            printed += data
        yield process, f"http://127.0.0.1:{int(found[1])}"
    finally:
        process.kill()
        with trio.move_on_after(BOUND, shield=True):
            await process.wait()


@pytest.mark.slow
@pytest.mark.parametrize("what", COMMANDS)
async def test_the_command_serves_and_drains(what: str, tmp_path: Path) -> None:
    command = COMMANDS[what]()
    redis: RedisServer | None = None
    if "--redis" in command:
        require_tool("redis-server")
        redis = RedisServer(tmp_path)
        redis.start()
    try:
        with trio.fail_after(BOUND), trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
            await manager.bind(str(tmp_path / "notify"))
            async with running(command, redis.url if redis is not None else None, tmp_path / "notify") as (process, address):
                assert await manager.recv(100) == b"READY=1"
                health = address + value(command, "--health-path")
                with await trio.to_thread.run_sync(urllib.request.urlopen, health) as response:
                    assert response.status == 200
                async with open_client(address, reconnection=None) as speaker, open_client(address) as listener:
                    await speaker.emit("say", "hello")
                    assert (await listener.once("said", timeout=10))[0] == "hello"
                    process.send_signal(signal.SIGTERM)
                    await speaker.closed(timeout=20)
                    assert await process.wait() == 0
                assert await manager.recv(100) == b"STOPPING=1"
    finally:
        if redis is not None:
            redis.kill()


@pytest.mark.parametrize(
    ("grace", "pause", "command"),
    [
        (float(service()["TimeoutStopSec"]), 0.0, of_the_unit()),
        (
            float(re.findall(r"terminationGracePeriodSeconds: (\d+)", (EXAMPLE / "kubernetes.yaml").read_text())[0]),
            float(re.findall(r'command: \["sleep", "(\d+)"\]', (EXAMPLE / "kubernetes.yaml").read_text())[0]),
            of_the_pods(),
        ),
    ],
    ids=["systemd", "Kubernetes"],
)
def test_nobody_kills_what_still_drains(grace: float, pause: float, command: list[str]) -> None:
    assert grace >= pause + float(value(command, "--drain-timeout")) + 5


def test_the_probe_asks_where_the_server_answers() -> None:
    text = (EXAMPLE / "kubernetes.yaml").read_text()
    assert f"httpGet: {{ path: {value(of_the_pods(), '--health-path')}, port: http }}" in text
    assert f"containerPort: {value(of_the_pods(), '--port')} " in text


def test_systemd_understands_the_unit(tmp_path: Path) -> None:
    """Where systemd is not installed, the other tests have read the unit at least."""
    analyze = shutil.which("systemd-analyze")
    program, *_ = of_the_unit()
    assert program.startswith("/")
    assert service()["Type"] == "notify"
    if analyze is not None:
        unit = tmp_path / UNIT.name
        unit.write_text(UNIT.read_text().replace(program, sys.executable))
        done = subprocess.run([analyze, "verify", str(unit)], capture_output=True, text=True, timeout=BOUND, check=False)
        assert (done.returncode, done.stderr) == (0, "")

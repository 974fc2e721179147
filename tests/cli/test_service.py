"""What a service manager is told, whatever its socket is."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio
import trio.testing

from trio_sio.cli import service
from trio_sio.cli.service import ServiceManager, take_service_manager


@pytest.fixture(params=["path", "abstract"])
def manager(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Yield what systemd listens on, which the environment names."""
    where = str(tmp_path / "notify") if request.param == "path" else f"@trio-sio-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(where if where[0] == "/" else "\0" + where[1:])
        sock.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", where)
        yield sock


def told(sock: socket.socket) -> list[str]:
    """Return what was told so far."""
    messages = list[str]()
    while True:
        try:
            messages.append(sock.recv(1000).decode())
        except BlockingIOError:
            return messages


async def test_a_life(manager: socket.socket) -> None:
    told_by = take_service_manager()
    assert "NOTIFY_SOCKET" not in os.environ
    await told_by.show_life()  # for which nobody waits
    await told_by.ready()
    before = time.monotonic_ns() // 1000
    await told_by.reloading()
    await told_by.ready()
    await told_by.stopping()
    # A restart that the end has overtaken.
    await told_by.ready()
    await told_by.reloading()
    ready, reloading, again, *rest = told(manager)
    assert (ready, again, rest) == ("READY=1", "READY=1", ["STOPPING=1"])
    first, _, second = reloading.partition("\n")
    assert first == "RELOADING=1"
    name, _, microseconds = second.partition("=")
    assert name == "MONOTONIC_USEC"
    assert before <= int(microseconds) <= time.monotonic_ns() // 1000


async def test_signs_of_life(manager: socket.socket, autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", "3000000")
    monkeypatch.setenv("WATCHDOG_PID", str(os.getpid()))
    told_by = take_service_manager()
    assert not {"WATCHDOG_USEC", "WATCHDOG_PID"} & os.environ.keys()
    with trio.move_on_after(10):
        await told_by.show_life()
    assert told(manager) == ["WATCHDOG=1"] * 7


@pytest.mark.parametrize(
    ("microseconds", "pid"), [("0", ""), ("", ""), ("-5", ""), ("x", ""), ("9" * 400, ""), ("1000", "1"), ("1000", "x")]
)
@pytest.mark.parametrize("manager", ["path"], indirect=True)
async def test_nobody_waits_for_signs_of_life(manager: socket.socket, microseconds: str, pid: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WATCHDOG_USEC", microseconds)
    monkeypatch.setenv("WATCHDOG_PID", pid)
    await take_service_manager().show_life()
    assert told(manager) == []


@pytest.mark.parametrize(
    ("where", "reason"),
    [
        ("garbage", "It is neither a path nor '@' and a name."),
        ("@", "It is neither a path nor '@' and a name."),
        ("vsock:2:1234", "It is neither a path nor '@' and a name."),
        ("/nowhere/at/all", "No such file or directory"),
        ("@nobody-has-this", "Connection refused"),
        ("/" + "x" * 200, "AF_UNIX path too long"),
        ("/dev/null", "Connection refused"),
        ("/\udcff\ud800", "surrogates not allowed"),
    ],
)
async def test_a_socket_that_is_none_costs_one_line(where: str, reason: str, caplog: pytest.LogCaptureFixture) -> None:
    told_by = ServiceManager(where)
    await told_by.ready()
    await told_by.reloading()
    await told_by.stopping()
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert reason in record.getMessage()


async def test_a_socket_that_is_a_stream_is_none(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(tmp_path / "stream"))
        sock.listen()
        await ServiceManager(str(tmp_path / "stream")).ready()
    assert "wrong type" in caplog.text


async def test_a_manager_that_reads_nothing_holds_up_nobody(
    manager: socket.socket, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(service, "_PATIENCE", 0.01)
    told_by = take_service_manager()
    for _ in range(1_000):
        await told_by.ready()
        if caplog.records:
            break
    assert "It takes nothing." in caplog.text
    assert told(manager)
    await told_by.stopping()
    assert told(manager) == ["STOPPING=1"]


async def test_nobody_wants_to_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NOTIFY_SOCKET", "")
    told_by = take_service_manager()
    with trio.testing.assert_checkpoints():
        await told_by.ready()

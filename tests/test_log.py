"""Logging handlers that raise: nobody but the error stream hears of it."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from functools import partial

import pytest
import trio

from tests.conftest import ROOT
from trio_sio import Route, RoutingTable, Server, Socket, on_disconnection, on_message
from trio_sio.log import _report, get_logger
from trio_sio.testing import RawWebSocket, WebSocketClosed, open_strict_client


class BrokenHandler(logging.Handler):
    """Raises whatever it shall log."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)
        raise ValueError("the disk is full")


@pytest.fixture
def broken(monkeypatch: pytest.MonkeyPatch) -> Iterator[BrokenHandler]:
    """A broken handler of all our loggers; what they report is reported as in production."""
    monkeypatch.setattr("trio_sio.log._report", _report)
    monkeypatch.setattr("trio_sio.log._Logger._reported", False)
    handler = BrokenHandler()
    logger = logging.getLogger("trio_sio")
    logger.addHandler(handler)
    monkeypatch.setattr(logger, "level", logging.INFO)
    yield handler
    logger.removeHandler(handler)


@pytest.mark.hostile("P29")
def test_it_is_reported_once(broken: BrokenHandler, capsys: pytest.CaptureFixture[str]) -> None:
    logger = get_logger("trio_sio.engine")
    for _ in range(3):
        logger.warning("a line")
    report = capsys.readouterr().err
    assert report.count("repair the handler") == report.count("ValueError: the disk is full") == 1
    assert len(broken.records) == 3


@pytest.mark.hostile("P29")
def test_nobody_may_be_there_to_report_to(
    broken: BrokenHandler, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    get_logger("trio_sio.engine").warning("a line")
    assert len(broken.records) == 1


def test_a_line_names_who_wrote_it(caplog: pytest.LogCaptureFixture) -> None:
    get_logger("trio_sio.engine").warning("with %d arguments", 1)
    (record,) = caplog.records
    assert (record.name, record.getMessage()) == ("trio_sio.engine", "with 1 arguments")
    assert (record.filename, record.funcName) == ("test_log.py", "test_a_line_names_who_wrote_it")


def test_every_logger_of_the_package_is_such_a_one() -> None:
    package = ROOT / "trio_sio"
    # The harness takes a plain one, to listen to it; the command names hypercorn's own.
    others = {package / "log.py", package / "testing" / "striking.py", package / "cli" / "run.py"}
    assert [path for path in package.rglob("*.py") if path not in others and "logging.getLogger(" in path.read_text()] == []


def test_every_logger_is_documented() -> None:
    names = {name for path in (ROOT / "trio_sio").rglob("*.py") for name in re.findall(r'get_logger\("trio_sio(.+?)"\)', path.read_text())}
    (paragraph,) = (part for part in (ROOT / "docs" / "process.md").read_text().split("\n\n") if part.startswith("**Logs**"))
    documented = set(re.findall(r"`(\.[a-z_.]+)`", paragraph))
    assert documented <= names
    # A logger below one of these needs no mention.
    assert {name for name in names if not name.startswith(tuple(f"{one}." for one in documented))} == documented


class Application:
    """Fails on demand."""

    def __init__(self, reasons: list[str], socket: Socket) -> None:
        self._reasons = reasons
        self._socket = socket

    @on_message("echo")
    def echo(self, value: object) -> object:
        return value

    @on_message("fail")
    async def fail(self) -> None:
        raise LookupError("a bug of the application")

    @on_message("start")
    def start(self) -> None:
        self._socket.start_soon(self.fail)

    @on_disconnection
    def gone(self, reason: str) -> None:
        self._reasons.append(reason)
        raise LookupError("another")


@pytest.mark.hostile("P29")
@pytest.mark.parametrize(
    ("message", "end"), [('421["fail"]', "transport close"), ('42["start"]', "server namespace disconnect"), ("x", "parse error")]
)
async def test_what_would_be_logged_ends_nobody_else(
    broken: BrokenHandler, capsys: pytest.CaptureFixture[str], message: str, end: str
) -> None:
    reasons: list[str] = []
    server = Server(RoutingTable(Route("/", partial(Application, reasons))))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)
        port = listener.sockname[1]
        async with open_strict_client(await trio.open_tcp_stream("127.0.0.1", port)) as bystander:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            async with await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket") as websocket:
                await websocket.send("40")
                await websocket.send(message)
                with suppress(WebSocketClosed), trio.fail_after(5):
                    while not str(await websocket.receive()).startswith(("41", "43")):
                        pass
            assert await bystander.emit_with_ack("echo", 2) == 2
            while not reasons:  # noqa: ASYNC110  # the client may know first
                await trio.sleep(0.005)
            assert reasons == [end]
        nursery.cancel_scope.cancel()
    assert broken.records
    assert capsys.readouterr().err.count("repair the handler") == 1

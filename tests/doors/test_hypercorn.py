"""hypercorn behind the firewall: exceptions are injected, and clients do not read."""

from __future__ import annotations

import gc
import logging
import socket
from collections.abc import Awaitable, Callable
from typing import Any, cast

import h2.exceptions
import h11
import hpack.exceptions
import hyperframe.exceptions
import priority.priority
import pytest
import trio
import trio.testing
import wsproto.utilities
from hypercorn.trio.tcp_server import TCPServer

from tests.doors.hypercorn_site import BOUND, Served, behind, lives, rest, served
from tests.level import level
from trio_sio import Config, Server
from trio_sio.doors.asgi.messages import ASGIFramework
from trio_sio.doors.hypercorn.streams import PatientStream
from trio_sio.testing import RawWebSocket
from trio_sio.testing.level import restored

# The firewall.


def failing(error: Callable[[], BaseException], number: int) -> Callable[[TCPServer], Awaitable[None]]:
    """Return a way for hypercorn to read from its connections that raises at the one with this number."""
    original = TCPServer._read_data
    connections = iter(range(1_000))

    async def read(self: TCPServer) -> None:
        if next(connections) == number:
            await self.stream.receive_some(1)
            raise error()
        await original(self)

    return read


@pytest.mark.parametrize(
    "error", [lambda: ZeroDivisionError("here"), lambda: ExceptionGroup("many", [KeyError(1), ValueError(2)])], ids=["one", "group"]
)
async def test_an_exception_ends_one_connection(
    error: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(TCPServer, "_read_data", failing(error, 1))
    async with served(app=behind) as here:
        bystander = await here.join()
        stream = await here.connect()
        await stream.send_all(b"x")
        await rest(stream)
        await stream.aclose()
        await lives(bystander)
        assert await here.request("/elsewhere") == 404
        await bystander.close()
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.name == "trio_sio.doors.hypercorn"
    assert record.getMessage().startswith("One connection failed; it is closed, and the others go on.")
    assert record.exc_info


async def test_a_failure_that_can_be_repeated_fills_no_log(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    errors = iter([ZeroDivisionError("1"), ZeroDivisionError("2"), KeyError("3")])

    async def read(self: TCPServer) -> None:
        raise next(errors)

    caplog.set_level(logging.DEBUG, "trio_sio.doors.hypercorn")
    monkeypatch.setattr(TCPServer, "_read_data", read)
    async with served(app=behind) as here:
        caplog.clear()  # of what it said when it began
        for _ in range(3):
            stream = await here.connect()
            await rest(stream)
            await stream.aclose()
    told = [(record.levelname, record.exc_info is not None) for record in caplog.records if record.name == "trio_sio.doors.hypercorn"]
    assert told == [("ERROR", True), ("DEBUG", False), ("ERROR", True)]


@pytest.mark.hostile("R34")
@pytest.mark.parametrize(
    "error",
    [
        h11.LocalProtocolError("Can't send data when our state is ERROR"),
        h2.exceptions.NoSuchStreamError(1),
        h2.exceptions.RFC1122Error(),
        hpack.exceptions.HPACKDecodingError(),
        hyperframe.exceptions.InvalidFrameError(),
        priority.priority.BadWeightError(),
        wsproto.utilities.LocalProtocolError("Connection is closed"),
        UnicodeDecodeError("ascii", b"\xff", 0, 1, "ordinal not in range(128)"),
    ],
    ids=lambda error: type(error).__module__,
)
async def test_a_client_that_breaks_the_rules_is_no_failure(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(TCPServer, "_read_data", failing(lambda: ExceptionGroup("one", [error]), 1))
    async with served(app=behind) as here:
        caplog.clear()  # of what it said when it began
        bystander = await here.join()
        stream = await here.connect()
        await stream.send_all(b"x")
        await rest(stream)
        await stream.aclose()
        await lives(bystander)
        await bystander.close()
    (record,) = [record for record in caplog.records if record.name == "trio_sio.doors.hypercorn"]
    assert (record.levelname, record.exc_info) == ("DEBUG", None)
    assert record.getMessage().startswith("A client left, or broke the rules of its protocol; its connection is closed: ")


@pytest.mark.slow
async def test_an_exception_next_to_a_session_ends_the_session(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    fail = trio.Event()
    original = TCPServer.run

    async def run(self: TCPServer) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(raise_when_told)
            await original(self)
            nursery.cancel_scope.cancel()

    async def raise_when_told() -> None:
        await fail.wait()
        raise ZeroDivisionError

    async with served(app=behind) as here:
        bystander = await here.join()
        monkeypatch.setattr(TCPServer, "run", run)
        websocket = await here.join()
        fail.set()
        await rest(websocket.stream)
        await trio.aclose_forcefully(websocket.stream)
        await lives(bystander)
        await trio.testing.wait_all_tasks_blocked()
        assert len(here.reasons) == 1
        await bystander.close()
    assert [record.levelname for record in caplog.records if record.levelno >= logging.WARNING] == ["ERROR"]


async def test_a_client_that_leaves_is_no_error(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(TCPServer, "_read_data", failing(lambda: ConnectionResetError("gone"), 0))
    async with served(app=behind) as here:
        stream = await here.connect()
        await stream.send_all(b"x")
        await rest(stream)
        await stream.aclose()
        assert await here.request("/elsewhere") == 404
    assert not [record for record in caplog.records if record.levelno >= logging.INFO and record.name.startswith("trio_sio.doors")]


def streams() -> int:
    """Count what `serve` knows of connections; hypercorn's own objects wait for the garbage collector."""
    gc.collect()
    return sum(isinstance(thing, PatientStream) for thing in gc.get_objects())


async def test_nothing_is_remembered_of_a_connection_that_has_ended() -> None:
    async with served(app=behind) as here:
        before = level(here.server)
        websocket = await here.join()
        assert streams() == 1
        await websocket.close()
        await restored(here.server, before)
        assert streams() == 0


# Writes.


async def reluctant(here: Served) -> RawWebSocket:
    """Join, then take nothing of a lot."""
    sock = trio.socket.socket()
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
    await sock.connect(("127.0.0.1", here.port))
    websocket = await here.join(trio.SocketStream(sock))
    here.sockets[-1].emit_nowait("big", "x" * 3_500_000)
    return websocket


async def test_a_client_that_takes_nothing_is_let_go() -> None:
    async with served(app=behind, write_stall_timeout=0.2) as here:
        bystander = await here.join()
        before = level(here.server)
        websocket = await reluctant(here)
        await restored(here.server, before._replace(descriptors=before.descriptors + 1))
        assert len(here.reasons) == 1
        await rest(websocket.stream)
        await trio.aclose_forcefully(websocket.stream)
        await lives(bystander)
        await bystander.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    "app",
    [
        pytest.param(behind, marks=pytest.mark.hostile("W30", door="asgi")),
        pytest.param(Server.asgi, marks=pytest.mark.hostile("W30", door="hypercorn")),
    ],
)
@pytest.mark.parametrize("way", ["cancel", "stop"])
async def test_a_client_that_takes_nothing_does_not_hold_up_the_end(way: str, app: Callable[[Server], ASGIFramework]) -> None:
    async with served(Config(drain_timeout=0.2), app, write_stall_timeout=3_600, graceful_timeout=0.2) as here:
        websocket = await reluctant(here)
        await trio.testing.wait_all_tasks_blocked()
        if way == "cancel":
            here.serving.cancel()
        else:
            here.stop.set()
        with trio.fail_after(BOUND):
            await here.stopped.wait()
        # Half a frame is out, and nothing else follows it.
        assert set((await rest(websocket.stream))[100:]) == {ord("x")}
        await trio.aclose_forcefully(websocket.stream)


class Sluggish(trio.abc.SendStream):
    """Takes a certain time for each piece, and for closing."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.taken = 0
        self.closed = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.sleep(self.seconds)
        self.taken += len(data)

    async def wait_send_all_might_not_block(self) -> None:
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        self.closed = True
        await trio.sleep(self.seconds)


def wire(seconds: float) -> tuple[Sluggish, PatientStream]:
    stream = Sluggish(seconds)
    return stream, PatientStream(cast("Any", stream), 30)


async def test_a_slow_write_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    stream, wired = wire(29)
    with trio.CancelScope(shield=True):
        await wired.send_all(b"x" * 100_000)
    assert stream.taken == 100_000
    assert not stream.closed
    assert trio.current_time() == 7 * 29


async def test_a_shielded_write_without_progress_ends(autojump_clock: trio.testing.MockClock) -> None:
    stream, wired = wire(31)
    with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError, match="no progress"):
        await wired.send_all(b"x" * 100_000)
    assert (stream.taken, stream.closed) == (0, True)
    assert trio.current_time() == 30


async def test_hurrying_shortens_the_present_write_and_the_next(autojump_clock: trio.testing.MockClock) -> None:
    _, wired = wire(29)
    async with trio.open_nursery() as nursery:

        async def write() -> None:
            with trio.CancelScope(shield=True), pytest.raises(trio.BrokenResourceError):
                await wired.send_all(b"x")

        nursery.start_soon(write)
        await trio.testing.wait_all_tasks_blocked()
        wired.hurry(1)
    assert trio.current_time() == 1
    with pytest.raises(trio.BrokenResourceError):
        await wired.send_all(b"x")
    assert trio.current_time() == 2


async def test_hurrying_makes_nobody_patient(autojump_clock: trio.testing.MockClock) -> None:
    wired = PatientStream(cast("Any", Sluggish(29)), 1)
    wired.hurry(10)
    with pytest.raises(trio.BrokenResourceError):
        await wired.send_all(b"x")
    assert trio.current_time() == 1


async def test_closing_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    stream, wired = wire(1_000)
    with trio.CancelScope(shield=True):
        await wired.aclose()
    assert stream.closed
    assert trio.current_time() == 30

"""Files on their way: in pieces, of which a client that does not read costs one, and never another file than was promised."""

from __future__ import annotations

import errno
import logging
import os
import resource
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.doors.fake_engine import FakeEngine
from trio_sio import Config, Server
from trio_sio.doors.native import files as files_module
from trio_sio.doors.native.files import PIECE, Files
from trio_sio.doors.native.http import NativeDoor, handle_connection
from trio_sio.doors.native.site import Site
from trio_sio.testing.raw import RawHttp

BOUND = 5.0
REQUEST = b"GET /big HTTP/1.1\r\nHost: h\r\n\r\n"
CONTENT = bytes(range(256)) * (5 * PIECE // 512) + b"end"  # two pieces and a half


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "big").write_bytes(CONTENT)
    (tmp_path / "small").write_bytes(b"small")
    (tmp_path / "empty").write_bytes(b"")
    (tmp_path / "piece").write_bytes(b"p" * PIECE)
    return tmp_path


def descriptors_of(path: Path) -> int:
    """Return how many open descriptors of this process are of ``path``."""
    count = 0
    for descriptor in os.listdir("/proc/self/fd"):
        with suppress(FileNotFoundError):  # that of the directory
            count += os.readlink(f"/proc/self/fd/{descriptor}").removesuffix(" (deleted)") == str(path)
    return count


@asynccontextmanager
async def connect(root: Path, config: Config | None = None) -> AsyncIterator[trio.abc.Stream]:
    """Open a connection in memory on which a send waits until it is received."""
    door = NativeDoor(FakeEngine(config).as_engine(), Site(root, None, "/socket.io"))
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(handle_connection, door, theirs, None, address=None, secure=False))
        yield ours
        await trio.aclose_forcefully(ours)
    assert descriptors_of(root / "big") == 0


async def rest(stream: trio.abc.ReceiveStream) -> bytes:
    data = bytearray()
    with trio.fail_after(BOUND), suppress(trio.BrokenResourceError):
        while piece := await stream.receive_some():
            data += piece
    return bytes(data)


async def test_requests_for_files_share_a_connection(root: Path) -> None:
    async with connect(root) as stream:
        http = RawHttp(stream)
        for name in ("big", "small", "empty", "piece", "big"):
            response = await http.request("GET", f"/{name}")
            assert (response.status, response.body) == (200, (root / name).read_bytes())
            assert response.headers["content-length"] == str((root / name).stat().st_size)


async def test_a_file_has_no_largest_size_and_its_head_costs_nothing(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(descriptor: int, size: int, start: int) -> bytes:
        raise AssertionError("something was read")

    os.truncate(root / "big", 5_000_000_000)
    monkeypatch.setattr(os, "pread", read)
    for method, known, status in [("HEAD", '"x"', 200), ("HEAD", "*", 304), ("GET", "*", 304)]:
        async with connect(root) as stream:
            await stream.send_all(b"%s /big HTTP/1.1\r\nHost: h\r\nIf-None-Match: %s\r\n\r\n" % (method.encode(), known.encode()))
            head = bytes(await stream.receive_some())
            assert head.startswith(b"HTTP/1.1 %d " % status)
            assert head.endswith(b"\r\n\r\n")
            assert (b"\r\nContent-Length: 5000000000\r\n" in head) is (status == 200)


def shrink(path: Path) -> None:
    os.truncate(path, PIECE + 10)


def shrink_to_nothing(path: Path) -> None:
    os.truncate(path, 0)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def change(path: Path) -> None:
    with path.open("r+b") as file:
        file.write(b"other")
    os.utime(path, ns=(0, 1))


@pytest.mark.hostile("R31")
@pytest.mark.parametrize("how", [shrink, shrink_to_nothing, grow, change])
async def test_a_file_that_changes_ends_the_connection(how: Callable[[Path], None], root: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with connect(root) as stream:
        await stream.send_all(REQUEST + REQUEST)
        head = bytes(await stream.receive_some())
        assert b"Content-Length: %d\r\n" % len(CONTENT) in head
        begin = bytes(await stream.receive_some(10))
        how(root / "big")
        body = begin + await rest(stream)
    # The piece that was read before is out; nothing of the other file follows it, and no other response.
    assert body == CONTENT[:PIECE]
    (record,) = [record for record in caplog.records if record.levelno >= logging.INFO]
    assert (record.levelname, record.exc_info) == ("INFO", None)
    assert record.getMessage() == (
        "The response to '/big' ends early, and with it the connection: of its file, it was written to meanwhile."
    )


async def test_a_file_that_is_replaced_goes_on(root: Path) -> None:
    async with connect(root) as stream:
        await stream.send_all(REQUEST)
        await stream.receive_some()
        (root / "new").write_bytes(b"new")
        (root / "new").replace(root / "big")
        body = bytearray()
        while len(body) < len(CONTENT):
            body += await stream.receive_some()
        assert body == CONTENT


async def test_a_disk_that_fails_ends_the_connection(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def read(descriptor: int, size: int, start: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    async with connect(root) as stream:
        monkeypatch.setattr(os, "pread", read)
        await stream.send_all(REQUEST)
        assert (await rest(stream)).endswith(b"\r\n\r\n")


@pytest.mark.parametrize("short", [True, False], ids=["shorter", "later"])
async def test_a_small_file_that_changes_while_it_is_read(short: bool, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    original = os.pread

    def read(descriptor: int, size: int, start: int) -> bytes:
        piece = original(descriptor, size, start)
        if short:
            os.truncate(root / "small", 2)
        else:
            os.utime(root / "small", ns=(0, 1))
        return piece

    monkeypatch.setattr(os, "pread", read)
    async with connect(root) as stream:
        response = await RawHttp(stream).request("GET", "/small")
        assert (response.status, response.headers["retry-after"]) == (503, "1")


@pytest.mark.hostile("R32")
async def test_a_process_without_free_descriptors_does_not_deny_its_files(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(path: Path, flags: int) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    async with connect(root) as stream:
        http = RawHttp(stream)
        with monkeypatch.context() as patch:
            patch.setattr(os, "open", no_room)
            response = await http.request("GET", "/big")
            assert (response.status, response.headers["retry-after"]) == (503, "1")
        assert (await http.request("GET", "/big")).body == CONTENT


@pytest.mark.hostile("R30")
async def test_a_client_that_stops_reading_is_let_go(root: Path, mock_clock: trio.testing.MockClock) -> None:
    async with connect(root, Config(write_stall_timeout=30)) as stream:
        await stream.send_all(REQUEST)
        await stream.receive_some()
        # The stream gives nothing away, so this is the first piece, whose rest stalls now. While a thread reads, the clock stands.
        await stream.receive_some(10)
        await trio.testing.wait_all_tasks_blocked()
        assert descriptors_of(root / "big") == 1
        mock_clock.jump(29)
        await trio.testing.wait_all_tasks_blocked()
        assert descriptors_of(root / "big") == 1
        mock_clock.jump(2)
        await trio.testing.wait_all_tasks_blocked()
        assert descriptors_of(root / "big") == 0


async def test_a_cancelled_connection_closes_its_file(root: Path) -> None:
    door = NativeDoor(FakeEngine().as_engine(), Site(root, None, "/socket.io"))
    ours, theirs = trio.testing.lockstep_stream_pair()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(partial(handle_connection, door, theirs, None, address=None, secure=False))
        await ours.send_all(REQUEST)
        await ours.receive_some()
        await ours.receive_some(10)
        assert descriptors_of(root / "big") == 1
        nursery.cancel_scope.cancel()
    assert descriptors_of(root / "big") == 0


async def test_few_threads_read(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reading, most = 0, 0
    lock = threading.Lock()
    original = os.pread

    def read(descriptor: int, size: int, start: int) -> bytes:
        nonlocal reading, most
        with lock:
            reading += 1
            most = max(most, reading)
        time.sleep(0.002)  # a disk
        with lock:
            reading -= 1
        return original(descriptor, size, start)

    monkeypatch.setattr(os, "pread", read)
    files = Files()

    async def fetch() -> None:
        response = await files.respond(root, ["big"], "", b"no-cache")
        assert isinstance(response, files_module.FileResponse)
        with response:
            assert await response.read(PIECE) == CONTENT[PIECE : 2 * PIECE]

    async with trio.open_nursery() as nursery:
        for _ in range(40):
            nursery.start_soon(fetch)
    assert 0 < most <= 4


@pytest.mark.slow
@pytest.mark.hostile("R30")
async def test_clients_that_do_not_read_cost_little(tmp_path: Path) -> None:
    size = 30_000_000
    with (tmp_path / "big").open("wb") as file:
        file.truncate(size)

    def resident() -> int:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(Server().serve, "127.0.0.1", 0, static=tmp_path))
        port = listeners[0].sockname[1]
        async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
            assert len((await http.request("GET", "/big")).body) == size
        before = resident()
        streams = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(20)]
        for stream in streams:
            await stream.send_all(REQUEST)
        with trio.fail_after(BOUND):
            while descriptors_of(tmp_path / "big") < 20:
                await trio.testing.wait_all_tasks_blocked(0.05)
        await trio.testing.wait_all_tasks_blocked(0.2)
        # Of 600 MB.
        assert resident() - before < 20_000_000
        nursery.cancel_scope.cancel()
    for stream in streams:
        await trio.aclose_forcefully(stream)


async def test_a_client_that_takes_a_file_slowly_does_not_hold_up_the_end(tmp_path: Path) -> None:
    with (tmp_path / "big").open("wb") as file:
        file.truncate(30_000_000)
    server = Server(config=Config(drain_timeout=0.1))
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(server.serve, "127.0.0.1", 0, static=tmp_path))
            stream = await trio.open_tcp_stream("127.0.0.1", listeners[0].sockname[1])
            await stream.send_all(REQUEST)
            assert await stream.receive_some(1)
            await server.drain()
        await trio.aclose_forcefully(stream)

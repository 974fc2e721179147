"""Sockets that somebody else made: Unix sockets and their files, inherited ones, several at once on one server."""

from __future__ import annotations

import errno
import os
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
import trustme

from trio_sio import Route, RoutingTable, Server, Socket, on_connection, on_message
from trio_sio.doors.native import Listener, open_unix_socket
from trio_sio.doors.native.listener import listen_on
from trio_sio.testing import open_strict_client

BOUND = 10  # seconds; nothing here waits for that long unless it fails


class App:
    """Everybody is in one room; notes where they come from."""

    def __init__(self) -> None:
        self.origins: list[tuple[str | None, bool]] = []

    @on_connection
    async def joined(self, socket: Socket) -> None:
        self.origins.append((socket.handshake.address, socket.handshake.secure))
        await socket.join("everybody")

    @on_message("tell")
    async def tell(self, socket: Socket, value: object) -> None:
        await socket.namespace.to("everybody").emit("told", value)

    @on_message("echo")
    async def echo(self, value: object) -> object:
        return value


def make_server(app: App | None = None) -> Server:
    return Server(RoutingTable(Route("/", app or App())))


@asynccontextmanager
async def serving(server: Server, *sockets: socket.socket) -> AsyncIterator[list[Listener]]:
    """Serve on ``sockets`` and drain in the end, which proves that serving then returns."""
    with trio.fail_after(BOUND):
        async with trio.open_nursery() as nursery:
            yield await nursery.start(server.serve_listeners, sockets)
            await server.drain()


def bound(address: tuple[str, int] | str | bytes = ("127.0.0.1", 0), kind: int = socket.SOCK_STREAM) -> socket.socket:
    sock = socket.socket(socket.AF_INET if isinstance(address, tuple) else socket.AF_UNIX, kind)
    sock.bind(address)
    return sock


def leave_behind(path: Path) -> None:
    """Leave the file of a Unix socket there, as a killed process does."""
    bound(str(path)).close()
    assert path.is_socket()


# Unix sockets.


async def test_a_unix_socket(tmp_path: Path) -> None:
    app, path = App(), tmp_path / "sock"
    async with serving(make_server(app), open_unix_socket(path)) as (listener,):
        assert listener.sockname == str(path)
        async with open_strict_client(await trio.open_unix_socket(path)) as client:
            assert app.origins == [(None, False)]
            assert await client.emit_with_ack("echo", "x" * 900_000) == "x" * 900_000
    assert not path.exists()


async def test_the_file_is_removed_when_serving_is_cancelled(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    async with trio.open_nursery() as nursery:
        await nursery.start(make_server().serve_listeners, [open_unix_socket(path)])
        assert path.is_socket()
        nursery.cancel_scope.cancel()
    assert not path.exists()


def test_the_file_of_a_killed_process_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    leave_behind(path)
    with open_unix_socket(path), socket.socket(socket.AF_UNIX) as client:
        client.connect(str(path))
    assert not path.exists()


@pytest.mark.parametrize("backlog_full", [False, True])
def test_the_file_of_a_living_process_is_not(tmp_path: Path, backlog_full: bool) -> None:
    path = tmp_path / "sock"
    with open_unix_socket(path) as living, socket.socket(socket.AF_UNIX) as waiting:
        if backlog_full:
            living.listen(0)
            waiting.connect(str(path))
        with pytest.raises(OSError) as info:
            open_unix_socket(path)
        assert info.value.errno == errno.EADDRINUSE
        assert path.is_socket()


@pytest.mark.parametrize("kind", ["file", "directory", "link"])
def test_what_is_no_socket_stays(tmp_path: Path, kind: str) -> None:
    path, other = tmp_path / "sock", tmp_path / "other"
    leave_behind(other)
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(other)
    with pytest.raises(OSError, match="a file that is no socket is there") as info:
        open_unix_socket(path)
    assert info.value.errno == errno.EEXIST
    assert os.path.lexists(path)
    assert other.is_socket()


def test_a_directory_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_unix_socket(tmp_path / "missing" / "sock")


def test_a_file_that_somebody_put_in_its_place_stays(tmp_path: Path) -> None:
    path = tmp_path / "sock"
    first = open_unix_socket(path)
    path.unlink()
    with open_unix_socket(path):
        first.close()
        assert path.is_socket()
        path.unlink()
        path.write_text("precious")
    assert path.read_text() == "precious"


def test_a_file_that_is_gone_already(tmp_path: Path) -> None:
    with open_unix_socket(tmp_path / "sock") as sock:
        (tmp_path / "sock").unlink()
    sock.close()
    assert sock.fileno() == -1


def test_the_file_is_found_again_from_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with open_unix_socket("sock"):
        assert (tmp_path / "sock").is_socket()
        monkeypatch.chdir("/")
    assert not (tmp_path / "sock").exists()


async def test_an_abstract_name(tmp_path: Path) -> None:
    name = f"\0{tmp_path}"
    async with serving(make_server(), bound(name.encode())) as (listener,):
        assert listener.sockname == name
        sock = trio.socket.socket(socket.AF_UNIX)
        await sock.connect(name.encode())
        async with open_strict_client(trio.SocketStream(sock)) as client:
            assert await client.emit_with_ack("echo", 1) == 1


# Sockets of others.


@pytest.mark.parametrize("listening", [False, True])
async def test_a_bound_socket(listening: bool) -> None:
    sock = bound()
    if listening:
        sock.listen(1)
    async with serving(make_server(), sock) as (listener,):
        assert listener.sockname == sock.getsockname()
        async with open_strict_client(await trio.open_tcp_stream(*sock.getsockname())) as client:
            assert await client.emit_with_ack("echo", 1) == 1
    assert sock.fileno() == -1


def test_the_backlog_of_whoever_listened_first_is_kept() -> None:
    class Sock(socket.socket):
        def listen(self, backlog: int = -1, /) -> None:
            calls.append(backlog)
            super().listen(backlog)

    calls: list[int] = []
    with Sock(socket.AF_INET) as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(7)
        listen_on(sock)
    assert calls == [7]


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        (partial(bound, kind=socket.SOCK_DGRAM), "A socket of type SOCK_DGRAM takes no connections; "),
        (partial(socket.socket, socket.AF_INET), r"The socket has no address yet, so nobody could find it; call bind\(\) on it first\."),
        (partial(socket.socket, socket.AF_UNIX), "The socket has no address yet"),
    ],
)
async def test_what_nobody_can_connect_to_is_refused_and_everything_closed(
    bad: partial[socket.socket], sentence: str, tmp_path: Path
) -> None:
    path = tmp_path / "sock"
    good, wrong = open_unix_socket(path), bad()
    with pytest.raises(ValueError, match=sentence):
        await make_server().serve_listeners([good, wrong])
    assert good.fileno() == wrong.fileno() == -1
    assert not path.exists()


async def test_sockets_are_closed_when_the_server_does_not_start(tmp_path: Path) -> None:
    @asynccontextmanager
    async def lifespan(server: Server) -> AsyncIterator[None]:
        if not server.running:
            raise LookupError("no database")
        yield

    sock = open_unix_socket(tmp_path / "sock")
    with pytest.raises(LookupError):
        await Server(lifespan=lifespan).serve_listeners([sock])
    assert sock.fileno() == -1


# Several.


async def test_several_listeners_share_rooms(tmp_path: Path) -> None:
    authority = trustme.CA()
    server_context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(server_context)
    client_context = ssl.create_default_context()
    authority.configure_trust(client_context)
    app, path, secure_path = App(), tmp_path / "sock", tmp_path / "secure"
    server = make_server(app)
    with trio.fail_after(BOUND):
        async with server, trio.open_nursery() as nursery:
            (plain,) = await nursery.start(server.serve, "127.0.0.1", 0)
            (encrypted,) = await nursery.start(partial(server.serve, "127.0.0.1", 0, ssl_context=server_context))
            await nursery.start(server.serve_listeners, [open_unix_socket(path), first := bound()])
            await nursery.start(partial(server.serve_listeners, [open_unix_socket(secure_path)], ssl_context=server_context))
            streams: list[trio.abc.Stream] = [
                await trio.open_tcp_stream(*plain.sockname),
                trio.SSLStream(await trio.open_tcp_stream(*encrypted.sockname), client_context, server_hostname="localhost"),
                await trio.open_unix_socket(path),
                await trio.open_tcp_stream(*first.getsockname()),
                trio.SSLStream(await trio.open_unix_socket(secure_path), client_context, server_hostname="localhost"),
            ]
            async with (
                open_strict_client(streams[0]) as one,
                open_strict_client(streams[1]) as two,
                open_strict_client(streams[2]) as three,
                open_strict_client(streams[3]) as four,
                open_strict_client(streams[4]) as five,
            ):
                tcp, unix = "127.0.0.1", None
                assert app.origins == [(tcp, False), (tcp, True), (unix, False), (tcp, False), (unix, True)]
                clients = [one, two, three, four, five]
                for number, client in enumerate(clients):
                    await client.emit("tell", number)
                    assert [await each.once("told") for each in clients] == [(number,)] * len(clients)
                await server.drain()
                for client in clients:
                    assert (await client.closed()).close_code == 1001
    assert not path.exists()
    assert not secure_path.exists()


async def test_a_file_that_cannot_be_removed_disturbs_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "run" / "sock"
    path.parent.mkdir()
    sockets = [open_unix_socket(path), bound()]
    with trio.CancelScope() as scope:
        async with trio.open_nursery() as nursery:
            await nursery.start(make_server().serve_listeners, sockets)
            # Or the process has given up its privileges since.
            path.unlink()
            path.parent.rmdir()
            path.parent.write_text("no directory any more")
            scope.cancel()
    assert scope.cancelled_caught
    assert [sock.fileno() for sock in sockets] == [-1, -1]

"""What hypercorn listens on: its sockets as Trio's listeners, and the files of those that are Unix sockets."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING

import trio

from ..native.unix import remove_socket_file

if TYPE_CHECKING:
    from hypercorn.config import Config as HypercornConfig
    from hypercorn.config import Sockets

__all__ = ["Listener", "SocketFile", "listen", "socket_files"]

Listener = trio.abc.Listener[trio.SocketStream] | trio.SSLListener[trio.SocketStream]


class SocketFile:
    """The file of a Unix socket.

    Args:
      sock: Bound to it.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock
        # Absolute, because the file is removed in the end, and the process may be elsewhere by then.
        self._path = os.path.abspath(sock.getsockname())
        self._file = os.lstat(self._path)

    def remove(self) -> None:
        """Remove it, unless the socket was closed: until then nobody takes the path over, and no other file has its inode."""
        if self._socket.fileno() >= 0:
            remove_socket_file(self._path, self._file)


class _UnixListener(trio.abc.Listener[trio.SocketStream]):
    """A listener that removes the file of its socket.

    Args:
      listener: On the socket.
      file: Of the socket.
    """

    def __init__(self, listener: trio.SocketListener, file: SocketFile) -> None:
        self._listener = listener
        self._file = file

    async def accept(self) -> trio.SocketStream:
        """Wait for the next connection."""
        return await self._listener.accept()

    async def aclose(self) -> None:
        """Stop listening."""
        self._file.remove()
        await self._listener.aclose()


def socket_files(config: HypercornConfig, sockets: Sockets) -> dict[socket.socket, SocketFile]:
    """Return the files that hypercorn has made; those of inherited sockets are not ours."""
    made = {bind.removeprefix("unix:") for bind in (*config.bind, *config.insecure_bind) if bind.startswith("unix:")}
    bound = [sock for sock in (*sockets.secure_sockets, *sockets.insecure_sockets) if sock.family == socket.AF_UNIX]
    return {sock: SocketFile(sock) for sock in bound if sock.getsockname() in made}


def listen(
    config: HypercornConfig, sockets: Sockets, files: dict[socket.socket, SocketFile], ssl_context: ssl.SSLContext | None
) -> tuple[list[Listener], list[str]]:
    """Return the listeners, and their URLs."""
    from hypercorn.utils import repr_socket_addr

    listeners: list[Listener] = []
    urls = []
    for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
        sock.listen(config.backlog)
        listener = trio.SocketListener(trio.socket.from_stdlib_socket(sock))
        plain = _UnixListener(listener, files[sock]) if sock in files else listener
        if ssl_context is None or sock in sockets.insecure_sockets:
            listeners.append(plain)
            scheme = "http"
        else:
            listeners.append(trio.SSLListener(plain, ssl_context, https_compatible=True))
            scheme = "https"
        urls.append(f"{scheme}://{repr_socket_addr(sock.family, sock.getsockname())}")
    return listeners, urls

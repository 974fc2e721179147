"""What hypercorn listens on: its sockets, and the files of those that are Unix sockets."""

from __future__ import annotations

import os
import socket
import ssl
from typing import TYPE_CHECKING, NamedTuple

from ..native.listener import Listener
from ..native.unix import remove_socket_file

if TYPE_CHECKING:
    from hypercorn.config import Config as HypercornConfig
    from hypercorn.config import Sockets

__all__ = ["Port", "SocketFile", "listen", "socket_files"]


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


class Port(NamedTuple):
    """Where connections come from.

    Attributes:
      listener: On the socket.
      ssl_context: Makes every connection speak TLS.
      file: Of the socket, if that is a Unix socket of ours.
    """

    listener: Listener
    ssl_context: ssl.SSLContext | None
    file: SocketFile | None

    def close(self) -> None:
        """Stop listening; idempotent."""
        if self.file is not None:
            self.file.remove()
        self.listener.close()


def socket_files(config: HypercornConfig, sockets: Sockets) -> dict[socket.socket, SocketFile]:
    """Return the files that hypercorn has made; those of inherited sockets are not ours."""
    made = {bind.removeprefix("unix:") for bind in (*config.bind, *config.insecure_bind) if bind.startswith("unix:")}
    bound = [sock for sock in (*sockets.secure_sockets, *sockets.insecure_sockets) if sock.family == socket.AF_UNIX]
    return {sock: SocketFile(sock) for sock in bound if sock.getsockname() in made}


def listen(
    config: HypercornConfig, sockets: Sockets, files: dict[socket.socket, SocketFile], ssl_context: ssl.SSLContext | None
) -> tuple[list[Port], list[str]]:
    """Return the ports, and their URLs."""
    from hypercorn.utils import repr_socket_addr

    ports: list[Port] = []
    urls = []
    for sock in (*sockets.secure_sockets, *sockets.insecure_sockets):
        sock.listen(config.backlog)
        context = None if sock in sockets.insecure_sockets else ssl_context
        ports.append(Port(Listener(sock), context, files.get(sock)))
        urls.append(f"{'http' if context is None else 'https'}://{repr_socket_addr(sock.family, sock.getsockname())}")
    return ports, urls

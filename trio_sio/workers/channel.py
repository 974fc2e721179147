"""Between the supervisor and a worker: messages in JSON, one per packet, and descriptors that go with them."""

from __future__ import annotations

import errno
import os
import socket
from typing import Any, Final

import orjson
import trio

from .packets import receive_packet

__all__ = ["LARGEST_SETUP", "Channel", "Message", "close_all", "make_pair"]

Message = dict[str, Any]

LARGEST_SETUP: Final = 128 * 1024
"""Bytes of the first message to a worker; as many go in a packet wherever the kernel's defaults have not been made smaller."""

_LARGEST: Final = 1024 * 1024
_MOST_DESCRIPTORS: Final = 253  # as many as Linux lets go with one message


class Channel:
    """One end.

    Args:
      sock: One end of a pair of SEQPACKET sockets; owned from now on.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _LARGEST)
        self._socket = sock

    def close(self) -> None:
        """Close it; idempotent. The other end is told."""
        if self._socket.fileno() >= 0:
            trio.lowlevel.notify_closing(self._socket)
            self._socket.close()

    def send(self, message: Message, descriptors: list[int] | None = None) -> bool:
        """Send ``message`` without waiting; tell whether it is on its way: it is not if nobody reads, or if it is too large."""
        self._socket.setblocking(False)
        try:
            socket.send_fds(self._socket, [orjson.dumps(message)], descriptors or [])
        except OSError as error:
            if error.errno in (errno.EBADF, errno.EINVAL):
                raise
            return False
        return True

    def receive_blocking(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its descriptors, which are the caller's; ``None``: there is nobody any more.

        Raises:
          ValueError: if it is none.
        """
        self._socket.setblocking(True)
        return self._receive()

    async def receive(self) -> tuple[Message, list[int]] | None:
        """Likewise, while others run.

        Raises:
          ValueError: likewise.
        """
        self._socket.setblocking(False)
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            try:
                return self._receive()
            except BlockingIOError:
                continue

    def receive_nowait(self) -> tuple[Message, list[int]] | None:
        """Return what is there already; ``None``: nothing is.

        Raises:
          ValueError: as `receive_blocking`.
        """
        self._socket.setblocking(False)
        try:
            return self._receive()
        except BlockingIOError:
            return None

    def _receive(self) -> tuple[Message, list[int]] | None:
        try:
            data, descriptors = receive_packet(self._socket, _LARGEST, _MOST_DESCRIPTORS)
        except ConnectionResetError:
            return None
        if not data:
            return None
        try:
            message = orjson.loads(data)
            if type(message) is not dict:
                raise ValueError(f"{data[:80]!r} is no message.")
        except ValueError:
            close_all(descriptors)
            raise
        return message, descriptors


def close_all(descriptors: list[int]) -> None:
    """Close what came with a message that wants none."""
    for descriptor in descriptors:
        os.close(descriptor)


def make_pair() -> tuple[socket.socket, socket.socket]:
    """Return two sockets for a `Channel` each, or for whatever else goes in packets."""
    return socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

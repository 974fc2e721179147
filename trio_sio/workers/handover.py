"""Connections go from one worker to another: the socket, and what was read from it and not served yet.

Theory of operation
===================

Each worker has a mailbox, a pair of SEQPACKET sockets: one end is the worker's, the other is in every worker. The supervisor holds both
ends, so what is in a mailbox when a worker ends is its successor's. Once a connection is in there, the sender closes its own copy, without
a checkpoint in between: so it is in exactly one process, or on its way, however the sender is cancelled.

A descriptor that another process has, too, stays in our epoll when it is closed here. So it is taken out before.
"""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Callable
from typing import Final

import orjson
import trio

from ..log import get_logger

__all__ = ["Mailbox", "PostBox"]

logger = get_logger("trio_sio.workers")

_INLINE: Final = 48 * 1024  # bytes that go with a socket in its packet; more of them go in a file without a name
_PATIENCE: Final = 5.0  # seconds that a connection waits for a worker that takes none
_RETRY: Final = 0.02
_TAKEN: Final = 64  # connections that one wake-up takes before everybody else gets a turn
_HEAD: Final = 4 * 1024
_FLAGS: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)

# The kernel has no room for another packet now, or too many descriptors are on their way.
_FULL: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})


class PostBox:
    """The end of a mailbox into which connections are put; many processes have it, and many tasks.

    Args:
      sock: That end.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._turn = trio.Lock()

    async def put(self, sock: socket.socket, address: str | None, received: bytes) -> bool:
        """Give ``sock`` away and close it; tell whether it got there. If not, or when cancelled, it is still the caller's.

        Args:
          sock: A connected socket for which nobody waits.
          address: The peer's host.
          received: What was read from it.
        """
        # One after the other, since only one task may wait for a descriptor; and nobody overtakes.
        with trio.move_on_after(_PATIENCE):
            async with self._turn:
                while not self._put_nowait(sock, address, received):
                    # Not only for the descriptor: it is writable although too many descriptors are on their way.
                    with trio.move_on_after(_RETRY):
                        await trio.lowlevel.wait_writable(self._socket)
                        await trio.sleep_forever()
                return True
        return False

    def _put_nowait(self, sock: socket.socket, address: str | None, received: bytes) -> bool:
        packet, file = _pack(address, received)
        try:
            descriptors = [sock.fileno()] if file is None else [sock.fileno(), file]
            socket.send_fds(self._socket, [packet], descriptors)
        except OSError as error:
            if error.errno not in _FULL:
                raise
            return False
        finally:
            if file is not None:
                os.close(file)
        trio.lowlevel.notify_closing(sock)
        sock.close()
        return True


class Mailbox:
    """The other end, which one worker has.

    Args:
      sock: That end.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock

    async def take(self, run: Callable[[socket.socket, str | None, bytes], object]) -> None:
        """Call ``run`` with each connection that comes, its peer's host and what was read from it, until cancelled."""
        while True:
            await trio.lowlevel.wait_readable(self._socket)
            for _ in range(_TAKEN):
                try:
                    packet, descriptors, _, _ = socket.recv_fds(self._socket, _HEAD + _INLINE, 2, _FLAGS)
                except BlockingIOError:
                    break
                if not packet:
                    await trio.sleep_forever()  # all others have ended, and this one is about to
                if not descriptors:
                    logger.error("A connection of another worker is lost, as there is no room for it here; raise the limit of open files.")
                    continue
                run(socket.socket(fileno=descriptors[0]), *_unpack(packet, descriptors[1:]))


def _pack(address: str | None, received: bytes) -> tuple[bytes, int | None]:
    """Return a packet, and the descriptor of what does not fit into it."""
    head = orjson.dumps([address, len(received)]) + b"\n"
    if len(received) <= _INLINE:
        return head + received, None
    file = os.memfd_create("received", os.MFD_CLOEXEC)
    with open(file, "wb", closefd=False) as writer:
        writer.write(received)
    return head, file


def _unpack(packet: bytes, files: list[int]) -> tuple[str | None, bytes]:
    head, _, received = packet.partition(b"\n")
    address, size = orjson.loads(head)
    if not files:
        return address, received
    with open(files[0], "rb") as reader:
        return address, os.pread(reader.fileno(), size, 0)

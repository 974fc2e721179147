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
from typing import Annotated, Final

import msgspec
import orjson
import trio

from ..log import get_logger
from .packets import receive_packet

__all__ = ["Mailbox", "PostBox"]

logger = get_logger("trio_sio.workers")

_INLINE: Final = 48 * 1024  # bytes that go with a socket in its packet; more of them go in a file without a name
_PATIENCE: Final = 5.0  # seconds that a connection waits for a worker that takes none
_RETRY: Final = 0.02
_TAKEN: Final = 64  # connections that one wake-up takes before everybody else gets a turn
_HEAD: Final = 4 * 1024

_head: Final = msgspec.json.Decoder(tuple[str | None, Annotated[int, msgspec.Meta(ge=0)]])

# The kernel has no room for another packet now, or too many descriptors are on their way.
_FULL: Final = frozenset({errno.EAGAIN, errno.ENOBUFS, errno.ENOMEM, errno.ETOOMANYREFS})
# Nobody has the other end any more, nor will: the supervisor was killed, and that worker has ended.
_GONE: Final = frozenset({errno.EPIPE, errno.ECONNRESET, errno.ECONNREFUSED})


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
                try:
                    while not self._put_nowait(sock, address, received):
                        # Not only for the descriptor: it is writable although too many descriptors are on their way.
                        with trio.move_on_after(_RETRY):
                            await trio.lowlevel.wait_writable(self._socket)
                            await trio.sleep_forever()
                except OSError as error:
                    if error.errno not in _GONE:
                        raise
                    return False
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
                    packet, descriptors = receive_packet(self._socket, _HEAD + _INLINE, 2)
                except BlockingIOError:
                    break
                if not descriptors:
                    logger.error("A connection of another worker is lost, as there is no room for it here; raise the limit of open files.")
                    # Nothing at all is also what comes when nobody has the other end: then this must not spin.
                    await trio.sleep(0 if packet else _RETRY)
                    continue
                try:
                    taken = _open(packet, descriptors)
                except (ValueError, OSError) as error:
                    logger.warning("What another worker has handed over is no connection, or not all of it, and is closed: %s", error)
                    continue
                run(*taken)


def _open(packet: bytes, descriptors: list[int]) -> tuple[socket.socket, str | None, bytes]:
    """Return what a packet and its descriptors are; these are closed, but for the connection's.

    Raises:
      ValueError, OSError: if they are no connection with what was read from it; that is closed then, too.
    """
    connection, files = descriptors[0], descriptors[1:]
    try:
        address, received = _unpack(packet, files)
        return socket.socket(fileno=connection), address, received
    except BaseException:
        os.close(connection)
        raise
    finally:
        for file in files:
            os.close(file)


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
    try:
        address, size = _head.decode(head)
    except msgspec.DecodeError as error:
        raise ValueError(str(error)) from error
    if files:
        received = os.pread(files[0], size, 0)
    if len(received) != size:
        raise ValueError(f"{len(received)} of {size} bytes")
    return address, received

"""A plain socket with TLS above it, under a WebSocket: received by the shared readiness task, and written by the flusher."""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

from ...concurrency.streams import RECEIVE_SIZE
from ...errors import ConnectionReset
from .tls import RECORD
from .wire import SocketWire

if TYPE_CHECKING:
    from .below_tls import SocketBelowTls
    from .readiness import Readiness

__all__ = ["TlsWire"]

MOST_UNSENT: Final = 64 * 1024
"""Bytes that may wait when TLS itself has something to say: more than a record, and than who takes nothing may cause."""


class TlsWire(SocketWire):
    """As `SocketWire`; what goes through the socket is encrypted.

    What is encrypted cannot be taken back, as the next record counts on it. So where the kernel takes a part of a record only, the rest
    waits here, and `try_send` says that nothing of that record is out: whoever calls it begins with the same bytes again next time, as
    `FrameSender` does, and these are not encrypted twice.

    Args:
      below: The socket, owned from now on, and what encrypts above it.
      readiness: Who receives for it.
      write_stall_timeout: For how long a write may make no progress.
    """

    __slots__ = ("_encrypted", "_tls", "_unsent")

    def __init__(self, below: SocketBelowTls, readiness: Readiness, write_stall_timeout: float) -> None:
        super().__init__(below.socket, readiness, write_stall_timeout)
        self._tls = below.tls
        self._unsent: bytes | memoryview = b""
        self._encrypted = 0  # how many bytes of what is sent next are in there already

    # Receiving.

    def receive(self, feed: Callable[[bytes], bool], received: bytes) -> Coroutine[Any, Any, None]:
        """See `Wire.receive`."""
        # Some of it was decrypted for HTTP, and some may not be yet.
        return super().receive(feed, received + self._decrypt(b""))

    def readable(self) -> None:
        """Receive once; called by the readiness task."""
        # What `SocketWire` does, once more: to share it would be one more call for each message there.
        if self._paused or self._has_more:
            return
        if self._tls.ended:
            self.stop()
            return
        try:
            data = self.socket.recv(RECEIVE_SIZE)
        except BlockingIOError:
            return
        except OSError as error:
            self.stop(ConnectionReset(f"the connection broke: {error}"))
            return
        if not data:
            self.stop()
        elif (plain := self._decrypt(data)) and self._feed is not None and self._feed(plain):
            self._goes_on()

    def _decrypt(self, data: bytes) -> bytes:
        tls = self._tls
        try:
            plain = tls.decrypt(data)
            if answer := tls.answer():
                self._unsent = bytes(self._unsent) + answer
                if not self._push() and len(self._unsent) > MOST_UNSENT:
                    raise ConnectionReset("the client makes TLS say more than it takes")
        except ssl.SSLError as error:
            self.stop(ConnectionReset(f"the connection broke: {error}"))
            return b""
        except ConnectionReset as reset:
            self.stop(reset)
            return b""
        if tls.ended:
            # As if the connection had ended behind it: that is seen once what came before is used.
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RD)
        return plain

    # Sending.

    def try_send(self, data: bytes | memoryview) -> int:
        """See `Wire.try_send`."""
        if self._unsent and not self._push():
            return 0
        done, self._encrypted = self._encrypted, 0
        size = len(data)
        while done < size:
            part = data if size <= RECORD and not done else memoryview(data)[done : done + RECORD]
            try:
                encrypted = self._tls.encrypt(part)
            except ssl.SSLError as error:
                raise ConnectionReset(f"the connection broke: {error}") from error
            sent = super().try_send(encrypted)
            if sent < len(encrypted):
                self._unsent, self._encrypted = memoryview(encrypted)[sent:], len(part)
                break
            done += len(part)
        return done

    def _push(self) -> bool:
        """Send what is encrypted and still here; tell whether that is all."""
        self._unsent = self._unsent[super().try_send(self._unsent) :]
        return not self._unsent

    async def discard(self) -> None:
        """See `Wire.discard`."""
        self._unsent = bytes(self._unsent) + self._tls.goodbye()
        with suppress(ConnectionReset):  # which is met again
            self._push()
        await super().discard()

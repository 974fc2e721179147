"""TLS of one connection without the connection: bytes in, bytes out. No I/O.

`trio.SSLStream` shakes hands and carries HTTP. It cannot send without waiting, nor does it let one task receive for many; so a
WebSocket goes on without it, with what it has begun: the `ssl.SSLObject` and the two buffers, which it asks the context for by a
public method, `ssl.SSLContext.wrap_bio`.
"""

from __future__ import annotations

import ssl
from contextlib import suppress
from typing import Final, TypeVar, cast

import trio

from ...concurrency.streams import RECEIVE_SIZE

__all__ = ["RECORD", "Tls", "make_encrypted"]

RECORD: Final = 16 * 1024
"""Bytes that are encrypted together, at most."""

_Below = TypeVar("_Below", bound=trio.abc.Stream)


class Tls:
    """What encrypts and decrypts.

    Args:
      state: The state, as OpenSSL keeps it, after the handshake.
      incoming: What it decrypts.
      outgoing: What it has encrypted.

    Attributes:
      ended: Whether the peer has said that it sends nothing more.
    """

    __slots__ = ("_incoming", "_outgoing", "_state", "ended")

    def __init__(self, state: ssl.SSLObject, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO) -> None:
        self._state = state
        self._incoming = incoming
        self._outgoing = outgoing
        self.ended = False

    def decrypt(self, data: bytes) -> bytes:
        """Take what has arrived; return what can be read of it and of what was here before.

        Raises:
          ssl.SSLError: if it is no TLS, or was tampered with.
        """
        state, incoming = self._state, self._incoming
        if data:
            incoming.write(data)
        parts = list[bytes]()
        # To ask both is cheaper than to be told by an exception that there is nothing more.
        while incoming.pending or state.pending():
            try:
                part = state.read(RECEIVE_SIZE)
            except ssl.SSLWantReadError:
                break
            if not part:
                self.ended = True
                break
            parts.append(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)

    def encrypt(self, data: bytes | memoryview) -> bytes:
        """Return ``data``, of `RECORD` bytes at most, as it goes out; with it goes what `answer` would return.

        Raises:
          ssl.SSLError: if the peer wants to agree on something else first, which nobody does any more.
        """
        self._state.write(data)
        return self._outgoing.read()

    def answer(self) -> bytes:
        """Return what TLS itself has to say to what was decrypted, such as that keys are renewed."""
        return self._outgoing.read() if self._outgoing.pending else b""

    def goodbye(self) -> bytes:
        """Return what says that nothing more comes."""
        with suppress(ssl.SSLError):  # the peer has not said so yet, or the connection is of no use any more
            self._state.unwrap()
        return self._outgoing.read()


class _Context:
    """A context, as a `trio.SSLStream` uses it, that remembers what was made of it."""

    def __init__(self, context: ssl.SSLContext) -> None:
        self._context = context
        self.made: Tls

    def wrap_bio(
        self, incoming: ssl.MemoryBIO, outgoing: ssl.MemoryBIO, server_side: bool = False, server_hostname: str | bytes | None = None
    ) -> ssl.SSLObject:
        state = self._context.wrap_bio(incoming, outgoing, server_side, server_hostname)
        self.made = Tls(state, incoming, outgoing)
        return state


def make_encrypted(below: _Below, context: ssl.SSLContext) -> tuple[trio.SSLStream[_Below], Tls]:
    """Return the server's side of TLS above ``below``, and what encrypts in it.

    The stream ends without a word, as is usual below HTTP. Who goes on with what encrypts uses the stream no longer.
    """
    noting = _Context(context)
    stream = trio.SSLStream(below, cast("ssl.SSLContext", noting), server_side=True, https_compatible=True)
    return stream, noting.made

"""A bad network: streams that cut what they carry into pieces, delay it, stall, and end in the middle of a byte string.

What happens is decided by `ChaosRules` and a seed alone, byte for byte, whatever the timing is and however the bytes come in.
proxy.py applies the same rules to real sockets.
"""

from __future__ import annotations

import math
import socket
import struct
from dataclasses import dataclass
from random import Random
from typing import Literal

import trio

from ..concurrency.streams import RECEIVE_SIZE

__all__ = ["ChaosRules", "ChaosStream", "Ending", "chaos_stream", "reset"]


Ending = Literal["half-close", "close", "reset"]


@dataclass(frozen=True, kw_only=True, slots=True)
class ChaosRules:
    """What happens to the bytes of one direction.

    Attributes:
      seed: Decides what is random here.
      segment: The most bytes that stay together; each piece has between one and so many. ``None``: they are not cut.
      delay: The most seconds that a piece waits; each waits between none and so many.
      stall_at: How many bytes pass before a stall.
      stall: For how many seconds; infinite unless given.
      cut_at: How many bytes pass before the end.
      ending: What the end is: ``"half-close"`` ends this direction, ``"close"`` both,
        ``"reset"`` both with an error.
    """

    seed: int = 0
    segment: int | None = None
    delay: float = 0
    stall_at: int | None = None
    stall: float = math.inf
    cut_at: int | None = None
    ending: Ending = "reset"

    def __post_init__(self) -> None:
        if self.segment is not None and self.segment < 1:
            raise ValueError(f"ChaosRules.segment is {self.segment}; a piece has one byte at least.")
        for name in ("delay", "stall", "stall_at", "cut_at"):
            value = getattr(self, name)
            if value is not None and value < 0:
                raise ValueError(f"ChaosRules.{name} is {value}; it cannot be negative.")


class _Direction:
    """The rules of one direction, as far as they have come.

    Attributes:
      rules: Those.
      ended: Whether nothing passes any more.
    """

    def __init__(self, rules: ChaosRules) -> None:
        self.rules = rules
        self.ended = False
        self._random = Random(rules.seed)
        self._position = 0
        self._left = 0  # of the piece that has begun to pass
        self._due = -math.inf  # when the next byte may pass
        self._stalled = False

    @property
    def at_end(self) -> bool:
        """Whether all has passed that may."""
        return self._position == self.rules.cut_at

    async def wait(self, available: int) -> int:
        """Wait as the rules say; return how many of so many bytes may pass. If it is cancelled, the wait goes on with the next call."""
        rules, now = self.rules, trio.current_time()
        if not self._left:
            # However few bytes there are now: where pieces end must not depend on how they come in.
            self._left = RECEIVE_SIZE if rules.segment is None else self._random.randint(1, rules.segment)
            self._due = now + self._random.uniform(0, rules.delay)
        if self._position == rules.stall_at and not self._stalled:
            self._stalled = True
            self._due = max(self._due, now) + rules.stall
        await trio.sleep_until(self._due)
        size = min(available, self._left)
        for border in (rules.cut_at, None if self._stalled else rules.stall_at):
            if border is not None:
                size = min(size, border - self._position)
        return size

    def passed(self, size: int) -> None:
        """Count so many bytes as gone."""
        self._position += size
        self._left -= size


def chaos_stream(
    stream: trio.abc.HalfCloseableStream, *, sent: ChaosRules | None = None, received: ChaosRules | None = None
) -> ChaosStream:
    """Put a bad network in front of a stream.

    Args:
      stream: In memory or a socket; owned by what is returned.
      sent: What happens to what is sent through the returned stream.
      received: What happens to what is received through it.
    """
    return ChaosStream(stream, sent or ChaosRules(), received or ChaosRules())


class ChaosStream(trio.abc.HalfCloseableStream):
    """One end of a connection with a bad network in between; made by `chaos_stream`.

    After a reset, everything raises `trio.BrokenResourceError`. The other end sees an error too when the stream is a TCP
    socket; in memory, where there is no such thing, it sees the end.
    """

    def __init__(self, stream: trio.abc.HalfCloseableStream, sent: ChaosRules, received: ChaosRules) -> None:
        self.stream = stream
        self._sent = _Direction(sent)
        self._received = _Direction(received)
        self._buffer = bytearray()
        self._ended = False  # by the network, in both directions
        self._broken = False

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send ``data``, as far as the rules let it pass.

        Raises:
          trio.BrokenResourceError: if the connection ended before all of it had passed.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        sent, rest = self._sent, memoryview(data)
        while True:
            if sent.at_end and not sent.ended:
                await self._end(sent)
            if not rest:
                break
            self._check()
            if sent.ended:
                raise trio.BrokenResourceError("The network takes nothing more in this direction.")
            size = await sent.wait(len(rest))
            try:
                await self.stream.send_all(rest[:size])
            except trio.ClosedResourceError:
                if not self._ended:
                    raise
                continue
            sent.passed(size)
            rest = rest[size:]
        await trio.lowlevel.cancel_shielded_checkpoint()

    async def wait_send_all_might_not_block(self) -> None:
        """See `trio.abc.SendStream`."""
        self._check()
        await self.stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        """Send no more; what the rules did already is no error."""
        self._check()
        if self._sent.ended:
            await trio.lowlevel.checkpoint()
        else:
            await self.stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what the rules let pass; a cancellation loses nothing.

        Raises:
          trio.BrokenResourceError: if the connection was reset.
        """
        await trio.lowlevel.checkpoint()
        received = self._received
        while True:
            if received.at_end and not received.ended:
                await self._end(received)
            self._check()
            if received.ended:
                return b""
            if not self._buffer:
                try:
                    self._buffer += await self.stream.receive_some(RECEIVE_SIZE)
                except trio.ClosedResourceError:
                    if not self._ended:
                        raise
                    continue
                if not self._buffer:
                    return b""
            size = await received.wait(len(self._buffer) if max_bytes is None else min(len(self._buffer), max_bytes))
            received.passed(size)
            taken = bytes(self._buffer[:size])
            del self._buffer[:size]
            return taken

    async def aclose(self) -> None:
        """Close the stream."""
        await self.stream.aclose()

    def _check(self) -> None:
        if self._broken:
            raise trio.BrokenResourceError("The network has reset the connection.")

    async def _end(self, direction: _Direction) -> None:
        direction.ended = True
        if direction.rules.ending == "half-close":
            if direction is self._sent:
                await self.stream.send_eof()
            return
        self._sent.ended = self._received.ended = self._ended = True
        if direction.rules.ending == "reset":
            self._broken = True
            await reset(self.stream)
        else:
            await self.stream.aclose()


async def reset(stream: trio.abc.AsyncResource) -> None:
    """Close ``stream`` at once, a TCP socket so that its peer sees an error: a reset, not an end."""
    if isinstance(stream, trio.SocketStream) and stream.socket.fileno() >= 0:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)

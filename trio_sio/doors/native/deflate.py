"""Compression of WebSocket messages at the native door: permessage-deflate, RFC 7692.

The ``websockets`` library reads the client's offers and chooses; the compressing is ours, for three reasons. Inflating is
bounded by what the message may still grow to, so that an exact limit holds and nothing is inflated beyond it. A stream that
makes no sense closes with 1007, not as a fault of framing. And what the library would compress are single messages in the
order of sending, while here most frames are ready-made and shared, and must stay as they are.

What it costs, measured: a connection that has been used and is idle takes 26 KB; as much when it compresses each message
for itself; and 79 KB when it keeps the context, the last 4 KiB of both directions. With 32 KiB these contexts alone took
160 KB, for messages that became 5 per cent smaller. So the window is 4 KiB, and by default nothing is kept.
"""

from __future__ import annotations

import zlib
from typing import TYPE_CHECKING, Final

from websockets.exceptions import NegotiationError
from websockets.extensions.permessage_deflate import PerMessageDeflate as Extension
from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.headers import build_extension, parse_extension

from ...config import PerMessageDeflate
from ...protocol.frames import binary_frame, compressed_frame, text_frame

if TYPE_CHECKING:
    from ...protocol.frames import EncodedPacket

__all__ = ["Deflate", "negotiate"]

# 2**12 bytes; with this level as fast as 1, and as small as 6 but for a tenth: it runs in the event loop.
_WINDOW_BITS: Final = 12
_LEVEL: Final = 3

# What ends each message and is not sent (RFC 7692, section 7.2.1).
_TAIL: Final = b"\x00\x00\xff\xff"

# Final blocks in one frame. Each begins a new stream, with a copy of what follows: as many as bytes would be quadratic.
_FINAL_BLOCKS: Final = 16


def negotiate(offers: str, options: PerMessageDeflate) -> tuple[str, Deflate | None]:
    """Accept the first offer of permessage-deflate that can be met; decline all others (RFC 7692, section 5).

    Args:
      offers: ``Sec-WebSocket-Extensions`` of the request.
      options: What the server wants.

    Returns:
      The header's value in the response, and what compresses; ``""`` and ``None`` if nothing was accepted.

    Raises:
      websockets.exceptions.InvalidHeaderFormat: if ``offers`` is not a list of extensions.
    """
    factory = ServerPerMessageDeflateFactory(
        server_no_context_takeover=options.server_no_context_takeover,
        client_no_context_takeover=options.client_no_context_takeover,
        server_max_window_bits=_WINDOW_BITS,
        client_max_window_bits=_WINDOW_BITS,
    )
    for name, parameters in parse_extension(offers):
        if name != factory.name:
            continue
        try:
            accepted, extension = factory.process_request_params(parameters, ())
        except NegotiationError:
            continue
        return build_extension([(name, accepted)]), Deflate(extension, options.threshold)
    return "", None


class Deflate:
    """What compresses and decompresses (`trio_sio.protocol.websocket.Inflater`) the messages of one connection.

    Both halves are made when they are first needed.

    Args:
      extension: What was negotiated.
      threshold: Shorter messages leave as they are.
    """

    __slots__ = ("_compressor", "_decompressor", "_keeps_compressor", "_keeps_decompressor", "_threshold", "_window_in", "_window_out")

    def __init__(self, extension: Extension, threshold: int) -> None:
        # The extension itself is not kept: it has both halves ready, used or not.
        self._keeps_compressor = not extension.local_no_context_takeover
        self._keeps_decompressor = not extension.remote_no_context_takeover
        self._window_out = extension.local_max_window_bits
        self._window_in = extension.remote_max_window_bits
        self._threshold = threshold
        self._compressor: zlib._Compress | None = None
        self._decompressor: zlib._Decompress | None = None

    def frames(self, packets: list[EncodedPacket]) -> bytes:
        """Return ``packets`` as WebSocket frames; they must leave in this order, as one may refer to what came before it."""
        frames = []
        for packet in packets:
            if not packet.compress or packet.size < self._threshold:
                frames.append(packet.websocket)
                continue
            if packet.text is not None:
                frames.append(self._frame(packet.text, text=True))
            frames.extend(self._frame(attachment, text=False) for attachment in packet.attachments)
        return b"".join(frames)

    def _frame(self, payload: bytes, *, text: bool) -> bytes:
        if len(payload) < self._threshold:
            return text_frame(payload) if text else binary_frame(payload)
        compressor = self._compressor
        if compressor is None:
            compressor = zlib.compressobj(_LEVEL, wbits=-self._window_out, memLevel=self._window_out - 7)
            if self._keeps_compressor:
                self._compressor = compressor
        compressed = compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH)
        return compressed_frame(compressed[: -len(_TAIL)], text=text)

    def inflate(self, data: bytes, most: int, *, last: bool) -> bytes:
        """Return what a frame contains, or the first ``most`` bytes of it.

        Args:
          data: The payload of the frame.
          most: At least 1. Once there were as many bytes the connection is of no use any more.
          last: Whether the message ends with it.

        Raises:
          zlib.error: if this is not what a compressor has written.
        """
        rest = data + _TAIL if last else data
        inflated = b""
        for _ in range(_FINAL_BLOCKS):
            decompressor = self._decompressor
            if decompressor is None:
                decompressor = self._decompressor = zlib.decompressobj(-self._window_in)
            inflated += decompressor.decompress(rest, most - len(inflated))
            if len(inflated) == most or not decompressor.eof:
                break
            # A final block ends a stream but not the message (RFC 7692, section 7.2.3.4).
            self._decompressor, rest = None, decompressor.unused_data
        else:
            raise zlib.error("too many final blocks")
        if last and not self._keeps_decompressor:
            self._decompressor = None
        return inflated

    def longest(self, size: int) -> int:
        """Return how long ``size`` bytes may become that cannot be compressed: 5 more for every 127, from the thriftiest compressor."""
        return size + size // 16 + 64

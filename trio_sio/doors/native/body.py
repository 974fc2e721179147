"""The body of an HTTP/1.1 request: where it ends, and refusing chunks that two parsers could read in two ways.

h11 takes what stands in a chunk extension without a look, bare carriage returns included, and trailer lines that end
with a bare line feed. To another parser such a line ends elsewhere, and what follows is a request of its own: so lines
are read here, as strictly as `HeadScanner` reads those of the head (RFC 9112, section 7.1).
"""

from __future__ import annotations

import re
from typing import Final

from ...limits import Limits
from ...protocol.http import FIELD_VALUE, TOKEN
from .faults import RequestFault

__all__ = ["Body"]

_CHUNK: Final = re.compile(rb"([0-9a-fA-F]{1,16})(?:;%b|[ \t]*)" % FIELD_VALUE.encode())
_TRAILER: Final = re.compile(rb"%b:%b" % (TOKEN.encode(), FIELD_VALUE.encode()))

_END_OF_LINE: Final = b"\r\n"
_INVALID: Final = "The request body is not valid HTTP/1.1."

# Around a chunk of one byte five others are needed; extensions beyond that, and some slack, are an attack.
_FRAMING_FACTOR: Final = 8
_FRAMING_SLACK: Final = 128 * 1024


class Body:
    """Finds a body in what arrives. Does no I/O.

    Args:
      length: The declared length; ``None``: it comes in chunks.
      limits: ``header_bytes`` bounds the line before a chunk, and all trailers together; ``headers`` how many of these there are.

    Attributes:
      taken: How many bytes were taken, framing included.
    """

    __slots__ = ("_chunked", "_data_bytes", "_left", "_limits", "_line_bytes", "_reads", "_seen", "_trailers", "taken")

    def __init__(self, length: int | None, limits: Limits) -> None:
        self.taken = 0
        self._data_bytes = 0  # of these
        self._limits = limits
        self._chunked = length is None
        self._left = length or 0  # bytes until the end of the body, or of the chunk
        self._reads = "size" if self._chunked else "data"
        self._seen = 0  # bytes at the front of the buffer that hold no end of a line
        self._trailers = 0
        self._line_bytes = 0  # of all trailers

    def take(self, buffer: bytearray) -> bytes | None:
        """Take some bytes of the body from the front of ``buffer``.

        Returns:
          The bytes; none if more has to arrive first; ``None`` at the end of the body, behind which everything is left alone.

        Raises:
          RequestFault: if the framing is not valid.
        """
        while True:
            if self._reads == "data":
                if self._left or not self._chunked:
                    return self._take_data(buffer) if self._left else None
                self._reads = "end of chunk"
            elif self._reads == "end":
                return None
            if self._reads == "end of chunk":
                if len(buffer) < len(_END_OF_LINE) and _END_OF_LINE.startswith(buffer):
                    return b""
                if not buffer.startswith(_END_OF_LINE):
                    raise RequestFault(400, _INVALID)
                self._remove(buffer, len(_END_OF_LINE))
                self._reads = "size"
            line = self._take_line(buffer)
            if line is None:
                return b""
            self._read_line(line)

    @property
    def is_left(self) -> bool:
        """Whether there may be more of it."""
        return self._left > 0 if not self._chunked else self._reads != "end"

    @property
    def is_mostly_framing(self) -> bool:
        """Whether it takes far more bytes to send than honest chunks do."""
        return self.taken > _FRAMING_SLACK + _FRAMING_FACTOR * self._data_bytes

    def _take_data(self, buffer: bytearray) -> bytes:
        data = bytes(buffer[: self._left])
        self._remove(buffer, len(data))
        self._left -= len(data)
        self._data_bytes += len(data)
        return data

    def _take_line(self, buffer: bytearray) -> bytes | None:
        newline = buffer.find(b"\n", self._seen)
        self._seen = len(buffer) if newline < 0 else newline
        if self._line_bytes + self._seen >= self._limits.header_bytes:
            raise RequestFault(431, "The lines around the chunks of the request body are too long.")
        if newline < 0:
            return None
        line = bytes(buffer[: newline + 1])
        self._remove(buffer, len(line))
        self._seen = 0
        if not line.endswith(_END_OF_LINE):
            raise RequestFault(400, _INVALID)
        return line[:-2]

    def _read_line(self, line: bytes) -> None:
        if self._reads == "size":
            match = _CHUNK.fullmatch(line)
            if match is None:
                raise RequestFault(400, _INVALID)
            self._left = int(match[1], 16)
            self._reads = "data" if self._left else "trailers"
        elif not line:
            self._reads = "end"
        else:
            self._trailers += 1
            self._line_bytes += len(line) + 2
            if self._trailers > self._limits.headers:
                raise RequestFault(431, f"The request has more than {self._limits.headers} trailers.")
            if not _TRAILER.fullmatch(line):
                raise RequestFault(400, _INVALID)

    def _remove(self, buffer: bytearray, size: int) -> None:
        del buffer[:size]
        self.taken += size

"""Compressed responses to polls: gzip and deflate, as far as the client accepts them (RFC 9110, section 12.5.3)."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final

import trio

from ..config import Compression

if TYPE_CHECKING:
    from ..protocol.http import Request, Response

__all__ = ["Compressor", "choose_coding"]

# zlib's `wbits`: a gzip header, and the zlib header that HTTP calls deflate. In the order of our preference.
_CODINGS: Final = {"gzip": zlib.MAX_WBITS + 16, "deflate": zlib.MAX_WBITS}

# zlib takes 20 to 30 microseconds per KiB, so up to here at most two milliseconds, in which nothing else of the process
# runs; a thread costs a tenth of one and lets the others go on.
_IN_LINE: Final = 64 * 1024

_ELEMENT: Final = re.compile(r"\s*([^\s;,=]+)\s*(?:;\s*[qQ]\s*=\s*(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)\s*)?")


class Compressor:
    """Compresses responses, and the same body only once for all who get it one after the other, as in a broadcast.

    Args:
      setting: `Config.compression`.
    """

    def __init__(self, setting: bool | Compression) -> None:
        self._compression = Compression() if setting is True else setting or None
        # One thread at a time: it leaves the other processors to others, and whoever waited for it finds the body of a
        # broadcast compressed. It has a limiter of its own, so that it does not wait for what the application does in threads.
        self._turn = trio.Lock()
        self._limiter = trio.CapacityLimiter(1)
        self._latest = (b"", "", b"")  # a body, a coding, the body in this coding

    async def compress(self, response: Response, request: Request) -> Response:
        """Return ``response`` as ``request`` accepts it and `Config.compression` wants it; a checkpoint only for large ones."""
        compression = self._compression
        if compression is None or not response.body:
            return response
        coding, is_required = choose_coding(request.headers.get("accept-encoding", ""))
        if len(response.body) < compression.threshold and not is_required:
            return response
        headers = [*response.headers, (b"Vary", b"Accept-Encoding")]
        if coding is None:
            return replace(response, headers=headers)
        body = await self._encode(response.body, coding)
        return replace(response, body=body, headers=[*headers, (b"Content-Encoding", coding.encode("ascii"))])

    async def _encode(self, body: bytes, coding: str) -> bytes:
        if len(body) <= _IN_LINE:
            return self._known(body, coding) or self._remember(body, coding, _deflate(body, coding))
        async with self._turn:
            if known := self._known(body, coding):
                return known
            # A cancellation waits for the thread, some tens of milliseconds: nothing outlives the request.
            return self._remember(body, coding, await trio.to_thread.run_sync(partial(_deflate, body, coding), limiter=self._limiter))

    def _known(self, body: bytes, coding: str) -> bytes | None:
        known_body, known_coding, encoded = self._latest
        return encoded if (known_body, known_coding) == (body, coding) else None

    def _remember(self, body: bytes, coding: str, encoded: bytes) -> bytes:
        self._latest = (body, coding, encoded)
        return encoded


def _deflate(body: bytes, coding: str) -> bytes:
    return zlib.compress(body, wbits=_CODINGS[coding])


def choose_coding(accept_encoding: str) -> tuple[str | None, bool]:
    """Return the coding for a client with that ``Accept-Encoding``, and whether it takes nothing that is not encoded.

    The coding is ``None`` if the client accepts neither of ours, or likes the body as it is better than any of them. An
    element that is not valid counts as not accepted.
    """
    weights: dict[str, float] = {}
    for element in accept_encoding.split(","):
        if match := _ELEMENT.fullmatch(element):
            weights[match[1].lower()] = float(match[2] or 1)
    others = weights.get("*", 0.0)
    # What is not listed is acceptable as it is, if only just.
    plain = weights.get("identity", others if "*" in weights else 0.0)
    best = max(_CODINGS, key=lambda coding: weights.get(coding, others))
    weight = weights.get(best, others)
    is_required = plain == 0 and ("identity" in weights or "*" in weights)
    return (best, is_required) if weight > 0 and weight >= plain else (None, False)

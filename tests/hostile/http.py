"""Requests as bytes, for what no well-behaved client would send."""

from __future__ import annotations

import re
import socket
import struct
from typing import Final

import trio

from tests.hostile.victim import POLLING, PollingSession

__all__ = ["HEAD", "NOTE", "get", "hang_up", "post", "status"]

NOTE: Final = '42["note",%s]'
HEAD: Final = "%s %s HTTP/1.1\r\nHost: localhost\r\n"


def get(query: str = POLLING, fields: str = "") -> bytes:
    """Return a GET request that asks the server to close."""
    return f"{HEAD % ('GET', '/socket.io/?' + query)}Connection: close\r\n{fields}\r\n".encode("latin-1")


def post(session: PollingSession, fields: str, body: bytes = b"") -> bytes:
    """Return a POST request for ``session``."""
    return f"{HEAD % ('POST', '/socket.io/?' + session.query)}{fields}\r\n".encode("latin-1") + body


def status(answer: bytes) -> int:
    """Return the status of the only response in ``answer``."""
    found = re.findall(rb"^HTTP/1\.1 ([0-9]{3}) ", answer, re.MULTILINE)
    assert len(found) == 1, answer
    return int(found[0])


async def hang_up(stream: trio.abc.Stream, *, reset: bool) -> None:
    """Close ``stream``, with FIN or with RST."""
    assert isinstance(stream, trio.SocketStream)
    if reset:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)

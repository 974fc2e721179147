"""Whose a session is: its id says it, by a hash, so every worker knows, whoever has made the id."""

from __future__ import annotations

import zlib

__all__ = ["owner_of"]


def owner_of(sid: str, count: int) -> int:
    """Return which of ``count`` workers the session has.

    Not Python's own ``hash``: that differs between processes.
    """
    return zlib.crc32(sid.encode("utf-8", "surrogatepass")) % count

"""What needs Trio says so where it begins: under asyncio Trio itself fails somewhere inside, with a word about its own attributes."""

from __future__ import annotations

import trio

__all__ = ["require_trio"]


def require_trio(what: str, written: str) -> None:
    """Raise `RuntimeError` unless this is called under `trio.run`.

    Args:
      what: What it is that needs Trio.
      written: How to run it.
    """
    if not trio.lowlevel.in_trio_run():
        raise RuntimeError(f"{what} runs on Trio, which does not run here; write {written}, and no asyncio.run.")

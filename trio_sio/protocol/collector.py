"""Making many objects at once without the garbage collector, which looks at the same ones again and again meanwhile.

CPython 3.11 collects after every 700 new lists and dicts. What a decoder is about to return is alive, so that there is
nothing to find, and for a megabyte of ``[]`` the search takes five times as long as the decoding.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Final, TypeVar

__all__ = ["LARGE", "uncollected"]

LARGE: Final = 16 * 1024
"""From how many bytes on a message is worth it."""

_Message = TypeVar("_Message")
_Value = TypeVar("_Value")


def uncollected(decode: Callable[[_Message], _Value], message: _Message) -> _Value:
    """Return ``decode(message)``, during which there is no garbage collection.

    Who has switched the collector off finds it off. Several threads may do this at once: each that found the collector on
    switches it on again, so that it is never left off, and is on a little earlier than need be for the others.
    """
    if not gc.isenabled():
        return decode(message)
    try:
        gc.disable()
        return decode(message)
    finally:
        gc.enable()

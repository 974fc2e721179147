"""Which function of the application it is that takes so long: found in a stack that is ours, Trio's and the application's."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePath
from types import FrameType
from typing import Final

__all__ = ["find_culprit", "name_place"]

_BETWEEN: Final = frozenset({"trio", "contextlib"})  # whose frames may stand between ours and the application's
_KIT: Final = "trio_sio.testing"  # whatever that calls is a test


def find_culprit(frames: Iterable[tuple[FrameType, int]]) -> tuple[FrameType, int] | None:
    """Return the innermost function, and its line, that was called by this package and is not of it, if there is one.

    Args:
      frames: A stack, with lines, the outermost first.
    """
    found, was_ours = None, False
    for frame, line in frames:
        module = str(frame.f_globals.get("__name__"))
        package = module.partition(".")[0]
        if package in _BETWEEN or module.startswith(_KIT):
            continue
        is_ours = package == "trio_sio"
        if was_ours and not is_ours:
            found = frame, line
        was_ours = is_ours
    return found


def name_place(frame: FrameType, line: int) -> str:
    """Return how the log calls a function, and where it is."""
    name = frame.f_code.co_qualname.rpartition("<locals>.")[2]
    return f"{name}, at {PurePath(frame.f_code.co_filename).name}:{line}"

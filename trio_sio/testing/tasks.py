"""Looking at tasks from outside: what they wait for, where, and for whom they work."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import trio

__all__ = ["is_in", "keep_forever", "place", "tasks_below", "where"]


def _frames(task: trio.lowlevel.Task) -> Iterator[FrameType]:
    return (frame for frame, _ in task.iter_await_frames())


def is_in(task: trio.lowlevel.Task, function: str) -> bool:
    """Tell whether ``task`` waits inside of ``function``."""
    return any(f"{frame.f_globals['__name__']}.{frame.f_code.co_qualname}" == function for frame in _frames(task))


def where(task: trio.lowlevel.Task) -> str:
    """Say where ``task`` waits: the innermost frame that is not Trio's."""
    frames = [frame for frame in _frames(task) if not str(frame.f_globals["__name__"]).startswith("trio.")]
    if not frames:
        return "its end"
    return place(frames[-1], frames[-1].f_lineno)


def place(frame: FrameType, line: int) -> str:
    return f"{Path(frame.f_code.co_filename).name}:{line} in {frame.f_code.co_qualname}"


def tasks_below(root: trio.lowlevel.Task | None) -> list[trio.lowlevel.Task]:
    """Return ``root`` and all tasks below it."""
    tasks = [] if root is None else [root]
    for task in tasks:
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return tasks


def keep_forever(tasks: list[trio.lowlevel.Task]) -> None:
    """Let what is left of a run that was given up never be collected, not even when the process ends.

    Collecting a coroutine runs it once more, and one that swallows everything would never return.
    """
    for task in tasks:
        ctypes.pythonapi.Py_IncRef(ctypes.py_object(task.coro))

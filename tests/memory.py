"""How much memory a test lets be kept, whatever the process does besides."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["kept_by"]

_FRAMES: Final = 8  # between a function of the test and what allocates, at the most


@contextmanager
def kept_by(file: str) -> Iterator[Callable[[], int]]:
    """Return what tells how many bytes are kept of those that functions in ``file`` allocated, or what these called.

    Not among them is what other threads allocate, such as those of earlier tests that have not quite ended, which may take more than all
    of it where the machine is busy. And nothing that earlier tests have left is collected meanwhile: who collects it may have to warn
    of it, and reads source files to do so.
    """
    only = tracemalloc.Filter(inclusive=True, filename_pattern=file, all_frames=True)
    gc.collect()
    gc.disable()
    tracemalloc.start(_FRAMES)
    try:
        yield lambda: sum(trace.size for trace in tracemalloc.take_snapshot().filter_traces([only]).traces)
    finally:
        tracemalloc.stop()
        gc.enable()

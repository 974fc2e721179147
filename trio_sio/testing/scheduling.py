"""What the test kit needs of Trio's inside, all of it: a scheduler that can be repeated, and an error in the place of a wait.

Trio shuffles the tasks that are ready. It can be told to shuffle them in the same way again, as it does under Hypothesis, but
has no public name for that; nor has it one for throwing an error into a task that waits. Both have been the same in all
the versions named below; in any other, everything here refuses to work instead of guessing.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final, NoReturn

import trio
from trio._core import _run

__all__ = ["interrupt", "seeded"]

# Those whose trio/_core/_run.py was read: in all of them `_r` shuffles, the flag switches that on, and a task aborts like this.
_OLDEST: Final = (0, 31)
_NEWEST: Final = (0, 35)

_FLAG: Final = "_ALLOW_DETERMINISTIC_SCHEDULING"


@contextmanager
def seeded(seed: int) -> Iterator[None]:
    """Let every `trio.run` in the block schedule its tasks in an order that depends on ``seed`` alone.

    In-memory streams and a `trio.testing.MockClock` are deterministic then; sockets, threads and real time never are.

    Args:
      seed: Each is another order.

    Raises:
      RuntimeError: if this version of Trio is not known to the test kit.
    """
    _require_known_version()
    state, flag = _run._r.getstate(), vars(_run)[_FLAG]
    _run._r.seed(seed)
    vars(_run)[_FLAG] = True
    try:
        yield
    finally:
        _run._r.setstate(state)
        vars(_run)[_FLAG] = flag


def interrupt(task: trio.lowlevel.Task, error: BaseException) -> bool:
    """Let what ``task`` waits for raise ``error``; tell whether it waits for something that can be given up.

    The wait is withdrawn as a cancellation withdraws it: when it is a send, nothing was sent. Call it while ``task`` is
    not running, as from `trio.abc.Instrument.after_task_step`.

    Args:
      task: A task of the current run.
      error: What it is to raise.

    Raises:
      RuntimeError: if this version of Trio is not known to the test kit.
    """
    _require_known_version()
    if task._abort_func is None:
        return False

    thrown = False

    def raise_error() -> NoReturn:
        nonlocal thrown
        thrown = True
        raise error

    task._attempt_abort(raise_error)
    return thrown


def _require_known_version() -> None:
    major, minor, *_ = trio.__version__.split(".")
    if not _OLDEST <= (int(major), int(minor)) <= _NEWEST:
        raise RuntimeError(
            f"The test kit needs names that are private to Trio and knows them in versions {_version(_OLDEST)} to {_version(_NEWEST)}; "
            f"this is {trio.__version__}. Install one of those, or a newer trio_sio."
        )


def _version(parts: tuple[int, int]) -> str:
    return ".".join(map(str, parts))

"""Functions that an application hands in and that are not awaited: found async before they are called, or let go of after.

A coroutine is true, and a function that returns one has done nothing yet. So whoever takes a function that decides, or
that is told what happened, asks here whether it can be one, and what its answer means.
"""

from __future__ import annotations

import functools
import inspect

from ..log import get_logger

__all__ = ["fault_of_sync", "is_yes", "let_go", "require_sync"]

logger = get_logger("trio_sio.callbacks")


def fault_of_sync(function: object) -> str | None:
    """Return why calling ``function`` would not do what it is for, as the end of a sentence; ``None`` if nothing is to be seen.

    It looks through `functools.partial`, and at ``__call__`` of other objects. What a plain function returns is not known
    before it is called: see `let_go`.
    """
    while isinstance(function, functools.partial):
        function = function.func
    if not callable(function):
        return f"{function!r:.80} is no function"
    for one in (function, inspect.getattr_static(type(function), "__call__", None)):
        if inspect.iscoroutinefunction(one) or inspect.isasyncgenfunction(one):
            return f"{function!r:.80} is async"
        if inspect.isgeneratorfunction(one):
            return f"{function!r:.80} is a generator function"
    return None


def require_sync(function: object, name: str) -> None:
    """Raise `TypeError` unless ``function`` can be called without awaiting it.

    Args:
      function: What somebody registers.
      name: With what, for the message.
    """
    if not callable(function):
        raise TypeError(f"{name} wants a function, not {function!r:.80}.")
    if (fault := fault_of_sync(function)) is not None:
        raise TypeError(
            f"{name} wants a function that is not async, but {fault}: emit with emit_nowait, and let a task of yours do what takes time."
        )


def let_go(result: object) -> bool:
    """Tell whether ``result`` is something that was to be awaited, and let it go without a warning of Python's."""
    if inspect.iscoroutine(result):
        if inspect.getcoroutinestate(result) == inspect.CORO_CREATED:
            result.close()
        return True
    return inspect.isawaitable(result) or inspect.isasyncgen(result)


def is_yes(answer: object, name: str) -> bool:
    """Tell whether ``answer`` is ``True``; one that was meant for something else is no, and logged.

    Args:
      answer: What a function returned that decides.
      name: What the function was given to, for the log.
    """
    if answer is True:
        return True
    if let_go(answer):
        logger.error("%s returned something that is still to be awaited, which is no answer, so it counts as no.", name)
    elif answer:
        logger.error("%s returned %.80r, which counts as no: only True is yes.", name, answer)
    return False

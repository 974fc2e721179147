"""Functions that an application hands in, to be called later: what cannot work is found when they are handed in.

Of some the results are awaited, of others not. Python tells of a function whether it is async, but not what a plain one
returns, which may well be something to await. So `fault_of_awaited` and `fault_of_sync` find what is certainly a mistake;
whoever awaits the result of a function calls `not_awaitable` when it turns out to be none, and whoever does not asks
`let_go`, or `is_yes` where the function decides: a coroutine is true, and has done nothing yet.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final, NoReturn

from ..log import get_logger

__all__ = ["fault_of_awaited", "fault_of_handler", "fault_of_sync", "is_yes", "let_go", "name_of", "not_awaitable", "require_sync"]

logger = get_logger("trio_sio.callbacks")

_ASYNC_RESULTS: Final = ("Awaitable", "Coroutine")


def name_of(thing: object) -> str:
    """Return how a user would recognise a function, class, `functools.partial` or instance."""
    while isinstance(thing, functools.partial):
        thing = thing.func
    name = getattr(thing, "__qualname__", None)
    return name.rpartition("<locals>.")[2] if isinstance(name, str) else type(thing).__qualname__


def fault_of_handler(function: object) -> str | None:
    """Return why it would do nothing to call ``function``, and to await the result if it can be awaited; ``None`` if that may work.

    It looks through `functools.partial` and methods, and at ``__call__`` of other objects. What it returns is a sentence
    without its end.
    """
    if not callable(function):
        return f"{function!r:.80} is not a function"
    called = _called(function)
    if inspect.isasyncgenfunction(called) or inspect.isgeneratorfunction(called):
        kind = "an asynchronous generator" if inspect.isasyncgenfunction(called) else "a generator"
        return f"{name_of(function)} is {kind}, and nobody would iterate over it"
    return None


def fault_of_awaited(function: object) -> str | None:
    """Return why the result of ``function`` cannot be awaited, as `fault_of_handler` does.

    A plain function is at fault unless there is a sign that it returns something to await: it wraps an async one, or its
    annotation says so. A lambda, and what is written in C, may be anything.
    """
    if (fault := fault_of_handler(function)) is not None or inspect.iscoroutinefunction(function):
        return fault
    called = _called(function)
    if inspect.isclass(called):
        return None if hasattr(called, "__await__") else f"{name_of(called)} is a class, and its instances cannot be awaited"
    if not inspect.isfunction(called) or called.__name__ == "<lambda>" or inspect.iscoroutinefunction(_called(inspect.unwrap(called))):
        return None
    if any(name in str(called.__annotations__.get("return")) for name in _ASYNC_RESULTS):
        return None
    return f"{name_of(function)} is not async, so its result cannot be awaited"


def not_awaitable(function: object, result: object) -> NoReturn:
    """Raise `TypeError`, as ``function`` has returned ``result``, which was to be awaited and cannot be."""
    raise TypeError(f"{name_of(function)} returned {result!r:.80}, which cannot be awaited; write it with `async def`.")


def fault_of_sync(function: object) -> str | None:
    """Return why calling ``function`` would not do what it is for, as the end of a sentence; ``None`` if nothing is to be seen.

    It looks through `functools.partial`, and at ``__call__`` of other objects. What a plain function returns is not known
    before it is called: see `let_go`.
    """
    while isinstance(function, functools.partial):
        function = function.func
    if not callable(function):
        return f"{function!r:.80} is no function"
    called = _called(function)
    if inspect.iscoroutinefunction(called) or inspect.isasyncgenfunction(called):
        return f"{function!r:.80} is async"
    if inspect.isgeneratorfunction(called):
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


def _called(function: Any) -> Any:
    """Return the function that runs when ``function`` is called, as far as that can be known."""
    while isinstance(function, functools.partial) or inspect.ismethod(function):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    call = inspect.getattr_static(type(function), "__call__", None)
    return call if inspect.isfunction(call) else function

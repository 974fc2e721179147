"""Functions that an application registers to be called later: what cannot work is found when they are registered.

Python tells of a function whether it is async, but not what a plain one returns, which may well be something to await. So
`fault_of_awaited` finds what is certainly a mistake, and whoever awaits the results of the others calls `not_awaitable`
when one of them turns out to be none.
"""

from __future__ import annotations

import functools
import inspect
from typing import Any, Final, NoReturn

__all__ = ["fault_of_awaited", "fault_of_handler", "name_of", "not_awaitable"]

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


def _called(function: Any) -> Any:
    """Return the function that runs when ``function`` is called, as far as that can be known."""
    while isinstance(function, functools.partial) or inspect.ismethod(function):
        function = function.func if isinstance(function, functools.partial) else function.__func__
    if inspect.isroutine(function) or inspect.isclass(function):
        return function
    call = inspect.getattr_static(type(function), "__call__", None)
    return call if inspect.isfunction(call) else function

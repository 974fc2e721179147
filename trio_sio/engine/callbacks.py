"""Functions of the application that are told what happened (Node: the listeners of an ``EventEmitter``)."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from ..log import get_logger

__all__ = ["Callbacks"]

logger = get_logger("trio_sio.callbacks")

P = ParamSpec("P")
R = TypeVar("R")


class Callbacks(Generic[P]):
    """What is called when one thing happens: call this object with a function to add it, also as a decorator.

    The functions are not async, and run at once, in the order in which they were added, in the name of whatever made it
    happen: they must not block, and emit with `emit_nowait`. What they raise is logged and changes nothing.

    Args:
      name: What happens, for the log.
    """

    __slots__ = ("_functions", "_name")

    def __init__(self, name: str) -> None:
        self._name = name
        self._functions: tuple[Callable[P, object], ...] = ()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return bool(self._functions)

    def __call__(self, function: Callable[P, R], /) -> Callable[P, R]:
        """Call ``function`` from now on.

        Raises:
          TypeError: if it is async, or no function.
        """
        require_sync(function, self._name)
        self._functions = (*self._functions, function)
        return function

    def remove(self, function: Callable[P, object] | None = None) -> None:
        """Call ``function`` no more; ``None``: none of them."""
        self._functions = () if function is None else tuple(one for one in self._functions if one != function)

    def fire(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call all of them."""
        # The tuple is replaced, not changed: who adds or removes in a callback changes the next time.
        for function in self._functions:
            try:
                function(*args, **kwargs)
            except Exception:
                logger.exception("A function that was given to %s failed.", self._name)


def require_sync(function: object, name: str) -> None:
    """Raise `TypeError` unless ``function`` can be called without awaiting it."""
    if not callable(function):
        raise TypeError(f"{name} wants a function, not {function!r:.80}.")
    if inspect.iscoroutinefunction(function):
        raise TypeError(f"{name} wants a function that is not async: emit with emit_nowait, and let a task of yours do what takes time.")

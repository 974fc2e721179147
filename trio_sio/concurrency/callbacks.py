"""Functions of the application that are told what happened (Node: the listeners of an ``EventEmitter``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec, TypeVar

from ..log import get_logger
from .functions import let_go, require_sync

__all__ = ["Callbacks"]

logger = get_logger("trio_sio.callbacks")

P = ParamSpec("P")
R = TypeVar("R")


class Callbacks(Generic[P]):
    """What is called when one thing happens: call this object with a function to add it, also as a decorator.

    The functions are not async, and run at once, in the order in which they were added, in the name of whatever made it
    happen: they must not block, and emit with `emit_nowait`. What they raise is logged and changes nothing, and so is
    something that they return to be awaited.

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
          TypeError: if it is async, or a generator function, or no function.
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
                result = function(*args, **kwargs)
            except Exception:
                logger.exception("A function that was given to %s failed.", self._name)
                continue
            if result is not None and let_go(result):
                logger.error("A function that was given to %s has done nothing: what it returned would have to be awaited.", self._name)

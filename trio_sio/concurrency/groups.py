"""Exceptions in groups: nurseries wrap what they let out, and what an application raised is to be found in there.

Both sides need it, the server for its handlers and hooks, the client for its own.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final, NoReturn

from ..errors import BadMessage, ConnectionRefused, Disconnected, NoAck

__all__ = ["leaves_of", "raise_rest", "unwrap"]

_OURS: Final = (NoAck, BadMessage, ConnectionRefused, Disconnected)


def raise_rest(group: BaseExceptionGroup[BaseException], handle: Callable[[Exception], object]) -> NoReturn:
    """Let ``handle`` have the part of ``group`` that is somebody's error, and raise the rest: a cancellation, or the end of the program."""
    errors, rest = group.split(Exception)
    if errors is not None:
        handle(errors)
    assert rest is not None  # a group of nothing but `Exception` is an `ExceptionGroup`, which is handled elsewhere
    try:
        raise rest
    finally:
        del group, errors, rest  # whose traceback leads here


def leaves_of(group: ExceptionGroup[Exception]) -> Iterator[Exception]:
    """Yield what is in ``group``, and in the groups in it."""
    for exc in group.exceptions:
        if isinstance(exc, ExceptionGroup):
            yield from leaves_of(exc)
        else:
            yield exc


def unwrap(exc: Exception) -> Exception:
    """Return the exception in a group of one, or of several of one of our own kinds."""
    if not isinstance(exc, ExceptionGroup):
        return exc
    first, *others = leaves_of(exc)
    ours = next((kind for kind in _OURS if isinstance(first, kind)), None)
    return first if not others or (ours is not None and all(isinstance(other, ours) for other in others)) else exc

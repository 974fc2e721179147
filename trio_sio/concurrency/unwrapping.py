"""Brings what a ``with`` body raises past the nurseries around it, without the groups that they put around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager

__all__ = ["unwrapping"]


class _Body(AbstractContextManager[None]):
    """Remembers what the block that it surrounds raised."""

    def __init__(self) -> None:
        self.error: BaseException | None = None

    def __exit__(self, _kind: object, error: BaseException | None, _traceback: object) -> None:
        self.error = error


@contextmanager
def unwrapping() -> Iterator[_Body]:
    """Raise the exception of the inner block as it was, when it is all that is left in the groups around it.

    So that `pytest.raises(ConnectionRefused)` around ``async with server.client():`` means what it says. A failure of a
    background task is not hidden: then the group comes out whole::

        with unwrapping() as body:
            async with trio.open_nursery() as nursery:
                with body:
                    yield
    """
    body = _Body()
    try:
        yield body
    except BaseExceptionGroup as group:
        error = body.error
        if error is None or _leaves(group) != _leaves(error):
            raise
        context = error.__context__
        try:
            raise error
        finally:
            # Raising it here made the group its context, and the group would be printed with it.
            error.__context__ = context


def _leaves(error: BaseException) -> list[int]:
    """Return which exceptions there are, whatever groups they are in: trio rebuilds groups on their way."""
    if isinstance(error, BaseExceptionGroup):
        return [leaf for part in error.exceptions for leaf in _leaves(part)]
    return [id(error)]

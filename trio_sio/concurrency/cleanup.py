"""Cleanups that a cancellation must not skip: shielded, bounded, and unshielded all together when a drain runs out."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import trio

__all__ = ["Cleanups"]


class Cleanups:
    """The shielded scopes of one server.

    Args:
      timeout: How long one cleanup may take, in seconds.
    """

    def __init__(self, timeout: float) -> None:
        self.timeout = timeout
        self._scopes: set[trio.CancelScope] = set()
        self._unshielded = False

    @contextmanager
    def watch(self, scope: trio.CancelScope) -> Iterator[None]:
        """Let `unshield` reach ``scope`` as long as the block runs."""
        if self._unshielded:
            scope.shield = False
        self._scopes.add(scope)
        try:
            yield
        finally:
            self._scopes.discard(scope)

    def unshield(self) -> None:
        """Let outer cancellations reach every cleanup, present and to come."""
        self._unshielded = True
        for scope in self._scopes:
            scope.shield = False

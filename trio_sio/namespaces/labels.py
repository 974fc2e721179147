"""What may stand in a label, or in the name of a span: nothing of a client's choosing.

Each value of a label is a time series that Prometheus keeps, and spans are grouped by their names, so what clients make up would fill
somebody's memory. A namespace is called by the name of its route, or by its pattern; an event by its name if a route knows it: it has
a handler, or is declared as one that clients hear. Everything else is `OTHER`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

__all__ = ["OTHER", "Labels"]

OTHER: Final = "other"

_REMEMBERED: Final = 1_000  # namespaces made for patterns

_NONE: Final = (OTHER, frozenset[str]())


class Labels:
    """What namespaces and events are called.

    Args:
      names: For each namespace, or pattern, the events that are known there.
    """

    def __init__(self, names: Iterable[tuple[str | re.Pattern[str], frozenset[str]]]) -> None:
        self._fixed: dict[str, tuple[str, frozenset[str]]] = {}
        self._patterns: list[tuple[re.Pattern[str], frozenset[str]]] = []
        self._found: dict[str, tuple[str, frozenset[str]]] = {}
        for where, events in names:
            if isinstance(where, str):
                self._fixed[where] = where, events
            else:
                self._patterns.append((where, events))

    def namespace(self, name: str) -> str:
        """Return what a namespace is called."""
        return self._of(name)[0]

    def event(self, namespace: str, event: str) -> tuple[str, str]:
        """Return what a namespace and an event there are called."""
        label, events = self._of(namespace)
        return label, event if event in events else OTHER

    def _of(self, name: str) -> tuple[str, frozenset[str]]:
        known = self._fixed.get(name) or self._found.get(name)
        if known is None:
            known = next(((where.pattern, events) for where, events in self._patterns if where.fullmatch(name)), _NONE)
            if len(self._found) >= _REMEMBERED:
                self._found.clear()
            self._found[name] = known
        return known

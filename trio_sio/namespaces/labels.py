"""What may stand in a label, or in the name of a span: nothing of a client's choosing.

Each value of a label is a time series that Prometheus keeps, and spans are grouped by their names, so what clients make up would fill
somebody's memory. A namespace is called by the name of its route, or by its pattern; an event by its name if a route knows it: it has
a handler, or is declared as one that clients hear. Everything else is `OTHER`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Protocol

__all__ = ["OTHER", "Labels", "Routed"]

OTHER: Final = "other"

_REMEMBERED: Final = 1_000  # namespaces made for patterns

_NONE: Final = (OTHER, frozenset[str]())


class Table(Protocol):
    """A routing table, as far as names need it."""

    def event_names(self) -> Iterable[tuple[str | re.Pattern[str], frozenset[str]]]:
        """See `RoutingTable.event_names`."""


class Routed(Protocol):
    """A server, as far as names need it; see `Server`."""

    @property
    def routes(self) -> Table:
        """What clients may connect to."""


class Labels:
    """What namespaces and events are called.

    Args:
      server: Whose. Its routes may be added to until it is entered, so they are looked at as the first name is asked for.
    """

    def __init__(self, server: Routed) -> None:
        self._server: Routed | None = server  # until then
        self._fixed: dict[str, tuple[str, frozenset[str]]] = {}
        self._patterns: list[tuple[re.Pattern[str], frozenset[str]]] = []
        self._found: dict[str, tuple[str, frozenset[str]]] = {}

    def namespace(self, name: str) -> str:
        """Return what a namespace is called."""
        return self._of(name)[0]

    def event(self, namespace: str, event: str) -> tuple[str, str]:
        """Return what a namespace and an event there are called."""
        label, events = self._of(namespace)
        return label, event if event in events else OTHER

    def _of(self, name: str) -> tuple[str, frozenset[str]]:
        known = self._fixed.get(name) or self._found.get(name)
        if known is not None:
            return known
        if self._server is not None:
            self._read(self._server.routes)
            return self._of(name)
        known = next(((where.pattern, events) for where, events in self._patterns if where.fullmatch(name)), _NONE)
        if len(self._found) >= _REMEMBERED:
            self._found.clear()
        self._found[name] = known
        return known

    def _read(self, routes: Table) -> None:
        self._server = None
        for where, events in routes.event_names():
            if isinstance(where, str):
                self._fixed[where] = where, events
            else:
                self._patterns.append((where, events))

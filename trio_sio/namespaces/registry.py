"""Which namespaces of a server exist, and which of them a client may enter."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

from ..concurrency.callbacks import Callbacks
from ..protocol.parsers import parser_for

if TYPE_CHECKING:
    from ..config import Config
    from .namespace import Namespace, NamespaceHandler

__all__ = ["Namespaces"]


class Namespaces:
    """All namespaces of a server: those with a fixed name, and those made on demand for a pattern.

    The latter, and those that somebody only asked for with `of`, live as long as a socket or anybody else holds them.

    Args:
      make: Makes a namespace of that name.
      config: The server's configuration.

    Attributes:
      parser: How packets are written, in all of them.
      on_new_namespace: Gets each `Namespace` that is made (Node: the event ``new_namespace``).
    """

    def __init__(self, make: Callable[[str], Namespace], config: Config) -> None:
        self._make = make
        self._config = config
        self.parser = parser_for(config.parser, config.limits.attachments)
        self._kept: list[Namespace] | None = []  # what was asked for before the server started, and may yet be opened
        self._fixed: dict[str, Namespace] = {}
        self._others: WeakValueDictionary[str, Namespace] = WeakValueDictionary()
        self._patterns: list[tuple[re.Pattern[str], NamespaceHandler]] = []
        self._in_use: set[Namespace] = set()  # those made for a pattern that are not empty
        self.on_new_namespace: Callbacks[[Namespace]] = Callbacks("on_new_namespace")

    def __iter__(self) -> Iterator[Namespace]:
        return iter({**self._others, **self._fixed}.values())

    def add(self, where: str | re.Pattern[str], handler: NamespaceHandler) -> None:
        """Open ``where`` to clients."""
        if isinstance(where, str):
            namespace = self._fixed[where] = self.of(where)
            namespace.handler = handler
        else:
            self._patterns.append((where, handler))

    def start(self) -> None:
        """Forget the namespaces that nobody has opened, as soon as nobody else holds them."""
        self._kept = None

    def of(self, name: str) -> Namespace:
        """Return the namespace called ``name`` (the leading slash may be left out). This does not open it to clients."""
        if not isinstance(name, str):
            raise TypeError(
                f'of({name!r:.80}) names no namespace; write of("/chat"), and for all whose names match a pattern '
                "Route(re.compile(...), controller) in the RoutingTable."
            )
        return self._of(name if name.startswith("/") else "/" + name, None)

    def _of(self, name: str, handler: NamespaceHandler | None) -> Namespace:
        """Return the namespace called ``name``; ``handler``: that of the pattern that a client's request for it matched."""
        namespace = self._fixed.get(name) or self._others.get(name)
        is_new = namespace is None
        if namespace is None:
            namespace = self._others[name] = self._make(name)
            if self._kept is not None:
                self._kept.append(namespace)
        if handler is not None:
            namespace.open_for(handler, self._in_use)
        if is_new:
            self.on_new_namespace.fire(namespace)
        return namespace

    def enter(self, name: str) -> tuple[Namespace, Mapping[str, str]] | None:
        """Return the namespace that a client asks for and the named groups of its pattern, or ``None``.

        A fixed name wins over a pattern, an earlier pattern over a later one; patterns must match the whole name.
        """
        if name in self._fixed:
            return self._fixed[name], {}
        for pattern, handler in self._patterns:
            match = pattern.fullmatch(name)
            if match is None:
                continue
            known = self._others.get(name)
            if (known is None or not known.is_used) and len(self._in_use) >= self._config.limits.dynamic_namespaces:
                return None
            return self._of(name, handler), match.groupdict("")
        return None

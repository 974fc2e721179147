"""Which namespaces of a server exist, and which of them a client may enter."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from weakref import WeakSet, WeakValueDictionary

from ..concurrency.callbacks import Callbacks
from ..protocol.parsers import parser_for

if TYPE_CHECKING:
    from ..config import Config
    from .namespace import Namespace, NamespaceHandler
    from .socket_instrument import SocketInstrument

__all__ = ["Namespaces"]


IDLE_NAMESPACES: Final = 1_000  # that were asked for, or are listened to, and have no clients


class Namespaces:
    """All namespaces of a server: those with a fixed name, and those made on demand for a pattern.

    The latter live as long as there are sockets in them, or clients that may come back. Those that somebody only asked for
    with `of`, to emit to clients of other servers perhaps, or listened to for a while, stay until `IDLE_NAMESPACES` others were
    asked for since; those that a task listens to stay as long as it does, and those that have a function of the application's for
    good. A namespace that has retired is the same one for who still holds it: it has given up its adapter, and gets another when
    it is used again.

    Args:
      make: Makes a namespace of that name.
      config: The server's configuration.

    Attributes:
      parser: How packets are written, in all of them.
      on_new_namespace: Gets each `Namespace` that is made (Node: the event ``new_namespace``).
      instrument: Is told what happens in all of them; ``None``: nobody is.
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
        self._idle: OrderedDict[Namespace, None] = OrderedDict()  # those that nobody uses, oldest first
        self._awaited: set[Namespace] = set()  # of these, those that the application listens to
        self._retired: WeakSet[Namespace] = WeakSet()  # those that somebody still holds
        self.on_new_namespace: Callbacks[[Namespace]] = Callbacks("on_new_namespace")
        self.instrument: SocketInstrument[Any] | None = None

    def __iter__(self) -> Iterator[Namespace]:
        return iter({**self._others, **self._fixed}.values())

    def observe(self, instrument: SocketInstrument[Any]) -> None:
        """Let ``instrument`` be told what happens in all of them; before clients come."""
        self.instrument = instrument
        for namespace in self:
            namespace.observe(instrument)

    def add(self, where: str | re.Pattern[str], handler: NamespaceHandler) -> None:
        """Open ``where`` to clients."""
        if isinstance(where, str):
            namespace = self._fixed[where] = self.of(where)
            namespace.handler = handler
        else:
            self._patterns.append((where, handler))

    def start(self) -> None:
        """Let the namespaces that nobody has opened retire in time."""
        kept, self._kept = self._kept or [], None
        for namespace in kept:
            if namespace.name not in self._fixed:
                self._rest(namespace)

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
            namespace.registered(self)
            if self.instrument is not None:
                namespace.observe(self.instrument)
            self.revived(namespace)
        if handler is not None:
            namespace.open_for(handler)
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

    def close(self) -> None:
        """Close every adapter: the server ends."""
        for namespace in self:
            if namespace not in self._retired:
                namespace.close()

    # What namespaces call.

    def use_changed(self, namespace: Namespace) -> None:
        """See `Registry.use_changed`."""
        if namespace.is_used:
            self._idle.pop(namespace, None)
            self._awaited.discard(namespace)
            if namespace.is_dynamic:
                self._in_use.add(namespace)
            return
        self._in_use.discard(namespace)
        if namespace.name in self._fixed:
            return
        if namespace.is_awaited:
            self._awaited.add(namespace)
        else:
            self._retire(namespace)

    def revived(self, namespace: Namespace) -> None:
        """See `Registry.revived`."""
        self._retired.discard(namespace)
        if self._kept is not None:
            self._kept.append(namespace)
        elif not namespace.is_used:
            self._rest(namespace)

    def awaited_no_more(self, namespace: Namespace) -> None:
        """See `Registry.awaited_no_more`."""
        if namespace in self._awaited:
            self._awaited.discard(namespace)
            self._rest(namespace)

    def _rest(self, namespace: Namespace) -> None:
        self._idle[namespace] = None
        if len(self._idle) > IDLE_NAMESPACES:
            oldest, _ = self._idle.popitem(last=False)
            if oldest.is_awaited:
                self._awaited.add(oldest)
            else:
                self._retire(oldest)

    def _retire(self, namespace: Namespace) -> None:
        namespace.retire()
        self._retired.add(namespace)

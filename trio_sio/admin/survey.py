"""Every socket of one server, described a few milliseconds at a time, as all of them are in the end.

Theory of operation
===================

A page that comes gets all sockets at once, which replaces whatever it was told before, and hears of what happens from then on. To
describe one takes some 40 microseconds, so thousands are described in several turns of the event loop. To whom anything happens
meanwhile is looked at again: who comes, or enters a room, is described as it is then, and who has gone is left out. Once there is nobody
left to look at, all are as they are at that moment, at which the page gets them: nobody is missing, and nobody there twice.

Where more happens than there is time to look at, that would never end. So nobody is waited for any more once every socket could have been
described twice.
"""

from __future__ import annotations

from collections import OrderedDict
from time import perf_counter
from typing import TYPE_CHECKING, Any

import msgspec
import trio

from ..concurrency.streams import SECONDS_PER_TURN
from .cutting import size_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..namespaces.namespace import Namespace
    from ..namespaces.socket import Socket
    from .messages import SocketShown

__all__ = ["Fitting", "Survey", "Turn"]


class Turn:
    """What one task does at a stretch."""

    def __init__(self) -> None:
        self._end = perf_counter() + SECONDS_PER_TURN

    async def may_end(self) -> None:
        """Let others have theirs, if this has been long enough."""
        if perf_counter() >= self._end:
            await trio.lowlevel.checkpoint()
            self._end = perf_counter() + SECONDS_PER_TURN


class Fitting:
    """Sockets that fit into one message, in order.

    Args:
      most: How many there may be.
      room: How many bytes they may have, as JSON.

    Attributes:
      most: As given.
      is_full: Whether there was one for which there is no room; no other is taken then.
    """

    def __init__(self, most: int, room: int) -> None:
        self.most = most
        self.is_full = False
        self._room = room
        self._shown: dict[object, tuple[Any, int]] = {}

    def may_have(self, key: object) -> bool:
        """Tell whether it is worth while to describe the one that is called ``key``."""
        if key not in self._shown and len(self._shown) >= self.most:
            self.is_full = True
        return key in self._shown or not self.is_full

    def put(self, key: object, socket: SocketShown) -> None:
        """Have it, in its former place if there is one."""
        shown = msgspec.to_builtins(socket)
        self._put(key, shown, size_of(shown))

    def _put(self, key: object, shown: Any, size: int) -> None:
        _, former = self._shown.get(key, (None, 0))
        if size > self._room + former:
            self.is_full = True
            self.drop(key)
        else:
            self._room += former - size
            self._shown[key] = shown, size

    def drop(self, key: object) -> None:
        """Have it no longer."""
        _, size = self._shown.pop(key, (None, 0))
        self._room += size

    def add(self, others: Fitting) -> None:
        """Have those of ``others``, too, that are not here already."""
        ids = {shown["id"] for shown, _ in self._shown.values()}
        for shown, size in others._shown.values():
            if shown["id"] not in ids and self.may_have(shown["id"]):
                self._put(shown["id"], shown, size)
        self.is_full = self.is_full or others.is_full

    def all(self) -> list[Any]:
        """Return them, as JSON can say them."""
        return [shown for shown, _ in self._shown.values()]


class Survey:
    """Looks at the sockets of a server.

    Args:
      describe: Describes one.
      fitting: Gets as many as fit.
    """

    def __init__(self, describe: Callable[[Socket], SocketShown], fitting: Fitting) -> None:
        self._describe = describe
        self._fitting = fitting
        # By namespace and id, as where one has gone another one may come.
        self._due: OrderedDict[tuple[Namespace, str], None] = OrderedDict()

    def look_again(self, namespace: Namespace, id: str) -> None:  # Socket.IO's word
        """Learn that something has happened to a socket, or that there is one, or none any more."""
        if self._fitting.may_have((namespace, id)):
            self._due[namespace, id] = None

    async def run(self, namespaces: Iterable[Namespace], is_wanted: Callable[[], bool]) -> None:
        """Look at all sockets of ``namespaces``, in order, until they are described as they are as this returns, or not wanted any more."""
        for namespace in namespaces:
            for id in namespace.connected:
                if len(self._due) > self._fitting.most:
                    break  # one more than can be shown, by which it is known that there are more
                self._due[namespace, id] = None
        turn, patience = Turn(), 2 * self._fitting.most
        while self._due and is_wanted():
            (namespace, id), _ = self._due.popitem(last=False)
            self._look(namespace, id)
            if patience > 0:
                patience -= 1
                await turn.may_end()

    def _look(self, namespace: Namespace, id: str) -> None:
        place = namespace, id
        if (socket := namespace.connected.get(id)) is None:
            self._fitting.drop(place)
        elif self._fitting.may_have(place):
            self._fitting.put(place, self._describe(socket))

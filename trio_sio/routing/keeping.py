"""Controllers that outlive their socket, as `Socket.data` does: `Recovery.keep_controllers`.

A controller is kept where it is a plain object: made for one socket, and no async context manager, which is left when its
client goes. It has got its socket when it was made, and that is another one now. So wherever an attribute of it *is* the
earlier socket, it becomes the new one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from types import MemberDescriptorType
from typing import TYPE_CHECKING
from weakref import ref

if TYPE_CHECKING:
    from ..namespaces.socket import Socket

__all__ = ["KeptControllers"]


class KeptControllers:
    """The controllers of one session. Of the socket they keep what they hold themselves, and nothing is held of it here.

    Args:
      instances: One per route.
      keeps: One per route: whether its controller is kept.
      socket: Whose they are.
    """

    __slots__ = ("_instances", "_socket")

    def __init__(self, instances: Sequence[object], keeps: Sequence[bool], socket: Socket) -> None:
        self._instances = [one if keep else None for one, keep in zip(instances, keeps, strict=True)]
        self._socket = ref(socket)

    def move(self, socket: Socket, makers: Sequence[Callable[[Socket], object]]) -> tuple[object, ...]:
        """Give them to ``socket``, and return them with those that are made for it.

        Args:
          socket: The next one of the same session.
          makers: One per route: makes those that are not kept.
        """
        if (earlier := self._socket()) is not None:  # otherwise none of them has it
            for kept in self._instances:
                _rebind(kept, earlier, socket)
        self._socket = ref(socket)
        return tuple(make(socket) if kept is None else kept for kept, make in zip(self._instances, makers, strict=True))


def _rebind(thing: object, old: object, new: object) -> None:
    """Let the attributes of ``thing`` that are ``old`` be ``new``, also where nobody may set them."""
    attributes = getattr(thing, "__dict__", {})
    for name, value in attributes.items():
        if value is old:
            attributes[name] = new
    for member in _members(type(thing)):
        try:
            value = member.__get__(thing)
        except AttributeError:  # it was never set
            continue
        if value is old:
            member.__set__(thing, new)


def _members(cls: type) -> Iterator[MemberDescriptorType]:
    """Yield what ``__slots__`` made, in the class and those below it."""
    for base in cls.__mro__:
        yield from (member for member in vars(base).values() if isinstance(member, MemberDescriptorType))

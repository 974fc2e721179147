"""A message that is about to be published, and what the application says while it is done here, too."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

__all__ = ["Publication", "Publisher"]


class Publisher(Protocol):
    """What numbers and publishes: an adapter."""

    def begin_to_send(self, publication: Publication | None) -> None:
        """Let ``publication`` leave before whatever the application says meanwhile."""

    def send_now(self, number: int, payload: bytes) -> None:
        """Publish what is numbered."""


class Publication:
    """A message to all others that is encoded, and is published once: when it is called, or at the end of its block.

    What is done here in the block may call the application, as when a socket joins a room or is thrown out because it is slow; and
    the application may emit. Then this leaves first, so that others hear the two in the order in which they were said. If the block
    raises before anything was said, it does not leave.

    Attributes:
      number: Its number.
    """

    __slots__ = ("_is_sent", "_payload", "_publisher", "number")

    def __init__(self, publisher: Publisher, number: int, payload: bytes) -> None:
        self._publisher = publisher
        self.number = number
        self._payload = payload
        self._is_sent = False

    def __call__(self) -> None:
        if not self._is_sent:
            self._is_sent = True
            self._publisher.begin_to_send(None)
            self._publisher.send_now(self.number, self._payload)

    def __enter__(self) -> None:
        self._publisher.begin_to_send(self)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._publisher.begin_to_send(None)
        if kind is None:
            self()

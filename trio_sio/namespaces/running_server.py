"""A server, as those know it who are below it: namespaces, sockets, and what runs for them."""

from __future__ import annotations

import abc
from collections.abc import Awaitable, Callable, Iterable
from typing import TYPE_CHECKING, Literal, TypeVar

from .broadcast import NamespaceBroadcaster

if TYPE_CHECKING:
    from ..concurrency.callbacks import Callbacks
    from ..config import Config
    from ..engine.engine import Engine
    from ..health import Health, Ready
    from ..statistics import Statistics
    from .namespace import Namespace
    from .subscriptions import Subscription

__all__ = ["RunningServer"]

F = TypeVar("F", bound=Callable[..., object])


class RunningServer(NamespaceBroadcaster):
    """What ``socket.server`` and ``ctx.server`` are: a `Server`, which has more methods, to be called before it runs.

    Attributes:
      config: How it behaves.
      engine: Every session.
      namespaces: Every namespace.
    """

    config: Config
    engine: Engine
    namespaces: Iterable[Namespace]

    @property
    @abc.abstractmethod
    def on_new_namespace(self) -> Callbacks[[Namespace]]:
        """See `Server.on_new_namespace`."""

    @abc.abstractmethod
    def of(self, name: str) -> Namespace:
        """See `Server.of`."""

    @abc.abstractmethod
    def subscribe(self, *rooms: str, lag: Literal["raise", "drop"] = "raise", size: int = 256) -> Subscription:
        """See `Server.subscribe`."""

    @abc.abstractmethod
    async def server_side_emit(self, event: str, *args: object) -> None:
        """See `Server.server_side_emit`."""

    @abc.abstractmethod
    async def server_side_emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> list[object]:
        """See `Server.server_side_emit_with_ack`."""

    @abc.abstractmethod
    def on_server_side_emit(self, event: str, /, *, timeout: float | None = None) -> Callable[[F], F]:
        """See `Server.on_server_side_emit`."""

    @abc.abstractmethod
    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object, failure: Literal["log", "raise"] = "log") -> None:
        """See `Host.start_soon`."""

    @property
    @abc.abstractmethod
    def running(self) -> bool:
        """See `Host.running`."""

    @abc.abstractmethod
    async def drain(self) -> None:
        """See `Host.drain`."""

    @abc.abstractmethod
    def health(self) -> Health:
        """See `Host.health`."""

    @abc.abstractmethod
    def ready(self) -> Ready:
        """See `Host.ready`."""

    @abc.abstractmethod
    def statistics(self) -> Statistics:
        """See `Host.statistics`."""

"""What the admin page needs of a server."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Literal, Protocol

if TYPE_CHECKING:
    from ..config import Config
    from ..namespaces.adapter import Cluster
    from ..namespaces.instrument import Instrument
    from ..namespaces.namespace import Namespace
    from ..namespaces.registry import Namespaces
    from ..routing.table import RoutingTable
    from ..statistics import Statistics

__all__ = ["Administered"]


class Administered(Protocol):
    """A `Server`; a protocol, as nothing but the command line and its like imports that.

    Attributes:
      cluster: What connects it with others.
      config: How it behaves.
      namespaces: Every namespace.
      routes: What the application answers.
    """

    cluster: Cluster | None
    config: Config
    namespaces: Namespaces
    routes: RoutingTable

    def of(self, name: str) -> Namespace:
        """See `Server.of`."""

    def add_instrument(self, instrument: Instrument) -> None:
        """See `Server.add_instrument`."""

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object, failure: Literal["log", "raise"] = "log") -> None:
        """See `Host.start_soon`."""

    def statistics(self) -> Statistics:
        """See `Host.statistics`."""

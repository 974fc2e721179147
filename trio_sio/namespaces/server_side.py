"""Events between the servers of a cluster (Node: ``serverSideEmit``)."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

import trio

from ..concurrency.functions import let_go, require_sync
from ..errors import EncodeError, RouteError
from ..log import get_logger
from .acks import as_arguments
from .answers import BroadcastAnswers

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["ServerSide"]

logger = get_logger("trio_sio.namespaces")

F = TypeVar("F", bound=Callable[..., object])

RESERVED: Final = frozenset({"connect", "connection", "new_namespace"})


class Neighbours(Protocol):
    """The other servers, as an adapter reaches them."""

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """See `Adapter.server_side_emit`."""


class Clustered(Protocol):
    """A namespace, as it is known on other servers, too; see `Namespace`."""

    name: str
    config: Config

    @property
    def adapter(self) -> Neighbours:
        """What reaches the others."""


class ServerSide:
    """What a namespace says to itself on the other servers, and hears from there.

    Args:
      namespace: The namespace.
    """

    __slots__ = ("_handlers", "_namespace")

    def __init__(self, namespace: Clustered) -> None:
        self._namespace: Clustered = weakref.proxy(namespace)  # which holds this
        self._handlers: dict[str, Callable[..., object]] = {}

    async def emit(self, event: str, *args: object) -> None:
        """See `Namespace.server_side_emit`."""
        _check_name(event)
        await trio.lowlevel.checkpoint()
        self._namespace.adapter.server_side_emit((event, *args), None)

    async def emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> list[object]:
        """See `Namespace.server_side_emit_with_ack`."""
        _check_name(event)
        await trio.lowlevel.checkpoint()
        config = self._namespace.config
        answers = BroadcastAnswers(config.ack_timeout if timeout is None else timeout)
        self._namespace.adapter.server_side_emit((event, *args), answers)
        async for _ in answers:
            pass
        return answers.responses

    def on(self, event: str, /) -> Callable[[F], F]:
        """See `Namespace.on_server_side_emit`."""
        _check_name(event)

        def add(function: F) -> F:
            require_sync(function, "on_server_side_emit")
            if event in self._handlers:
                raise RouteError(
                    f"Namespace {self._namespace.name!r} has a function for the server-side event {event!r} already; "
                    "only one of them could answer, so let it call the other."
                )
            self._handlers[event] = function
            return function

        return add

    def receive(self, event: str, args: Sequence[Any]) -> tuple[object, ...] | None:
        """See `Namespace.server_side_event`."""
        function = self._handlers.get(event)
        if function is None:
            logger.debug("No function for server-side event %.80r in namespace %.80r.", event, self._namespace.name)
            return None
        try:
            value = function(*args)
        except Exception:
            logger.exception("The function for server-side event %.80r in namespace %.80r failed.", event, self._namespace.name)
            return None
        if let_go(value):
            logger.error("The function for server-side event %.80r in namespace %.80r must not be async.", event, self._namespace.name)
            return None
        return as_arguments(value)


def _check_name(event: object) -> None:
    if not isinstance(event, str):
        raise EncodeError(f"The name of a server-side event is {event!r:.40}; it must be a string.")
    if event in RESERVED:
        raise EncodeError(f"The name {event!r} is reserved for Socket.IO itself; choose another one.")

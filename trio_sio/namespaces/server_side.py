"""Events between the servers of a cluster (Node: ``serverSideEmit``)."""

from __future__ import annotations

import weakref
from collections.abc import Awaitable, Callable, Sequence
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Protocol, TypeVar

import trio

from ..concurrency.functions import fault_of_handler, let_go
from ..errors import EncodeError, RouteError
from ..log import get_logger
from .acks import as_arguments
from .answers import AckTimeout, BroadcastAnswers, require_patience
from .settling import settled

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["ServerSide"]

logger = get_logger("trio_sio.namespaces")

F = TypeVar("F", bound=Callable[..., object])

Reply = Callable[[tuple[object, ...]], object]

RESERVED: Final = frozenset({"connect", "connection", "new_namespace"})

MOST_RUNNING: Final = 1_000  # async functions that run at once in one namespace; what comes then is not heard


_FAILED: Final = "The function for server-side event %.80r in namespace %.80r failed."


class Listener(NamedTuple):
    """A function, and how long it may take."""

    function: Callable[..., object]
    timeout: float | None


class Neighbours(Protocol):
    """The other servers, as an adapter reaches them."""

    async def settled(self) -> None:
        """See `Adapter.settled`."""

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """See `Adapter.server_side_emit`."""


class Clustered(Protocol):
    """A namespace, as it is known on other servers, too; see `Namespace`."""

    name: str
    config: Config

    @property
    def adapter(self) -> Neighbours:
        """What reaches the others."""

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Start a task of the server."""


class ServerSide:
    """What a namespace says to itself on the other servers, and hears from there.

    Args:
      namespace: The namespace.
    """

    __slots__ = ("_listeners", "_namespace", "_running")

    def __init__(self, namespace: Clustered) -> None:
        self._namespace: Clustered = weakref.proxy(namespace)  # which holds this
        self._listeners: dict[str, Listener] = {}
        self._running = 0

    def __bool__(self) -> bool:
        """Whether somebody listens."""
        return bool(self._listeners)

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
        try:
            adapter = await settled(self._namespace)
            adapter.server_side_emit((event, *args), answers)
            async for _ in answers:
                pass
            if missing := answers.missing:
                raise AckTimeout(answers.responses, missing)
        finally:
            answers.close()
        return answers.responses

    def on(self, event: str, /, *, timeout: float | None = None) -> Callable[[F], F]:
        """See `Namespace.on_server_side_emit`."""
        _check_name(event)
        if timeout is not None:
            require_patience(timeout)

        def add(function: F) -> F:
            if (fault := fault_of_handler(function)) is not None:
                raise TypeError(f"on_server_side_emit wants a function, async or not, but {fault}.")
            if event in self._listeners:
                raise RouteError(
                    f"Namespace {self._namespace.name!r} has a function for the server-side event {event!r} already; "
                    "only one of them could answer, so let it call the other."
                )
            self._listeners[event] = Listener(function, timeout)
            return function

        return add

    def receive(self, event: str, args: Sequence[Any], reply: Reply | None) -> None:
        """See `Namespace.server_side_event`."""
        listener = self._listeners.get(event)
        if listener is None:
            logger.debug("No function for server-side event %.80r in namespace %.80r.", event, self._namespace.name)
            return
        try:
            value = listener.function(*args)
        except Exception:
            logger.exception(_FAILED, event, self._namespace.name)
            return
        if not isawaitable(value):
            if reply is not None:
                reply(as_arguments(value))
        elif self._running >= MOST_RUNNING:
            let_go(value)
            logger.error("Server-side event %.80r in namespace %.80r comes faster than its function ends.", event, self._namespace.name)
        else:
            self._running += 1
            try:
                self._namespace.start_soon(self._finish, event, value, listener.timeout, reply)
            except RuntimeError:
                self._running -= 1
                let_go(value)
                logger.debug("Server-side event %.80r came while the server did not run.", event)

    async def _finish(self, event: str, value: Awaitable[object], timeout: float | None, reply: Reply | None) -> None:
        """Wait for what an async function returns."""
        try:
            with trio.move_on_after(self._namespace.config.ack_timeout if timeout is None else timeout) as scope:
                result = await value
            if scope.cancelled_caught:
                logger.error("The function for server-side event %.80r in namespace %.80r took too long.", event, self._namespace.name)
            elif reply is not None:
                reply(as_arguments(result))
        except Exception:
            logger.exception(_FAILED, event, self._namespace.name)
        finally:
            self._running -= 1


def _check_name(event: object) -> None:
    if not isinstance(event, str):
        raise EncodeError(f"The name of a server-side event is {event!r:.40}; it must be a string.")
    if event in RESERVED:
        raise EncodeError(f"The name {event!r} is reserved for Socket.IO itself; choose another one.")

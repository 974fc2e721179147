"""The functions that an application has registered for events, and the task that runs them, one at a time."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

from ..concurrency.failures import log_failure, says_that_it_ended
from ..concurrency.functions import fault_of_handler
from ..concurrency.groups import raise_rest
from ..errors import ConfigurationError
from ..log import get_logger
from ..protocol.checks import RESERVED_EVENTS
from ..signatures.answers import as_arguments
from .membership import Stage

if TYPE_CHECKING:
    from ..signatures.events import ServerEvent
    from .events import Inbox
    from .membership import Membership
    from .sending import Sender

__all__ = ["Handlers", "check_event", "dispatch"]

logger = get_logger("trio_sio.client")


class Handler(NamedTuple):
    """A function with the number of arguments that it takes at most (``None``: any number), and the event if that is a declared one."""

    function: Callable[..., object]
    most: int | None
    event: ServerEvent[..., object] | None = None

    async def __call__(self, *args: Any) -> object:
        """Call it, dropping what it does not take, as in JavaScript: servers append arguments, such as recovery's offset."""
        if self.event is not None:
            args = self.event.arguments(args)
        result = self.function(*args[: self.most])
        return await result if inspect.isawaitable(result) else result


class Handlers:
    """The handlers of one socket."""

    __slots__ = ("_any", "_by_event")

    def __init__(self) -> None:
        self._by_event: dict[str, list[Handler]] = {}
        self._any: list[Handler] = []

    def add(self, event: str | None, function: Callable[..., object], declared: ServerEvent[..., object] | None = None) -> None:
        """Register ``function`` behind those that are there; ``event`` ``None``: for every event, ``declared``: it, if it is.

        Raises:
          ConfigurationError: if no such event can come, or it is no function.
        """
        if (fault := fault_of_handler(function)) is not None:
            raise ConfigurationError(f"{fault}, so it cannot handle events; write it with `def` or `async def`.")
        handler = Handler(function, _most_arguments(function), declared)
        if event is None:
            self._any.append(handler)
        else:
            check_event(event, "on")
            self._by_event.setdefault(event, []).append(handler)

    def remove(self, event: str | None, function: Callable[..., object] | None) -> None:
        """Forget ``function`` (``None``: every one) for ``event`` (``None``: those for every event).

        Raises:
          ConfigurationError: if one of them is something else.
        """
        if event is not None:
            check_event(event, "off")
        if function is not None and not callable(function):
            raise ConfigurationError(f"{function!r:.80} is not a function, so `off` cannot forget it; leave it out to forget all.")
        handlers = self._any if event is None else self._by_event.get(event, [])
        handlers[:] = [handler for handler in handlers if function is not None and handler.function != function]
        if event is not None and not handlers:
            self._by_event.pop(event, None)

    def has(self, event: str) -> bool:
        """Tell whether there is one for ``event``."""
        return bool(self._any) or event in self._by_event

    def of(self, event: str, args: tuple[Any, ...]) -> list[tuple[Handler, tuple[Any, ...]]]:
        """Return those for ``event``, each with what to call it with."""
        return [
            *((handler, (event, *args)) for handler in self._any),
            *((handler, args) for handler in self._by_event.get(event, ())),
        ]


def check_event(event: object, name: str) -> None:
    """Raise `ConfigurationError` unless ``event``, which the method called ``name`` was given, is one that can come."""
    if not isinstance(event, str):
        raise ConfigurationError(f'`{name}` on {event!r:.80} names no event; write `{name}("event")`.')
    if event in RESERVED_EVENTS:
        raise ConfigurationError(f"No server emits {event!r}, which is reserved; states() tells what becomes of the connection.")


def _most_arguments(function: Callable[..., object]) -> int | None:
    try:
        parameters = inspect.signature(function).parameters.values()
    except ValueError:
        return None  # some of those that are written in C do not tell
    if any(parameter.kind is parameter.VAR_POSITIONAL for parameter in parameters):
        return None
    return sum(parameter.kind in (parameter.POSITIONAL_ONLY, parameter.POSITIONAL_OR_KEYWORD) for parameter in parameters)


async def dispatch(membership: Membership, inbox: Inbox, handlers: Handlers, sender: Sender) -> None:
    """Hand the events that wait in ``inbox`` to ``handlers``, until cancelled. They may wait for acknowledgements and events."""
    while True:
        received = await inbox.next_queued()
        name, args = received.event
        called = handlers.of(name, args)
        if not called:
            # They were removed while the event waited for them.
            inbox.keep(received)
            continue
        result: object = None
        failed = False
        for handler, arguments in called:
            try:
                answer = await handler(*arguments)
                result = answer if result is None else result
            except Exception as error:
                failed = True
                _log_failure(membership, name, error)
            except BaseExceptionGroup as group:
                raise_rest(group, partial(_log_failure, membership, name))
        if received.id is not None and not (failed and result is None):
            await sender.acknowledge(received, received.id, as_arguments(result))


def _log_failure(membership: Membership, name: str, error: Exception) -> None:
    where = f"on event {name!r:.80} in namespace {membership.namespace!r:.80}"
    ended = "the socket ended" if says_that_it_ended(error) and membership.stage in (Stage.LEAVING, Stage.OVER) else None
    log_failure("A handler", where, error, logger, ended=ended)

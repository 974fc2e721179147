"""What can be wrong with a routing table apart from its handlers' signatures: found before anything is served."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from ..concurrency.functions import fault_of_awaited, fault_of_handler, name_of
from ..errors import RouteError
from ..protocol.checks import RESERVED_EVENTS
from .middleware import Context, ExceptionHandlers
from .rate_limit import RateLimit

__all__ = [
    "check_connection_middleware",
    "check_event",
    "check_exception_handlers",
    "check_handler",
    "check_middleware",
    "check_nodes_event",
]

# What Node's `io.on` is called with. A client may emit them, but that is not what is meant.
_NODES_EVENTS: Final = {"connection": "on_connection", "new_namespace": "on_new_namespace"}


def check_event(event: object, where: str) -> None:
    """Raise `RouteError` unless ``event`` is a name that may be sent and received."""
    if not isinstance(event, str) or not event:
        raise RouteError(f"{where}: {event!r} is no event name; use a string of at least one character.")
    if event in RESERVED_EVENTS:
        hint = {
            "connect": " Use @on_connection.",
            "disconnect": " Use @on_disconnection.",
            "disconnecting": " Use @on_disconnection.",
        }.get(event, " Choose another name.")
        raise RouteError(f"{where}: the event name {event!r} is reserved, no client can send or hear it.{hint}")


def check_nodes_event(event: str, where: str) -> None:
    """Raise `RouteError` if ``event`` is what ``io.on`` of Node is called with for something that no client emits."""
    if event in _NODES_EVENTS:
        raise RouteError(
            f"{where}: {event!r} would be an event that clients emit. Use {_NODES_EVENTS[event]} for what Node calls so; if clients do "
            "emit it, handle it with @on_message in a controller."
        )


def check_handler(function: object, where: str) -> None:
    """Raise `RouteError` unless ``function`` may handle something."""
    if (fault := fault_of_handler(function)) is not None:
        raise RouteError(f"{where}: {fault}; write a handler with `def` or `async def`, which returns its one result.")


def check_exception_handlers(handlers: ExceptionHandlers | None, where: str) -> None:
    """Raise `RouteError` unless the keys are exception types and the values take a context and an exception."""
    if handlers is not None and not isinstance(handlers, Mapping):
        raise RouteError(f"{where}: exception_handlers={handlers!r:.80} is no dict; write exception_handlers={{KeyError: function}}.")
    given: Mapping[Any, Any] = handlers or {}
    for kind, handler in given.items():
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise RouteError(
                f"{where}: exception_handlers has the key {kind!r}, which is no subclass of Exception; use exception classes as keys."
            )
        what = f"{where}: the exception handler for {kind.__name__}"
        _check_takes(handler, 2, what, "(ctx, exc)")
        if (fault := fault_of_handler(handler)) is not None:
            raise RouteError(f"{what} would do nothing: {fault}; write it with `def` or `async def`.")


def check_middleware(middleware: Sequence[Callable[..., object]], where: str) -> None:
    """Raise `RouteError` unless each takes a context and ``call_next``."""
    for layer in middleware:
        what = f"{where}: the middleware {name_of(layer)}"
        _check_takes(layer, 2, what, "(ctx, call_next)")
        if (fault := fault_of_awaited(layer)) is not None:
            raise RouteError(f"{what} would fail: {fault}; write `async def (ctx, call_next)`.")


def check_connection_middleware(middleware: Sequence[Callable[..., object]], where: str) -> None:
    """Raise `RouteError` unless each is middleware that can do something where clients connect."""
    check_middleware(middleware, where)
    if any(isinstance(layer, RateLimit) and layer.is_per_socket for layer in middleware):
        raise RouteError(
            f"{where}: a rate_limit per socket refuses no socket that connects, as each does so once, with a bucket of its own; "
            'write per="address", or a function of the context.'
        )


def _check_takes(function: Callable[..., object], count: int, what: str, signature: str) -> None:
    """Raise `RouteError` unless ``function`` can be called with ``count`` arguments."""
    if not callable(function):
        raise RouteError(f"{what} is {function!r}, which cannot be called; give a function {signature}.")
    try:
        taken = inspect.signature(function)
        taken.bind(*[None] * count)
    except TypeError as exc:
        raise RouteError(f"{what} cannot be called as {signature}: {exc}.") from exc
    except ValueError:
        # Some built-in callables have no signature to look at.
        return
    first, *others = list(taken.parameters.values())[:count]
    if not _is_context(first) and any(_is_context(other) for other in others):
        raise RouteError(f"{what} takes the context behind {first.name!r}, but is called as {signature}; change their order.")


def _is_context(parameter: inspect.Parameter) -> bool:
    """Tell whether ``parameter`` is certainly for the context; an annotation may be text, which is not resolved for this."""
    return parameter.name == "ctx" or parameter.annotation is Context or parameter.annotation == "Context"

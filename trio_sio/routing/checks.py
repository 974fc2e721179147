"""What can be wrong with a routing table apart from its handlers' signatures: found before anything is served."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..errors import RouteError
from ..protocol.socketio import RESERVED_EVENTS
from .middleware import ExceptionHandlers, name_of

__all__ = ["check_event", "check_exception_handlers", "check_middleware"]


def check_event(event: object, where: str) -> None:
    """Raise `RouteError` unless ``event`` is a name that may be sent and received."""
    if not isinstance(event, str) or not event:
        raise RouteError(f"{where}: {event!r} is no event name; use a string of at least one character.")
    if event in RESERVED_EVENTS:
        hint = {"connect": " Use @on_connection.", "disconnect": " Use @on_disconnection."}.get(event, " Choose another name.")
        raise RouteError(f"{where}: the event name {event!r} is reserved, no client can send or hear it.{hint}")


def check_exception_handlers(handlers: ExceptionHandlers | None, where: str) -> None:
    """Raise `RouteError` unless the keys are exception types and the values take a context and an exception."""
    given: Mapping[Any, Any] = handlers or {}
    for kind, handler in given.items():
        if not (isinstance(kind, type) and issubclass(kind, Exception)):
            raise RouteError(
                f"{where}: exception_handlers has the key {kind!r}, which is no subclass of Exception; use exception classes as keys."
            )
        _check_takes(handler, 2, f"{where}: the exception handler for {kind.__name__}", "(ctx, exc)")


def check_middleware(middleware: Sequence[Callable[..., object]], where: str) -> None:
    """Raise `RouteError` unless each takes a context and ``call_next``."""
    for layer in middleware:
        _check_takes(layer, 2, f"{where}: the middleware {name_of(layer)}", "(ctx, call_next)")


def _check_takes(function: Callable[..., object], count: int, what: str, signature: str) -> None:
    """Raise `RouteError` unless ``function`` can be called with ``count`` arguments."""
    if not callable(function):
        raise RouteError(f"{what} is {function!r}, which cannot be called; give a function {signature}.")
    try:
        inspect.signature(function).bind(*[None] * count)
    except TypeError as exc:
        raise RouteError(f"{what} cannot be called as {signature}: {exc}.") from exc
    except ValueError:
        # Some built-in callables have no signature to look at.
        return

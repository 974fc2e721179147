"""Handlers as plain functions: what stands behind ``@server.on("echo")`` and ``@server.of("/chat").on("say")``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import TypeVar, overload

from ..errors import RouteError
from .markers import ConnectionMark, Marks, MessageMark, marks_of
from .middleware import ExceptionHandlers, Middleware, layers_of, name_of

__all__ = ["Functions"]

F = TypeVar("F", bound=Callable[..., object])


class Functions:
    """The functions of one namespace; their first parameter is the socket. Give it to a `Route` as its controller.

    Attributes:
      middleware: What `use` collected: connection middleware of the route that these functions become.
    """

    def __init__(self) -> None:
        self.middleware: list[Middleware] = []
        self._functions: list[tuple[Callable[..., object], Marks]] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._functions)

    def on(
        self,
        event: str,
        /,
        *more_events: str,
        middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
        concurrent: bool = False,
        cancel_on_disconnect: bool = True,
    ) -> Callable[[F], F]:
        """Run the function for each message with one of these event names; the arguments are those of `on_message`."""
        if callable(event):
            raise RouteError(f'`on` on {name_of(event)} names no event; write `.on("event")`.')
        mark = MessageMark((event, *more_events), layers_of(middleware), exception_handlers, concurrent, cancel_on_disconnect)
        return lambda function: self._add(function, Marks(messages=(mark,)))

    @overload
    def on_any_message(self, function: F, /) -> F: ...
    @overload
    def on_any_message(
        self,
        /,
        *,
        middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
        concurrent: bool = False,
        cancel_on_disconnect: bool = True,
    ) -> Callable[[F], F]: ...

    def on_any_message(
        self,
        function: F | None = None,
        /,
        *,
        middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
        concurrent: bool = False,
        cancel_on_disconnect: bool = True,
    ) -> F | Callable[[F], F]:
        """Run the function, with the socket and the event's name, for each message that no other is for, as `trio_sio.on_any_message`."""
        marks = Marks(any_message=MessageMark((), layers_of(middleware), exception_handlers, concurrent, cancel_on_disconnect))
        return (lambda function: self._add(function, marks)) if function is None else self._add(function, marks)

    @overload
    def on_connection(self, function: F, /) -> F: ...
    @overload
    def on_connection(
        self, /, *, middleware: Sequence[Middleware] = (), exception_handlers: ExceptionHandlers | None = None
    ) -> Callable[[F], F]: ...

    def on_connection(
        self,
        function: F | None = None,
        /,
        *,
        middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
    ) -> F | Callable[[F], F]:
        """Run the function when a client has joined; the arguments are those of `trio_sio.on_connection`."""
        marks = Marks(connection=ConnectionMark(layers_of(middleware), exception_handlers))
        return (lambda function: self._add(function, marks)) if function is None else self._add(function, marks)

    @overload
    def on_disconnection(self, function: F, /) -> F: ...
    @overload
    def on_disconnection(self, /) -> Callable[[F], F]: ...

    def on_disconnection(self, function: F | None = None, /) -> F | Callable[[F], F]:
        """Run the function once the client is gone, with the socket and the reason."""
        marks = Marks(disconnection=True)
        return (lambda function: self._add(function, marks)) if function is None else self._add(function, marks)

    def use(self, middleware: Middleware) -> Middleware:
        """Add connection middleware, after what was added before."""
        self._check_open(middleware)
        self.middleware.append(middleware)
        return middleware

    def close(self) -> list[tuple[Callable[..., object], Marks]]:
        """Take no more functions, and return those that came, each with its marks."""
        self._closed = True
        # `emits` may stand above or below, so the replies are complete only now.
        return [(function, replace(marks, replies=marks_of(function).replies)) for function, marks in self._functions]

    def _add(self, function: F, marks: Marks) -> F:
        self._check_open(function)
        self._functions.append((function, marks))
        return function

    def _check_open(self, function: object) -> None:
        if self._closed:
            raise RouteError(f"{name_of(function)} was registered after the server had started; register everything before.")

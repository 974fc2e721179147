"""Handlers as plain functions: what stands behind ``@server.on("echo")`` and ``@server.of("/chat").on("say")``."""

from __future__ import annotations

import abc
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar, overload

from ..concurrency.functions import name_of
from ..errors import RouteError
from .checks import check_connection_middleware, check_event, check_handler, check_nodes_event
from .markers import ConnectionMark, Marks, MessageMark, marks_of
from .middleware import ExceptionHandlers, Middleware, layers_of

__all__ = ["Functions", "Registrar"]

F = TypeVar("F", bound=Callable[..., object])


class Registrar(abc.ABC):
    """Where functions can be registered, before the server starts; the first parameter of each is the socket."""

    __slots__ = ()

    @abc.abstractmethod
    def _functions(self) -> Functions:
        """Where they are kept."""

    @overload
    def on(
        self,
        event: str,
        function: F,
        /,
        *,
        middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
        concurrent: bool = False,
        cancel_on_disconnect: bool = True,
    ) -> F: ...
    @overload
    def on(
        self,
        event: str,
        /,
        *more_events: str,
        middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
        concurrent: bool = False,
        cancel_on_disconnect: bool = True,
    ) -> Callable[[F], F]: ...

    def on(
        self,
        event: str,
        /,
        *more: Any,
        middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
        concurrent: bool = False,
        cancel_on_disconnect: bool = True,
    ) -> Any:
        """Run the function for each message with one of these event names; the arguments are those of `on_message`.

        A decorator, as in ``@server.on("say")``, or a call with the function in it, as in ``server.on("say", say)``.

        Raises:
          RouteError: if no client can emit such an event, or the function cannot handle any.
        """
        if callable(event):
            raise RouteError(f'`on` on {name_of(event)} names no event; write `.on("event")`.')
        events = (event, *(more[:-1] if more and callable(more[-1]) else more))
        for one in events:
            check_event(one, f"on({one!r:.80})")
            check_nodes_event(one, f"on({one!r:.80})")
        mark = MessageMark(events, layers_of(middleware), exception_handlers, concurrent, cancel_on_disconnect)
        marks = Marks(messages=(mark,))
        return (
            (lambda function: self._functions().add(function, marks)) if len(events) > len(more) else self._functions().add(more[-1], marks)
        )

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
        return (lambda function: self._functions().add(function, marks)) if function is None else self._functions().add(function, marks)

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
        return (lambda function: self._functions().add(function, marks)) if function is None else self._functions().add(function, marks)

    @overload
    def on_disconnection(self, function: F, /) -> F: ...
    @overload
    def on_disconnection(self, /) -> Callable[[F], F]: ...

    def on_disconnection(self, function: F | None = None, /) -> F | Callable[[F], F]:
        """Run the function once the client is gone, with the socket and the reason."""
        marks = Marks(disconnection=True)
        return (lambda function: self._functions().add(function, marks)) if function is None else self._functions().add(function, marks)

    def use(self, middleware: Middleware) -> Middleware:
        """Add connection middleware, after what was added before.

        Raises:
          RouteError: if it is not async, or does not take ``(ctx, call_next)``.
        """
        self._functions().add_middleware(middleware)
        return middleware


class Functions(Registrar):
    """The functions of one namespace. Give it to a `Route` as its controller.

    Attributes:
      middleware: What `use` collected: connection middleware of the route that these functions become.
    """

    def __init__(self) -> None:
        self.middleware: list[Middleware] = []
        self._added: list[tuple[Callable[..., object], Marks]] = []
        self._closed = False

    def __len__(self) -> int:
        return len(self._added)

    def _functions(self) -> Functions:
        return self

    def add(self, function: F, marks: Marks) -> F:
        """Add a function that is for what ``marks`` say.

        Raises:
          RouteError: if it cannot be, or the server has started.
        """
        self._check_open(function)
        check_handler(function, "A function of the server")
        self._added.append((function, marks))
        return function

    def add_middleware(self, middleware: Middleware) -> None:
        """See `Registrar.use`."""
        self._check_open(middleware)
        check_connection_middleware([middleware], "use")
        self.middleware.append(middleware)

    def close(self) -> list[tuple[Callable[..., object], Marks]]:
        """Take no more functions, and return those that came, each with its marks."""
        self._closed = True
        # `emits` may stand above or below, so the replies are complete only now.
        return [(function, replace(marks, replies=marks_of(function).replies)) for function, marks in self._added]

    def _check_open(self, function: object) -> None:
        if self._closed:
            raise RouteError(f"{name_of(function)} was registered after the server had started; register everything before.")

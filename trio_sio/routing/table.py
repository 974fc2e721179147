"""`Route` and `RoutingTable`: which controller serves which namespace, checked and compiled before anything is served."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Final

from ..concurrency.functions import name_of
from ..errors import RouteError
from ..namespaces.socket import Socket
from ..signatures.events import ServerEvent
from .binding import Binding
from .calling import Hook, MessageHandler
from .checks import check_connection_middleware, check_event, check_exception_handlers, check_middleware
from .controllers import Controller, MarkedFunction, data_maker, data_type
from .dispatch import NamespaceRoutes, RouteHooks
from .exception_handlers import ExceptionHandling
from .markers import MessageMark, Reply
from .middleware import Chain, ExceptionHandlers, Middleware, layers_of
from .refusals import refusals_of
from .scopes import ScopeTerms

if TYPE_CHECKING:
    from ..contract.model import Contract
    from ..errors import ConnectionRefused
    from ..namespaces.data_types import DataType

__all__ = ["Route", "RoutingTable"]

_HEADINGS: Final = ("namespace", "controller", "event", "method", "emits", "middleware")


class Route:
    """One controller at one namespace. Several routes may share a namespace, as long as no event has two handlers.

    Args:
      namespace: Its name, such as ``"/chat"`` (the slash may be missing), or a compiled pattern that has to match the
        whole name; its groups are ``socket.params``.
      controller: A class or factory, called with each new socket (or with nothing, if it takes nothing), or an instance
        that all sockets share. If what it makes is an async context manager, that is entered when the client has joined,
        before `on_connection`, in a task of its own, and left after `on_disconnection`, within `Config.cleanup_timeout`.
        A handler with ``cancel_on_disconnect=False`` may run for longer.
      middleware: Runs when clients connect and around every message.
      connection_middleware: Runs when clients connect only, inside ``middleware``.
      exception_handlers: For what the handlers raise.
      concurrent: As if every `on_message` said so.
      data: Makes ``socket.data`` of each new socket, before connection middleware runs: a class, or a function of the socket;
        ``None``: a dict. A socket that is recovered keeps its own; on another server it has a copy, if msgspec knows the type: the
        class, or what the function is annotated to return.
      events: What is emitted to clients there, besides what `emits` and `broadcasts` name: declared with `server_event`.

    Raises:
      RouteError: if something about it cannot be right; the message names class, method and parameter.
    """

    __slots__ = ("concurrent", "connection_middleware", "controller", "data", "events", "exception_handlers", "middleware", "namespace")

    def __init__(
        self,
        namespace: str | re.Pattern[str],
        controller: object,
        *,
        middleware: Sequence[Middleware] = (),
        connection_middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
        concurrent: bool = False,
        data: Callable[..., object] | None = None,
        events: Sequence[ServerEvent[..., object]] = (),
    ) -> None:
        self.namespace = _check_namespace(namespace)
        self.controller = Controller(controller)
        self.middleware = layers_of(middleware)
        self.connection_middleware = layers_of(connection_middleware)
        self.exception_handlers = exception_handlers
        self.concurrent = concurrent
        where = f"Route({_spell(self.namespace)})"
        check_middleware(self.middleware, where)
        check_connection_middleware(self.connection_middleware, where)
        check_exception_handlers(exception_handlers, where)
        for handler in self.controller.handlers:
            _check_handler(handler)
        self.data = data
        if data is not None:
            data_maker(data, where)
        self.events = _check_events(events, where)

    @property
    def declared_events(self) -> Iterator[ServerEvent[..., object]]:
        """What is known of what is emitted: `events`, and what decorators of the handlers name and is declared."""
        yield from self.events
        for handler in self.controller.handlers:
            yield from (reply.declared for reply in handler.marks.replies if reply.declared is not None)

    def __repr__(self) -> str:
        return f"Route({_spell(self.namespace)}, {self.controller.name})"


class RoutingTable:
    """All routes of a server.

    Args:
      routes: The routes. A namespace that is named goes before patterns, and patterns are tried in this order.
      connection_middleware: Runs outermost when clients connect; once per socket, however many routes there are.
      message_middleware: Runs outermost around every message.
      exception_handlers: For what handlers raise and no closer layer handles.

    Attributes:
      entries: What serves each namespace: names first, then patterns.

    Raises:
      RouteError: if two routes contradict each other, or a handler cannot be called.
    """

    def __init__(
        self,
        *routes: Route,
        connection_middleware: Sequence[Middleware] = (),
        message_middleware: Sequence[Middleware] = (),
        exception_handlers: ExceptionHandlers | None = None,
    ) -> None:
        for route in routes:
            if not isinstance(route, Route):
                raise RouteError(f"RoutingTable takes routes, not {route!r}; write RoutingTable(Route(...), Route(...)).")
        self.routes = routes
        self.connection_middleware = layers_of(connection_middleware)
        self.message_middleware = layers_of(message_middleware)
        self.exception_handlers = exception_handlers
        check_connection_middleware(self.connection_middleware, "RoutingTable")
        check_middleware(self.message_middleware, "RoutingTable")
        check_exception_handlers(exception_handlers, "RoutingTable")
        self._warned: set[int] = set()
        self._grouped = self._group()
        self.entries: Sequence[tuple[str | re.Pattern[str], NamespaceRoutes]] = [
            (namespace, self._compile(namespace, routes)) for namespace, routes in self._grouped.items()
        ]

    def extended(self, routes: Sequence[Route]) -> RoutingTable:
        """Return this table with ``routes`` behind its own."""
        if not routes:
            return self
        return RoutingTable(
            *self.routes,
            *routes,
            connection_middleware=self.connection_middleware,
            message_middleware=self.message_middleware,
            exception_handlers=self.exception_handlers,
        )

    def _group(self) -> dict[str | re.Pattern[str], list[Route]]:
        grouped: dict[str | re.Pattern[str], list[Route]] = {}
        for route in sorted(self.routes, key=lambda route: isinstance(route.namespace, re.Pattern)):
            group = grouped.setdefault(route.namespace, [])
            if group and isinstance(route.namespace, re.Pattern):
                raise RouteError(
                    f"{group[0]!r} and {route!r} have the same pattern, and only the first would ever match; "
                    "put the handlers into one controller, or tell the patterns apart."
                )
            group.append(route)
        return grouped

    def _compile(self, namespace: str | re.Pattern[str], routes: list[Route]) -> NamespaceRoutes:
        handlers: dict[str | None, MessageHandler] = {}
        owners: dict[str | None, str] = {}
        hooks: list[RouteHooks] = []
        around_connecting = [*self.connection_middleware]
        around_hooks: list[Middleware] = []
        _check_names(namespace, routes)
        for index, route in enumerate(routes):
            around_connecting += (*route.middleware, *route.connection_middleware)
            connection: list[Hook] = []
            disconnection: list[Hook] = []
            for handler in route.controller.handlers:
                marks = handler.marks
                if marks.connection is not None:
                    around_hooks += marks.connection.middleware
                    exceptions = self._exceptions(route, marks.connection.exception_handlers)
                    connection.append(Hook(handler, index, _bind_hook(handler), exceptions))
                if marks.disconnection:
                    disconnection.append(Hook(handler, index, _bind_hook(handler, 1), ExceptionHandling()))
                for event, message_handler in self._compile_messages(route, index, handler):
                    if event in owners:
                        which = "every event without a handler" if event is None else repr(event)
                        raise RouteError(
                            f"{owners[event]} and {handler.where} both handle {which} in namespace {_spell(namespace)}; "
                            f"only one of them can answer, so {'remove the other' if event is None else 'give one another event'}."
                        )
                    owners[event] = handler.where
                    handlers[event] = message_handler
            scope = ScopeTerms(route.controller.name, self._exceptions(route, None)) if route.controller.is_entered else None
            hooks.append(RouteHooks(scope, connection, disconnection, route.controller.is_plain))
        return NamespaceRoutes(
            [route.controller.make for route in routes],
            hooks,
            handlers,
            Chain([*around_connecting, *around_hooks], self._warned),
            ExceptionHandling(*(route.exception_handlers for route in routes), self.exception_handlers),
            *_data_of(namespace, routes),
        )

    def _compile_messages(self, route: Route, index: int, handler: MarkedFunction) -> Iterator[tuple[str | None, MessageHandler]]:
        for event, mark in _messages_of(handler):
            message_handler = MessageHandler(
                handler,
                index,
                _bind_message(handler, event),
                Chain(self._around_message(route, mark), self._warned),
                self._exceptions(route, mark.exception_handlers),
                concurrent=mark.concurrent or route.concurrent,
                cancel_on_disconnect=mark.cancel_on_disconnect,
            )
            yield event, message_handler

    def _around_message(self, route: Route, mark: MessageMark) -> Sequence[Middleware]:
        return (*self.message_middleware, *route.middleware, *mark.middleware)

    def _exceptions(self, route: Route, closest: ExceptionHandlers | None) -> ExceptionHandling:
        return ExceptionHandling(closest, route.exception_handlers, self.exception_handlers)

    def contract(self) -> Contract:
        """Return what these routes and their clients say to each other: every event in both directions, with its types.

        Raises:
          RouteError: if there is no JSON Schema for one of the types.
        """
        from .contracts import contract_of

        return contract_of(
            (namespace, [(route, self._bindings_of(route)) for route in routes], self._refusals_of(routes))
            for namespace, routes in self._grouped.items()
        )

    def _bindings_of(self, route: Route) -> Iterator[tuple[MarkedFunction, str, Binding, Iterable[type[ConnectionRefused]]]]:
        for handler in route.controller.handlers:
            for event, mark in _messages_of(handler):
                if event is not None:
                    refusals = refusals_of(*self._around_message(route, mark), handler.function)
                    yield handler, event, _bind_message(handler, event), refusals

    def _refusals_of(self, routes: Sequence[Route]) -> Iterator[type[ConnectionRefused]]:
        """Yield with what clients may be refused that connect."""
        yield from refusals_of(*self.connection_middleware)
        for route in routes:
            hooks = [handler.marks.connection.middleware for handler in route.controller.handlers if handler.marks.connection is not None]
            yield from refusals_of(*route.middleware, *route.connection_middleware, *(layer for hook in hooks for layer in hook))

    def event_names(self) -> Iterator[tuple[str | re.Pattern[str], frozenset[str]]]:
        """Yield each namespace, or pattern, and the events that are known there: those with a handler, and those that clients hear."""
        for namespace, routes in self._grouped.items():
            names = {event.name for route in routes for event in route.declared_events}
            for handler in (handler for route in routes for handler in route.controller.handlers):
                names.update(event for event, _ in _messages_of(handler) if event is not None)
                names.update(reply.event for reply in handler.marks.replies)
            yield namespace, frozenset(names)

    def describe(self) -> str:
        """Return the table as text, one line per hook and event: what is printed when the server starts."""
        rows = [_HEADINGS]
        for namespace, routes in self._grouped.items():
            for route in routes:
                # Who looks whether a namespace is guarded looks here, also if there is no hook to be surrounded.
                if (guards := self._around_connection(route)) and not any(one.marks.connection for one in route.controller.handlers):
                    rows.append((_spell(namespace), route.controller.name, "(connection)", "", "", ", ".join(map(name_of, guards))))
                for handler in route.controller.handlers:
                    emits = "; ".join(map(_spell_reply, handler.marks.replies))
                    for event, layers in self._describe_handler(route, handler):
                        rows.append(
                            (_spell(namespace), route.controller.name, event, handler.method, emits, ", ".join(map(name_of, layers)))
                        )
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        return "\n".join("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)

    def _describe_handler(self, route: Route, handler: MarkedFunction) -> Iterator[tuple[str, Sequence[Middleware]]]:
        marks = handler.marks
        if marks.connection is not None:
            yield "(connection)", (*self._around_connection(route), *marks.connection.middleware)
        for event, mark in _messages_of(handler):
            yield event or "(any other)", self._around_message(route, mark)
        if marks.disconnection:
            yield "(disconnection)", ()

    def _around_connection(self, route: Route) -> tuple[Middleware, ...]:
        return (*self.connection_middleware, *route.middleware, *route.connection_middleware)


def _check_namespace(namespace: str | re.Pattern[str]) -> str | re.Pattern[str]:
    if isinstance(namespace, re.Pattern):
        if not isinstance(namespace.pattern, str):
            raise RouteError(f"Route({namespace!r}): a namespace is text; compile the pattern from a string, not from bytes.")
        return namespace
    if not isinstance(namespace, str):
        raise RouteError(f'Route({namespace!r}): a namespace is a string such as "/chat", or a pattern from re.compile.')
    if "," in namespace or "?" in namespace:
        raise RouteError(f"Route({namespace!r}): the name of a namespace cannot contain `,` or `?`, which end it on the wire.")
    return namespace if namespace.startswith("/") else f"/{namespace}"


def _check_events(events: object, where: str) -> tuple[ServerEvent[..., object], ...]:
    if isinstance(events, ServerEvent | str) or not isinstance(events, Iterable):
        raise RouteError(f"{where}: events={events!r:.80} is no list; write events=[...].")
    checked = tuple(events)
    for event in checked:
        if not isinstance(event, ServerEvent):
            raise RouteError(f"{where}: events has {event!r:.80}, which is not declared; write `@server_event` above its function.")
        _ = event.terms
    return checked


def _data_of(namespace: str | re.Pattern[str], routes: Sequence[Route]) -> tuple[Callable[[Socket], object] | None, DataType | None]:
    """Return what makes the data of the sockets in ``namespace``, and of which type: what one of its routes says, or several agree on."""
    given = [route for route in routes if route.data is not None]
    if not given:
        return None, None
    for other in given[1:]:
        if other.data is not given[0].data:
            raise RouteError(
                f"{given[0]!r} and {other!r} make different data for the sockets in namespace {_spell(namespace)}, which have one; "
                "give data= to one of them."
            )
    return data_maker(given[0].data, repr(given[0])), data_type(given[0].data)


def _check_names(namespace: str | re.Pattern[str], routes: Sequence[Route]) -> None:
    """Raise `RouteError` if one name stands for two declared events."""
    known: dict[str, ServerEvent[..., object]] = {}
    for route in routes:
        for event in route.declared_events:
            other = known.setdefault(event.name, event)
            if other is not event:
                raise RouteError(
                    f"{other.where} and {event.where} both declare the event {event.name!r} in namespace {_spell(namespace)}; a client "
                    "cannot tell them apart, so declare it once, or give one another name."
                )


def _check_handler(handler: MarkedFunction) -> None:
    where, marks = handler.where, handler.marks
    if marks.connection is not None:
        check_connection_middleware(marks.connection.middleware, where)
        check_exception_handlers(marks.connection.exception_handlers, where)
        _bind_hook(handler)
    if marks.disconnection:
        _bind_hook(handler, 1)
    if marks.messages and marks.any_message is not None:
        raise RouteError(
            f"{where} has @on_message and @on_any_message, but only the second gives it the event's name; write two methods, "
            "or remove @on_message."
        )
    for event, mark in _messages_of(handler):
        check_middleware(mark.middleware, where)
        check_exception_handlers(mark.exception_handlers, where)
        if mark is not marks.any_message:
            check_event(event, where)
        _bind_message(handler, event)
    for reply in marks.replies:
        check_event(reply.event, where)
        if reply.declared is not None:
            _ = reply.declared.terms
        if reply.rooms is not None and not (reply.rooms and all(isinstance(room, str) for room in reply.rooms)):
            raise RouteError(f"{where}: to={list(reply.rooms)!r} names no room; leave `to` out, or give one or more strings.")
        if marks.disconnection and not reply.everyone and not reply.has_rooms:
            raise RouteError(f"{where}: @emits({reply.event!r}) would reply to a client that is gone; add to=..., or use @broadcasts.")


def _messages_of(handler: MarkedFunction) -> Iterator[tuple[str | None, MessageMark]]:
    """Yield each event that ``handler`` is for, ``None`` for those that no other is for, and what was said about it."""
    for mark in handler.marks.messages:
        for event in mark.events:
            yield event, mark
    if handler.marks.any_message is not None:
        yield None, handler.marks.any_message


def _bind_hook(handler: MarkedFunction, arguments: int = 0) -> Binding:
    return Binding(handler.function, handler.where, bound=handler.bound, event=None, hook_arguments=arguments, variables=handler.variables)


def _bind_message(handler: MarkedFunction, event: str | None) -> Binding:
    return Binding(
        handler.function, handler.where, bound=handler.bound, event=event, takes_event=event is None, variables=handler.variables
    )


def _spell(namespace: str | re.Pattern[str]) -> str:
    return namespace if isinstance(namespace, str) else f"{namespace.pattern} (pattern)"


def _spell_reply(reply: Reply) -> str:
    if reply.choose is not None:
        return f"{reply.event} to {'all of ' if reply.everyone else ''}{name_of(reply.choose)}(ctx)"
    if reply.rooms is None:
        return f"{reply.event} to all" if reply.everyone else reply.event
    return f"{reply.event} to {'all of ' if reply.everyone else ''}{', '.join(reply.rooms)}"

"""The decorators of controllers. Each adds to one frozen record on the function and does nothing else.

There is no registry: importing a controller has no effect, and the same class may serve two servers. A `Route` reads
the records when it is built.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Final, TypeVar, overload

from ..concurrency.functions import fault_of_sync, name_of
from ..errors import RouteError
from ..signatures.events import ServerEvent, name_of_event
from .middleware import Context, ExceptionHandlers, Middleware, layers_of

__all__ = [
    "ConnectionMark",
    "Marks",
    "MessageMark",
    "Reply",
    "broadcasts",
    "emits",
    "marks_of",
    "on_any_message",
    "on_connection",
    "on_disconnection",
    "on_message",
]

F = TypeVar("F", bound=Callable[..., object])

_ATTRIBUTE: Final = "_trio_sio_marks"

ChooseRooms = Callable[[Context], str | Iterable[str]]
"""Returns the rooms to emit to; a plain function."""


@dataclass(frozen=True, slots=True)
class ConnectionMark:
    """What `on_connection` says."""

    middleware: tuple[Middleware, ...] = ()
    exception_handlers: ExceptionHandlers | None = None


@dataclass(frozen=True, slots=True)
class MessageMark:
    """What one `on_message` says, or `on_any_message`, which names no events."""

    events: tuple[str, ...]
    middleware: tuple[Middleware, ...] = ()
    exception_handlers: ExceptionHandlers | None = None
    concurrent: bool = False
    cancel_on_disconnect: bool = True


@dataclass(frozen=True, slots=True)
class Reply:
    """What one `emits` or `broadcasts` says.

    Attributes:
      event: The event to send.
      rooms: Where to; ``None``: without rooms, or as ``choose`` says.
      choose: Returns where to; ``None``: nothing does.
      everyone: Whether the sender is included, as `broadcasts` does.
      declared: The event, if it is a declared one.
    """

    event: str
    rooms: tuple[str, ...] | None
    everyone: bool
    declared: ServerEvent[..., object] | None = None
    choose: ChooseRooms | None = None

    @property
    def has_rooms(self) -> bool:
        """Whether it goes to rooms, and not only to the sender, or to all."""
        return self.rooms is not None or self.choose is not None


@dataclass(frozen=True, slots=True)
class Marks:
    """Everything that decorators said about one function; ``replies`` from top to bottom."""

    connection: ConnectionMark | None = None
    disconnection: bool = False
    messages: tuple[MessageMark, ...] = ()
    any_message: MessageMark | None = None
    replies: tuple[Reply, ...] = ()

    @property
    def handles(self) -> bool:
        """Whether the function is a handler at all."""
        return self.connection is not None or self.disconnection or bool(self.messages) or self.any_message is not None


def marks_of(function: object) -> Marks:
    """Return what decorators said about ``function``, also through `staticmethod` and `classmethod`."""
    # Not `getattr`, which may do anything on attributes of a controller that are not functions.
    marks = getattr(function, "__dict__", {}).get(_ATTRIBUTE)
    if marks is None and isinstance(function, staticmethod | classmethod):
        marks = getattr(function.__func__, "__dict__", {}).get(_ATTRIBUTE)
    return marks if isinstance(marks, Marks) else Marks()


def _attach(function: F, marks: Marks) -> F:
    try:
        setattr(function, _ATTRIBUTE, marks)
    except AttributeError:
        raise RouteError(f"{function!r:.80} cannot be marked as a handler; put the decorator on a method or a function.") from None
    return function


@overload
def on_connection(function: F, /) -> F: ...
@overload
def on_connection(*, middleware: Sequence[Middleware] = (), exception_handlers: ExceptionHandlers | None = None) -> Callable[[F], F]: ...


def on_connection(
    function: F | None = None, /, *, middleware: Sequence[Middleware] = (), exception_handlers: ExceptionHandlers | None = None
) -> F | Callable[[F], F]:
    """Run the method when a client has joined, before its first event (Midway's ``@OnWSConnection``).

    Args:
      middleware: Runs before the client joins, innermost; raise `ConnectionRefused` in it to keep the client out.
      exception_handlers: For what the method raises; the client is disconnected in any case.
    """
    mark = ConnectionMark(layers_of(middleware), exception_handlers)

    def decorate(function: F) -> F:
        marks = marks_of(function)
        if marks.connection is not None:
            raise RouteError(f"{name_of(function)} has @on_connection twice; write it once.")
        return _attach(function, replace(marks, connection=mark))

    return decorate if function is None else decorate(function)


@overload
def on_disconnection(function: F, /) -> F: ...
@overload
def on_disconnection() -> Callable[[F], F]: ...


def on_disconnection(function: F | None = None, /) -> F | Callable[[F], F]:
    """Run the method once the client is gone, with the reason as its argument (Midway's ``@OnWSDisConnection``)."""

    def decorate(function: F) -> F:
        return _attach(function, replace(marks_of(function), disconnection=True))

    return decorate if function is None else decorate(function)


def on_message(
    event: str,
    /,
    *more_events: str,
    middleware: Sequence[Middleware] = (),
    exception_handlers: ExceptionHandlers | None = None,
    concurrent: bool = False,
    cancel_on_disconnect: bool = True,
) -> Callable[[F], F]:
    """Run the method for each message with one of these event names (Midway's ``@OnWSMessage``).

    The method's parameters are what the client sent, converted by their annotations; parameters annotated `Socket`,
    `Context`, `Ack` or `Server` are filled in. What it returns answers the client.

    Args:
      event: The event's name.
      more_events: Further names for the same method.
      middleware: Runs innermost, after the table's and the route's.
      exception_handlers: For what the method raises, before the route's and the table's.
      concurrent: Whether it may run while earlier messages of the same socket are still being handled.
      cancel_on_disconnect: Whether it is cancelled when the client goes.
    """
    if callable(event):
        raise RouteError(f'@on_message on {name_of(event)} names no event; write @on_message("event").')
    mark = MessageMark((event, *more_events), layers_of(middleware), exception_handlers, concurrent, cancel_on_disconnect)

    def decorate(function: F) -> F:
        marks = marks_of(function)
        return _attach(function, replace(marks, messages=(mark, *marks.messages)))

    return decorate


@overload
def on_any_message(function: F, /) -> F: ...
@overload
def on_any_message(
    *,
    middleware: Sequence[Middleware] = (),
    exception_handlers: ExceptionHandlers | None = None,
    concurrent: bool = False,
    cancel_on_disconnect: bool = True,
) -> Callable[[F], F]: ...


def on_any_message(
    function: F | None = None,
    /,
    *,
    middleware: Sequence[Middleware] = (),
    exception_handlers: ExceptionHandlers | None = None,
    concurrent: bool = False,
    cancel_on_disconnect: bool = True,
) -> F | Callable[[F], F]:
    """Run the method for each message that no handler in its namespace is for.

    Its first parameter is the event's name, the others are as those of `on_message`:
    ``async def other(self, event: str, *args: object)``. Without such a method an unknown event is answered with an error.

    Args:
      middleware: As for `on_message`.
      exception_handlers: As for `on_message`.
      concurrent: As for `on_message`.
      cancel_on_disconnect: As for `on_message`.
    """
    mark = MessageMark((), layers_of(middleware), exception_handlers, concurrent, cancel_on_disconnect)

    def decorate(function: F) -> F:
        marks = marks_of(function)
        if marks.any_message is not None:
            raise RouteError(f"{name_of(function)} has @on_any_message twice; write it once.")
        return _attach(function, replace(marks, any_message=mark))

    return decorate if function is None else decorate(function)


def emits(event: str | ServerEvent[..., object], /, to: str | Sequence[str] | ChooseRooms | None = None) -> Callable[[F], F]:
    """Emit what the handler returns, unless it is ``None`` (Midway's ``@WSEmit``).

    Without ``to`` it is a reply to the sender, and left out when an ack carries the result already. May be stacked.

    Args:
      event: The event to emit, or its name.
      to: One room or several, or a function of the context that returns them, as in ``to=lambda ctx: ctx.args[0]``; everybody in
        them hears it, except the sender. Where the function returns no room, nobody does.
    """
    return _replies(event, to, everyone=False)


def broadcasts(event: str | ServerEvent[..., object], /, to: str | Sequence[str] | ChooseRooms | None = None) -> Callable[[F], F]:
    """Emit what the handler returns to everybody, the sender included (Midway's ``@WSBroadCast``). May be stacked.

    Args:
      event: The event to emit, or its name.
      to: As for `emits`; without it the whole namespace.
    """
    return _replies(event, to, everyone=True)


def _replies(event: str | ServerEvent[..., object], to: str | Sequence[str] | ChooseRooms | None, *, everyone: bool) -> Callable[[F], F]:
    declared = event if isinstance(event, ServerEvent) else None
    if declared is None and callable(event):
        raise RouteError(f'@{"broadcasts" if everyone else "emits"} on {name_of(event)} names no event; write @emits("event").')
    choose = to if callable(to) else None
    if choose is not None:
        if (fault := fault_of_sync(choose)) is not None:
            raise RouteError(f"to= is asked for rooms at once, but {fault}; write a plain function of the context.")
        to = None
    if to is not None and not isinstance(to, Iterable):
        raise RouteError(f"to={to!r:.80} names no room; leave `to` out, or give one or more strings.")
    rooms = None if to is None else (to,) if isinstance(to, str) else tuple(to)
    reply = Reply(name_of_event(event), rooms, everyone, declared, choose)

    def decorate(function: F) -> F:
        marks = marks_of(function)
        # Decorators are applied from the bottom up, and what they send is read from the top down.
        return _attach(function, replace(marks, replies=(reply, *marks.replies)))

    return decorate

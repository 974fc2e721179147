"""From what a client sent to what a handler takes: compiled once per handler, when the routing table is built.

Three kinds of parameters: those annotated with `Socket`, `Context`, `Ack` or `Server` are filled in; those before and
between them take the message's arguments in order; ``*args`` takes the rest. A value whose exact type its annotation
names is passed as it is; only the others are converted (signatures/conversion.py).
"""

from __future__ import annotations

import inspect
import typing
from collections.abc import Callable, Sequence
from typing import Any, Final

from ..errors import BadMessage, RouteError
from ..log import get_logger
from ..namespaces.acks import Ack
from ..namespaces.socket import Socket
from ..signatures.annotations import resolve_annotation
from ..signatures.conversion import UNTOUCHED, Parameter, compile_parameter, spell
from ..signatures.generics import NO_VARIABLES, Variables
from .middleware import Context

__all__ = ["Binding"]

logger = get_logger("trio_sio.routing")

_Injector = Callable[[Socket, Any], object]

_EMPTY: Final = inspect.Parameter.empty
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)


def _inject_socket(socket: Socket, ctx: Context) -> Socket:
    return socket


def _inject_context(socket: Socket, ctx: Context) -> Context:
    return ctx


def _inject_ack(socket: Socket, ctx: Context) -> Ack:
    return ctx._take_ack()


def _inject_server(socket: Socket, ctx: Context) -> object:
    return socket.server


def _inject_event(socket: Socket, ctx: Context) -> str | None:
    return ctx.event


class Binding:
    """How one handler is called.

    Args:
      function: The handler as it was written.
      where: Its name for error messages, such as ``"ChatController.say"``.
      bound: Whether the first parameter is filled in by Python itself.
      event: The event that it handles; ``None`` for a hook, and for a handler of any.
      takes_event: Whether its first parameter takes the event's name, as that of a handler of any event does.
      hook_arguments: What a hook may take besides injected parameters: 1, the reason, for a disconnection hook.
      variables: The type variables of its class.

    Attributes:
      needs_context: Whether a parameter is annotated `Context` or `Ack`, or takes the name of an event that no other handler is for.
      injects_ack: Whether a parameter is annotated `Ack`.
      keywords: Keyword-only parameters that are filled in.
      arguments: The parameters that take one argument of a message each, with what their annotations mean.
      rest: The one that takes all others; ``None``: there is none.

    Raises:
      RouteError: if a message cannot be made to fit.
    """

    __slots__ = (
        "_checks",
        "_count",
        "_injected",
        "_parameters",
        "_required",
        "_rest",
        "_subject",
        "_where",
        "arguments",
        "injects_ack",
        "keywords",
        "needs_context",
        "rest",
    )

    def __init__(
        self,
        function: Callable[..., object],
        where: str,
        *,
        bound: bool,
        event: str | None,
        takes_event: bool = False,
        hook_arguments: int = 0,
        variables: Variables = NO_VARIABLES,
    ) -> None:
        self._where = where
        self._subject = "This event" if event is None else f"Event {event!r}"
        self._rest: Parameter | None = None
        self.needs_context = self.injects_ack = False
        parameters: list[Parameter] = []
        arguments: list[tuple[Parameter, Any]] = []
        self.rest: tuple[Parameter, Any] | None = None
        injected: list[tuple[int, _Injector]] = []
        keywords: list[tuple[str, _Injector]] = []
        names_event = takes_event
        for position, parameter in enumerate(_parameters_of(function, where, bound=bound)):
            annotation = resolve_annotation(function, parameter, where, variables)
            injector = self._injector(annotation)
            if injector is None and names_event and parameter.kind in _POSITIONAL:
                injector, names_event = self._event_injector(annotation, parameter.name), False
            if parameter.kind is inspect.Parameter.VAR_KEYWORD:
                continue
            if parameter.kind is inspect.Parameter.KEYWORD_ONLY:
                if injector is not None:
                    keywords.append((parameter.name, injector))
                elif parameter.default is _EMPTY:
                    raise RouteError(
                        f"{where}: the keyword-only parameter {parameter.name!r} can never be filled; "
                        "messages have positional arguments only. Remove the `*` before it, or give it a default."
                    )
            elif parameter.kind is inspect.Parameter.VAR_POSITIONAL:
                self._rest = compile_parameter(parameter, annotation, where)
                self.rest = (self._rest, annotation)
            elif injector is not None:
                injected.append((position, injector))
            else:
                parameters.append(compile_parameter(parameter, annotation, where))
                arguments.append((parameters[-1], annotation))
        self._parameters = tuple(parameters)
        self.arguments = tuple(arguments)
        self._injected = tuple(injected)
        self.keywords = tuple(keywords)
        self._count = len(parameters)
        self._required = sum(parameter.default is _EMPTY for parameter in parameters)
        self._checks = tuple((index, item.exact) for index, item in enumerate(parameters) if item.exact is not None)
        if names_event:
            first = f"{next(iter(inspect.signature(function).parameters))}, " if bound else ""
            name = where.rpartition(".")[2]
            raise RouteError(f"{where} has no parameter for the event's name; write `{name}({first}event: str, *args)`.")
        if event is None and not takes_event:
            self._check_hook(hook_arguments)

    def _injector(self, annotation: object) -> _Injector | None:
        if annotation is Socket or typing.get_origin(annotation) is Socket:
            return _inject_socket
        if annotation is Context:
            self.needs_context = True
            return _inject_context
        if annotation is Ack:
            self.needs_context = self.injects_ack = True
            return _inject_ack
        # `server` is above this package, so its class is known by name only.
        if isinstance(annotation, type) and (annotation.__module__, annotation.__qualname__) == ("trio_sio.server", "Server"):
            return _inject_server
        return None

    def _event_injector(self, annotation: object, name: str) -> _Injector:
        if annotation is not str and annotation not in UNTOUCHED:
            raise RouteError(
                f"{self._where}: the first parameter of an @on_any_message handler takes the event's name, so {name!r} cannot be "
                f"{spell(annotation)}; annotate it with str."
            )
        self.needs_context = True
        return _inject_event

    def _check_hook(self, arguments: int) -> None:
        if self.injects_ack:
            raise RouteError(f"{self._where}: a hook has nothing to acknowledge; remove the parameter annotated Ack.")
        if self._required > arguments:
            name = self._parameters[arguments].name
            given = "the reason and " if arguments else ""
            raise RouteError(
                f"{self._where}: nothing fills the parameter {name!r}; a hook like this takes {given}"
                "parameters annotated Socket, Context or Server."
            )

    def bind(self, args: list[Any], socket: Socket, ctx: Context | None) -> list[Any]:
        """Turn the arguments of a message into those of the handler.

        Args:
          args: What came; changed in place.
          socket: For parameters annotated `Socket` and `Server`.
          ctx: For parameters annotated `Context` and `Ack`; may be ``None`` when there are none.

        Raises:
          BadMessage: if they do not fit.
        """
        given = len(args)
        if given != self._count:
            self._fit(args, socket)
        for index, exact in self._checks:
            # A default that was filled in is the application's own business.
            if type(args[index]) not in exact and index < given:
                args[index] = self._parameters[index].convert(index, args[index])
        for position, injector in self._injected:
            args.insert(position, injector(socket, ctx))
        return args

    def bind_hook(self, args: Sequence[object], socket: Socket, ctx: Context) -> list[Any]:
        """Like `bind`, for a hook: ``args`` come from the server itself, and the hook need not take them."""
        bound: list[Any] = [*(args if self._rest is not None else args[: self._count])]
        bound.extend(parameter.default for parameter in self._parameters[len(bound) :])
        for position, injector in self._injected:
            bound.insert(position, injector(socket, ctx))
        return bound

    def bind_keywords(self, socket: Socket, ctx: Context | None) -> dict[str, object]:
        """Return the keyword arguments of the handler."""
        return {name: injector(socket, ctx) for name, injector in self.keywords}

    def _fit(self, args: list[Any], socket: Socket) -> None:
        given = len(args)
        if given < self._required:
            were = "was" if given == 1 else "were"
            raise BadMessage(f"{self._subject} takes {self._expectation()}, but {given or 'none'} {were} given")
        if given < self._count:
            args.extend(parameter.default for parameter in self._parameters[given:])
        elif self._rest is None:
            logger.debug("%s takes %s; dropped %d more from socket %s", self._where, self._expectation(), given - self._count, socket.id)
            del args[self._count :]
        elif (exact := self._rest.exact) is not None:
            for index in range(self._count, given):
                if type(args[index]) not in exact:
                    args[index] = self._rest.convert(index, args[index])

    def _expectation(self) -> str:
        if self._rest is not None:
            return f"at least {_arguments(self._required)}"
        if self._required == self._count:
            return _arguments(self._count)
        return f"{self._required} to {_arguments(self._count)}"


def _arguments(count: int) -> str:
    return f"{count or 'no'} argument{'' if count == 1 else 's'}"


def _parameters_of(function: Callable[..., object], where: str, *, bound: bool) -> list[inspect.Parameter]:
    parameters = list(inspect.signature(function).parameters.values())
    if not bound:
        return parameters
    if not parameters or parameters[0].kind not in (*_POSITIONAL, inspect.Parameter.VAR_POSITIONAL):
        raise RouteError(f"{where} takes no first parameter; add `self` (or `socket`, for a function).")
    return parameters[1:] if parameters[0].kind in _POSITIONAL else parameters

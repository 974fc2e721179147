"""Events that a server emits, declared once, by the name and the signature of a function that is never called."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain, repeat
from typing import Any, Final, Generic, NoReturn, ParamSpec, Protocol, TypeVar, TypeVarTuple, cast, overload

from ..errors import BadAnswer, BadMessage, EncodeError, RouteError
from ..protocol.checks import RESERVED_EVENTS
from ..protocol.records import to_plain
from .annotations import resolve_annotation, resolve_result
from .answers import acknowledged
from .conversion import UNTOUCHED, Parameter, compile_parameter

__all__ = ["DeclaredEvent", "ServerEvent", "declared", "heard", "name_of_event", "server_event", "spelled"]

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
Ts = TypeVarTuple("Ts")

# Names that the methods which take an event's arguments have for themselves.
_TAKEN: Final = ("self", "event", "timeout")
# What people who come from elsewhere say with a keyword, and how that is said here.
_KEYWORDS: Final = {
    "to": 'write `await server.to("room").emit(...)`',
    "room": 'write `await server.to("room").emit(...)`',
    "rooms": 'write `await server.to("a", "b").emit(...)`',
    "include_self": "write `socket.broadcast` for everybody else, `socket.namespace` for all",
    "skip_sid": "write `await server.except_(sid).emit(...)`",
    "namespace": 'write `await server.of("/namespace").emit(...)`',
    "callback": "write `answer = await socket.emit_with_ack(...)`",
    "ack": "write `answer = await socket.emit_with_ack(...)`",
    "data": "give it without a name, behind the event",
    "volatile": "write `await server.volatile().emit(...)`",
    "broadcast": "write `await socket.broadcast.emit(...)`",
    "timeout": "only what waits for an answer has one: `emit_with_ack(..., timeout=5)`",
}


class DeclaredEvent(Protocol[R_co, *Ts]):
    """A `ServerEvent`, as a type checker sees it where its arguments are given, or come, without their names."""

    @property
    def name(self) -> str:
        """See `ServerEvent`."""

    def __call__(self, *args: *Ts) -> R_co:
        """Never called: this is how the types of the arguments are known."""


class ServerEvent(Generic[P, R_co]):
    """An event that clients hear, made by `server_event`. It goes wherever the name of an event does.

    Attributes:
      name: The event's name.
      function: What has the signature, and the docstring.
    """

    def __init__(self, name: str, function: Callable[P, R_co]) -> None:
        self.name = name
        self.function = function
        self.where = function.__qualname__.rpartition("<locals>.")[2]
        self._signature = inspect.signature(function)
        self._names = _check(self)
        parameters = self._signature.parameters.values()
        self._required = sum(one.default is one.empty and one.kind is not one.VAR_POSITIONAL for one in parameters)
        self._has_rest = len(self._names) < len(parameters)
        self._terms: _Terms | None = None

    def __repr__(self) -> str:
        return f"<ServerEvent {self.name!r} {self._spelled}>"

    def __call__(self, *args: P.args, **named: P.kwargs) -> R_co:
        """Raise `TypeError`: an event is emitted, not called."""
        raise TypeError(f"{self.where} is an event, which is not called; write `await socket.emit({self.where}, ...)`.")

    @property
    def _spelled(self) -> str:
        signature = self._signature
        parameters = [one.replace(annotation=_as_written(one.annotation)) for one in signature.parameters.values()]
        return f"{self.where}{signature.replace(parameters=parameters, return_annotation=_as_written(signature.return_annotation))}"

    @property
    def terms(self) -> _Terms:
        """What its annotations mean.

        Raises:
          RouteError: if a message cannot carry one of them.
        """
        if self._terms is None:
            self._terms = _Terms(self.function, self.where)
        return self._terms

    def bind(self, args: tuple[object, ...], named: Mapping[str, object]) -> tuple[object, ...]:
        """Return the arguments to send: those that were given, by place or by name, and the defaults of the others.

        Raises:
          TypeError: if they are not those of the declaration.
        """
        if not named and (len(args) == len(self._names) or (self._has_rest and len(args) > len(self._names))):
            return args
        try:
            bound = self._signature.bind(*args, **named)
        except TypeError as exc:
            raise TypeError(f"Event {self.name!r} is declared as {self._spelled}: {exc}.") from None
        bound.apply_defaults()
        return bound.args

    def check(self, args: Sequence[object]) -> None:
        """Raise `EncodeError` unless ``args`` are what the annotations say, as clients get them."""
        for index, (parameter, value) in enumerate(zip(self.terms.places(), args, strict=False)):
            if parameter.exact is None or type(value) in parameter.exact:
                continue
            try:
                parameter.convert(index, _as_sent(value))
            except BadMessage as exc:
                where = exc.path or f"$[{index}]"
                raise EncodeError(
                    f"Event {self.name!r}: argument {parameter.name!r} is not what {self.where} declares: {exc} at {where}."
                ) from exc

    def arguments(self, args: Sequence[Any]) -> tuple[Any, ...]:
        """Return the arguments that came, as the annotations want them: too many are dropped, for those left out there are defaults.

        Raises:
          BadMessage: if they do not fit.
        """
        terms = self.terms
        if len(args) < self._required:
            raise BadMessage(f"Event {self.name!r} is declared with at least {self._required} arguments, but {len(args)} came")
        came = [
            value if parameter.exact is None or type(value) in parameter.exact else parameter.convert(index, value)
            for index, (parameter, value) in enumerate(zip(terms.places(), args, strict=False))
        ]
        return (*came, *(parameter.default for parameter in terms.parameters[len(came) :]))

    def answer(self, values: Sequence[object]) -> R_co:
        """Return what a client has answered, as the annotation of the result wants it; with ``-> None`` nothing is looked at.

        Raises:
          BadAnswer: if it does not fit.
        """
        result = self.terms.result
        if result is None:
            return cast("R_co", None)
        value: object = list(values) if self.terms.has_several_results else acknowledged(values)
        if result.exact is None or type(value) in result.exact:
            return cast("R_co", value)
        try:
            return cast("R_co", result.convert(0, value))
        except BadMessage as exc:
            path = f"${exc.path.removeprefix('$[0]')}"
            raise BadAnswer(f"The answer to event {self.name!r} is not what {self.where} declares: {exc} at {path}", path) from exc


class _Terms:
    """What the annotations of a declaration mean, found out when they are first needed: they may name what is defined below it.

    Attributes:
      parameters: Those that take one argument each.
      rest: The one that takes all others, if there is one.
      result: What a client answers; ``None``: nothing.
      has_several_results: Whether it is a tuple: several values.
      annotations: What the annotations of the parameters mean, that of ``rest`` behind the others.
      annotation: What the annotation of the result means.
    """

    __slots__ = ("annotation", "annotations", "has_several_results", "parameters", "rest", "result")

    def __init__(self, function: Callable[..., object], where: str) -> None:
        self.rest: Parameter | None = None
        parameters = []
        annotations = []
        for parameter in inspect.signature(function).parameters.values():
            annotation = resolve_annotation(function, parameter, where)
            compiled = compile_parameter(parameter, annotation, where)
            annotations.append(annotation)
            if parameter.kind is parameter.VAR_POSITIONAL:
                self.rest = compiled
            else:
                parameters.append(compiled)
        self.parameters = tuple(parameters)
        self.annotations = tuple(annotations)
        self.annotation: Any = resolve_result(function, where)
        self.result: Parameter | None = None
        if self.annotation not in (None, type(None)):
            self.result = compile_parameter(inspect.Parameter("return_", inspect.Parameter.POSITIONAL_ONLY), self.annotation, where)
        origin = getattr(self.annotation, "__origin__", self.annotation)
        self.has_several_results = self.annotation not in UNTOUCHED and origin is tuple

    def places(self) -> Iterator[Parameter]:
        """Yield the parameter of each argument."""
        return chain(self.parameters, () if self.rest is None else repeat(self.rest))


@overload
def server_event(function: Callable[P, R], /) -> ServerEvent[P, R]: ...
@overload
def server_event(name: str, /) -> Callable[[Callable[P, R]], ServerEvent[P, R]]: ...


def server_event(function: Any, /) -> Any:
    """Declare an event that clients hear: what it is called, what comes with it, and what they answer.

    The function is never called; its name, or the one that is given, and its signature are the event. Where a client answers
    something, mypy wants another body than ``...``, such as ``raise NotImplementedError``::

        @server_event
        def said(name: str, message: Message) -> None: ...

        @server_event("question")
        def ask(text: str) -> int: ...

    What it makes stands wherever the name of an event does, and there type checkers check the arguments:
    ``await socket.to("lobby").emit(said, "Ann", message)``, ``age = await socket.emit_with_ack(ask, "How old?", timeout=5)``.

    Raises:
      RouteError: if it cannot be an event.
    """
    if isinstance(function, str):
        name = function
        return lambda function: _declare(name, function)
    return _declare(getattr(function, "__name__", ""), function)


def _declare(name: str, function: object) -> ServerEvent[..., Any]:
    if not inspect.isfunction(function):
        raise RouteError(f"@server_event is on {function!r:.80}, which is no function; write `@server_event` above `def said(text: str)`.")
    return ServerEvent(name, function)


def _check(event: ServerEvent[..., object]) -> list[str]:
    """Return the names of the parameters that take one argument each, or raise `RouteError` if it cannot be an event."""
    where, function = event.where, event.function
    if not event.name or event.name in RESERVED_EVENTS:
        raise RouteError(f"{where}: the event name {event.name!r} is {'reserved' if event.name else 'empty'}; choose another one.")
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RouteError(f"{where} declares an event and is never called; write it with `def`, and `...` as its body.")
    names = []
    for index, parameter in enumerate(event._signature.parameters.values()):
        if parameter.kind in (parameter.KEYWORD_ONLY, parameter.VAR_KEYWORD):
            raise RouteError(f"{where}: the parameter {parameter.name!r} has no place in a message, which has positional arguments only.")
        if index == 0 and parameter.name == "self":
            raise RouteError(f"{where} is in a class; declare events outside of it, and without `self`.")
        if parameter.name in _TAKEN and parameter.kind is parameter.POSITIONAL_OR_KEYWORD:
            raise RouteError(
                f"{where}: a parameter called {parameter.name!r} could not be told from one of `emit_with_ack`; rename it, or write `/` "
                "behind it."
            )
        if parameter.kind is not parameter.VAR_POSITIONAL:
            names.append(parameter.name)
    return names


class _Text(str):
    """Looks like what was written, where the text of an annotation would be shown as a string."""

    __slots__ = ()

    def __repr__(self) -> str:
        return str(self)


def _as_written(annotation: Any) -> Any:
    return _Text(annotation) if isinstance(annotation, str) else annotation


def _as_sent(value: object) -> object:
    return bytes(value) if isinstance(value, bytearray | memoryview) else to_plain(value)


# Where an event, or only its name, is given.


def declared(event: object) -> ServerEvent[..., Any] | None:
    """Return ``event`` if it is a declared one."""
    return event if isinstance(event, ServerEvent) else None


def name_of_event(event: str | ServerEvent[..., object]) -> str:
    """Return the name of ``event``, or what was given instead of one."""
    return event.name if isinstance(event, ServerEvent) else event


def spelled(event: Any, args: tuple[object, ...], named: Mapping[str, object], *, check: bool) -> tuple[str, tuple[object, ...]]:
    """Return the name and the arguments to send for what `emit` and the like were called with.

    Args:
      event: The event, or its name.
      args, named: Its arguments.
      check: Whether those of a declared event are checked against its annotations (`Config.check_events`).

    Raises:
      TypeError: if they are not those that it was declared with, or have names although the event is only a name.
      EncodeError: if they are not of the types that it was declared with.
    """
    if isinstance(event, ServerEvent):
        sent = event.bind(args, named)
        if check:
            event.check(sent)
        return event.name, sent
    if named:
        _refuse_names(event, next(iter(named)))
    if not isinstance(event, str):
        raise EncodeError(
            f"The name of an event is {event!r:.80}; it must be a string, or a function under `@server_event`."
            if callable(event)
            else f"The name of an event is {event!r:.40}; it must be a string."
        )
    return event, args


def _refuse_names(event: object, name: str) -> NoReturn:
    hint = _KEYWORDS.get(name, "only an event that is declared with @server_event has arguments with names")
    raise TypeError(f"Event {event!r:.80} is emitted with {name}=, which a string as its name does not take; {hint}.")


def heard(event: str | ServerEvent[..., object], args: Sequence[Any]) -> tuple[Any, ...]:
    """Return the arguments that came with ``event``, converted if it is a declared one.

    Raises:
      BadMessage: if they do not fit.
    """
    return event.arguments(args) if isinstance(event, ServerEvent) else tuple(args)

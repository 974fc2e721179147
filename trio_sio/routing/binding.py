"""From what a client sent to what a handler takes: compiled once per handler, when the routing table is built.

Three kinds of parameters: those annotated with `Socket`, `Context`, `Ack` or `Server` are filled in; those before and
between them take the message's arguments in order; ``*args`` takes the rest. A value whose exact type its annotation
names is passed as it is; only the others meet `msgspec.convert`, with bytes as a built-in type, so that text never
becomes bytes.
"""

from __future__ import annotations

import inspect
import logging
import re
import types
import typing
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import BadMessage, RouteError
from ..namespaces.acks import Ack
from ..namespaces.socket import Socket
from .middleware import Context

__all__ = ["Binding", "resolve_annotation"]

logger = logging.getLogger("trio_sio.routing")

_Injector = Callable[[Socket, Any], object]

_EMPTY: Final = inspect.Parameter.empty
_POSITIONAL: Final = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
_EXACT: Final = frozenset({str, int, float, bool, bytes, dict, list, type(None)})
_UNTOUCHED: Final = (Any, object, _EMPTY)
_LOCATION: Final = re.compile(r" - at (?:`key` in )?`(\$[^`]*)`$")


def _inject_socket(socket: Socket, ctx: Context) -> Socket:
    return socket


def _inject_context(socket: Socket, ctx: Context) -> Context:
    return ctx


def _inject_ack(socket: Socket, ctx: Context) -> Ack:
    return ctx._take_ack()


def _inject_server(socket: Socket, ctx: Context) -> object:
    return socket.server


class _Parameter(NamedTuple):
    """One parameter that takes an argument of the message.

    Attributes:
      exact: Values of exactly these types are passed as they are; ``None``: every value is.
      annotation: What `msgspec.convert` makes of other values.
      convertible: Whether msgspec knows the annotation; a union such as ``str | bytes`` it does not.
      integral: Whether 3.0 is as good as 3; JavaScript has one type of number.
    """

    name: str
    default: object
    exact: frozenset[type] | None
    annotation: Any
    convertible: bool
    integral: bool

    def convert(self, index: int, value: object) -> object:
        """Return ``value`` as the annotation wants it.

        Raises:
          BadMessage: if that cannot be; ``index`` is the argument's place in the message.
        """
        if self.integral and type(value) is float and value.is_integer():
            return int(value)
        if not self.convertible:
            raise BadMessage(f"Expected `{self.annotation}`, got `{type(value).__name__}`", f"$[{index}]")
        try:
            return msgspec.convert(value, self.annotation, builtin_types=(bytes,))
        except msgspec.ValidationError as exc:
            text = str(exc)
            if location := _LOCATION.search(text):
                raise BadMessage(text[: location.start()], f"$[{index}]{location[1][1:]}") from exc
            raise BadMessage(text, f"$[{index}]") from exc
        except RecursionError as exc:
            raise BadMessage("Nested too deeply", f"$[{index}]") from exc


class Binding:
    """How one handler is called.

    Args:
      function: The handler as it was written.
      where: Its name for error messages, such as ``"ChatController.say"``.
      bound: Whether the first parameter is filled in by Python itself.
      event: The event that it handles; ``None`` for a hook.
      hook_arguments: What a hook may take besides injected parameters: 1, the reason, for a disconnection hook.

    Attributes:
      needs_context: Whether a parameter is annotated `Context` or `Ack`.
      injects_ack: Whether a parameter is annotated `Ack`.
      keywords: Keyword-only parameters that are filled in.

    Raises:
      RouteError: if a message cannot be made to fit.
    """

    __slots__ = (
        "_checks",
        "_count",
        "_event",
        "_injected",
        "_parameters",
        "_required",
        "_rest",
        "_where",
        "injects_ack",
        "keywords",
        "needs_context",
    )

    def __init__(self, function: Callable[..., object], where: str, *, bound: bool, event: str | None, hook_arguments: int = 0) -> None:
        self._where = where
        self._event = event
        self._rest: _Parameter | None = None
        self.needs_context = self.injects_ack = False
        parameters: list[_Parameter] = []
        injected: list[tuple[int, _Injector]] = []
        keywords: list[tuple[str, _Injector]] = []
        for position, parameter in enumerate(_parameters_of(function, where, bound=bound)):
            annotation = resolve_annotation(function, parameter, where)
            injector = self._injector(annotation)
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
                self._rest = _compile(parameter, annotation, where)
            elif injector is not None:
                injected.append((position, injector))
            else:
                parameters.append(_compile(parameter, annotation, where))
        self._parameters = tuple(parameters)
        self._injected = tuple(injected)
        self.keywords = tuple(keywords)
        self._count = len(parameters)
        self._required = sum(parameter.default is _EMPTY for parameter in parameters)
        self._checks = tuple((index, item.exact) for index, item in enumerate(parameters) if item.exact is not None)
        if event is None:
            self._check_hook(hook_arguments)

    def _injector(self, annotation: object) -> _Injector | None:
        if annotation is Socket:
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
            raise BadMessage(f"Event {self._event!r} takes {self._expectation()}, but {given or 'none'} {were} given")
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


def resolve_annotation(function: Callable[..., object], parameter: inspect.Parameter, where: str) -> Any:
    """Return what the annotation of ``parameter`` means, or `inspect.Parameter.empty`.

    One parameter at a time, so that a return annotation that exists for type checkers only does no harm.

    Raises:
      RouteError: if a name in it does not exist at run time.
    """
    if parameter.annotation is _EMPTY:
        return _EMPTY
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    probe = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    try:
        return typing.get_type_hints(probe, globalns=scope, include_extras=True)[parameter.name]
    except (NameError, AttributeError, TypeError, SyntaxError) as exc:
        raise RouteError(
            f"{where}: the annotation {parameter.annotation!r} of parameter {parameter.name!r} cannot be resolved ({exc}); "
            "import what it names at run time, outside `if TYPE_CHECKING:`, at the top of the module."
        ) from exc


def _compile(parameter: inspect.Parameter, annotation: Any, where: str) -> _Parameter:
    if annotation in _UNTOUCHED:
        return _Parameter(parameter.name, parameter.default, None, Any, convertible=True, integral=False)
    members = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    exact = frozenset(members) if all(isinstance(member, type) and member in _EXACT for member in members) else frozenset()
    try:
        info = msgspec.inspect.type_info(annotation)
    except Exception as exc:
        # Unions of built-in types need no msgspec: their values either have one of the types or do not fit.
        if not exact:
            raise RouteError(f"{where}: parameter {parameter.name!r} cannot be converted to {_spell(annotation)}: {exc}") from exc
        return _Parameter(parameter.name, parameter.default, exact, _spell(annotation), convertible=False, integral=False)
    if (stranger := _find_stranger(info, set())) is not None:
        raise RouteError(
            f"{where}: parameter {parameter.name!r} is annotated {_spell(annotation)}, but a message cannot be converted to "
            f"{stranger.__qualname__}; use built-in types, a dataclass, a TypedDict or a msgspec.Struct, or `object` to get it as it is."
        )
    kinds = {type(item) for item in (info.types if isinstance(info, msgspec.inspect.UnionType) else (info,))}
    integral = msgspec.inspect.IntType in kinds and msgspec.inspect.FloatType not in kinds
    return _Parameter(parameter.name, parameter.default, exact, annotation, convertible=True, integral=integral)


def _find_stranger(info: object, seen: set[int]) -> type | None:
    """Return the first type inside ``info`` that msgspec would only compare with `isinstance`."""
    if id(info) in seen:
        return None
    seen.add(id(info))
    if isinstance(info, msgspec.inspect.CustomType):
        return None if info.cls is object else info.cls
    if isinstance(info, tuple):
        parts: Sequence[object] = info
    elif isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        parts = [getattr(info, name) for name in info.__struct_fields__]
    else:
        return None
    return next((found for part in parts if (found := _find_stranger(part, seen)) is not None), None)


def _spell(annotation: Any) -> str:
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)

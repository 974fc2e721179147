"""What a route is given: a class, a factory, one shared instance, or plain functions; and the handlers in it."""

from __future__ import annotations

import functools
import inspect
import operator
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

from ..concurrency.functions import name_of
from ..errors import RouteError
from ..namespaces.data_types import DataType
from ..namespaces.socket import Socket
from ..signatures.annotations import resolve_annotation, resolve_result
from ..signatures.conversion import UNTOUCHED, spell
from ..signatures.generics import NO_VARIABLES, Variables, variables_of
from .markers import Marks, marks_of
from .registration import Functions

__all__ = ["Controller", "MarkedFunction", "data_maker", "data_type"]

_EMPTY: Final = inspect.Parameter.empty


class MarkedFunction(NamedTuple):
    """One handler as its author wrote it.

    Attributes:
      where: Its name for messages, such as ``"ChatController.say"``.
      method: Its name for the table of routes.
      function: What has the signature.
      marks: What the decorators said.
      bound: Whether the first parameter (``self``; for a plain function the socket) is filled in by Python.
      get: From a controller to what is called. By registered name only: client text never reaches `getattr`.
      variables: The type variables of its class.
    """

    where: str
    method: str
    function: Callable[..., object]
    marks: Marks
    bound: bool
    get: Callable[[Any], Callable[..., object]]
    variables: Variables = NO_VARIABLES


class Controller:
    """Whatever makes the object whose methods are the handlers of a route.

    Args:
      given: What the user wrote: a class, a factory of one parameter (the socket) or none, a `functools.partial` of
        either, an instance that all sockets share, or `Functions`.

    Attributes:
      name: How the user would call it.
      handlers: The handlers, in the order in which they were written, those of base classes first.
      doc: The docstring of its class.
      is_entered: Whether each socket's controller is an async context manager. A shared instance is never entered here:
        whoever made it has done so.
      is_plain: Whether each socket has a controller of its own that is not entered, and may get another socket.
      make: Returns the controller of one socket.

    Raises:
      RouteError: if it is none of these, or has no handler.
    """

    def __init__(self, given: object) -> None:
        self.make: Callable[[Socket], object]
        self.handlers: list[MarkedFunction]
        self.is_entered = self.is_plain = False
        self.doc = ""
        if isinstance(given, Functions):
            # The socket takes the place of `self`, so a function's first parameter is the socket.
            self.name = "(functions)"
            self.make = _same
            self.handlers = [_of_function(function, marks) for function, marks in given.close()]
        else:
            made = _without_partial(given)
            if inspect.isclass(typing.get_origin(made) or made) or inspect.isroutine(made):
                alias = _result_of(made) if inspect.isroutine(made) else made
                cls: type = typing.get_origin(alias) or alias
                self.make = _caller(given, name_of(cls))
                self.is_entered = hasattr(cls, "__aenter__") and hasattr(cls, "__aexit__")
                self.is_plain = not (self.is_entered or issubclass(cls, tuple))  # in which no socket takes the place of another
            else:
                cls = type(given)
                alias = getattr(given, "__orig_class__", None)  # where Python keeps the type arguments of an instance
                self.make = _Shared(given)
            self.name = cls.__qualname__.rpartition("<locals>.")[2]
            self.doc = _doc_of(cls)
            self.handlers = list(_of_class(cls, alias, self.name))
        if not self.handlers:
            raise RouteError(
                f"{self.name} has no handler; mark methods with @on_message, @on_any_message, @on_connection or @on_disconnection."
            )


def data_maker(given: object, where: str) -> Callable[[Socket], object]:
    """Return ``given``, a class or a function, as a function of the socket that makes `Socket.data`.

    Raises:
      RouteError: if it cannot be called with a socket, or with nothing.
    """
    made = _without_partial(given)
    if not (inspect.isclass(made) or inspect.isroutine(made) or inspect.isclass(typing.get_origin(made))):
        raise RouteError(f"{where}: data={given!r:.80} makes no data; give a class, or a function of the socket.")
    if inspect.isroutine(made) and (inspect.iscoroutinefunction(made) or inspect.isgeneratorfunction(made)):
        raise RouteError(f"{where}: data={name_of(made)} is {_kind_of(made)}; what takes time belongs into connection middleware.")
    if inspect.isclass(made) and issubclass(made, dict) and made.__init__ is dict.__init__:
        # A TypedDict, perhaps. It has no signature, and would take what is given for items.
        return lambda socket: typing.cast("Callable[[], object]", given)()
    return _caller(given, name_of(made))


def data_type(given: object) -> DataType | None:
    """Return what `data_maker` makes of ``given``; ``None``: a function does not say what it returns."""
    made = _without_partial(given)
    if not inspect.isroutine(made):
        return DataType(made)
    try:
        result = resolve_result(made, name_of(made))
    except RouteError:
        return None
    if result is typing.Self and inspect.isclass(cls := getattr(made, "__self__", None)):
        result = cls
    return None if result in UNTOUCHED else DataType(result)


def _doc_of(cls: type) -> str:
    doc = inspect.cleandoc(vars(cls).get("__doc__") or "")
    # What a dataclass has when nobody wrote one is its signature.
    return "" if doc.startswith(f"{cls.__name__}(") else doc


def _same(socket: Socket) -> object:
    return socket


class _Shared:
    """A factory that gives the same instance to every socket."""

    __slots__ = ("_instance",)

    def __init__(self, instance: object) -> None:
        self._instance = instance

    def __call__(self, socket: Socket) -> object:
        return self._instance


def _without_partial(factory: Any) -> Any:
    while isinstance(factory, functools.partial):
        factory = factory.func
    return factory


def _without_type_arguments(factory: Any) -> Any:
    """Return a class for ``Crud[Hero]``, which has the signature of nothing."""
    if isinstance(factory, functools.partial):
        return functools.partial(_without_type_arguments(factory.func), *factory.args, **factory.keywords)
    return typing.get_origin(factory) or factory


def _result_of(factory: Callable[..., object]) -> Any:
    """Return the class that ``factory`` says it returns, with its type arguments if it has any."""
    name = name_of(factory)
    if inspect.iscoroutinefunction(factory) or inspect.isgeneratorfunction(factory) or inspect.isasyncgenfunction(factory):
        raise RouteError(f"{name} is {_kind_of(factory)}, but a controller factory is called without `await`; write a plain function.")
    annotation = resolve_result(factory, name)
    cls = typing.get_origin(annotation) or annotation
    if not inspect.isclass(cls) or cls in (_EMPTY, object, type(None)):
        raise RouteError(
            f"The handlers that {name} makes are unknown until it is called; annotate it with the class that it returns, "
            f"as in `def {name.rpartition('.')[2]}(socket: Socket) -> ChatController`."
        )
    return annotation


def _caller(factory: Any, name: str) -> Callable[[Socket], object]:
    """Return ``factory`` as a function of the socket, after a look at its signature."""
    plain = _without_type_arguments(factory)
    made = _without_partial(plain)
    if inspect.isclass(made) and inspect.iscoroutinefunction(made.__init__):
        raise RouteError(f"{name}.__init__ is async, and nobody would await it; do what takes time in __aenter__ or @on_connection.")
    try:
        parameters = list(inspect.signature(plain).parameters.values())
    except ValueError as exc:
        raise RouteError(f"{name} cannot be called with a socket: {exc}.") from exc
    positional = [item for item in parameters if item.kind in (item.POSITIONAL_ONLY, item.POSITIONAL_OR_KEYWORD)]
    required = [item for item in positional if item.default is _EMPTY]
    unfilled = [*required[1:], *(item for item in parameters if item.kind is item.KEYWORD_ONLY and item.default is _EMPTY)]
    if unfilled:
        raise RouteError(
            f"{name} needs more than the socket: nothing fills the parameter {unfilled[0].name!r}; make the socket the first parameter "
            f"and bind the others, as in functools.partial({name}, {unfilled[0].name}=...)."
        )
    if required:
        _check_takes_socket(plain, required[0], name)
        return typing.cast("Callable[[Socket], object]", factory)
    if positional and (positional[0].name == "socket" or _is_socket(_annotation_of(plain, positional[0]))):
        return typing.cast("Callable[[Socket], object]", factory)
    return lambda socket: factory()


def _is_socket(annotation: object) -> bool:
    return annotation is Socket or typing.get_origin(annotation) is Socket


def _annotation_of(factory: Any, parameter: inspect.Parameter) -> object:
    made = _without_partial(factory)
    try:
        return resolve_annotation(made.__init__ if inspect.isclass(made) else made, parameter, "")
    except RouteError:
        # A constructor's annotations are a hint only; nothing is converted by them.
        return _EMPTY


def _is_for_another(annotation: Any, cls: type) -> bool:
    """Tell whether what is annotated so is certainly no instance of ``cls``."""
    annotation = typing.get_origin(annotation) or annotation
    if not inspect.isclass(annotation) or annotation in (_EMPTY, Any) or getattr(annotation, "_is_protocol", False):
        return False
    return not issubclass(cls, annotation) and not issubclass(annotation, cls)


def _check_takes_socket(factory: Any, parameter: inspect.Parameter, name: str) -> None:
    annotation = _annotation_of(factory, parameter)
    if _is_for_another(annotation, Socket):
        raise RouteError(
            f"{name} would be given the socket as {parameter.name!r}, which is annotated {spell(annotation)}; bind it, "
            f"as in functools.partial({name}, {parameter.name}=...), or pass an instance that all sockets share."
        )


def _of_class(cls: type, alias: object, name: str) -> Iterator[MarkedFunction]:
    names = dict.fromkeys(attribute for base in reversed(cls.__mro__) for attribute in vars(base))
    for attribute in names:
        raw = inspect.getattr_static(cls, attribute)
        where = f"{name}.{attribute}"
        marks = marks_of(raw)
        if not marks.handles:
            _check_not_forgotten(cls, attribute, marks, where)
            continue
        function = raw.__func__ if isinstance(raw, staticmethod | classmethod) else raw
        bound = not isinstance(raw, staticmethod)
        if bound and not hasattr(type(function), "__get__"):
            raise RouteError(f"{where} is marked as a handler but is no method; write it with `def` or `async def`.")
        _check_callable(function, where)
        if inspect.isfunction(raw):
            _check_first(function, where, cls, "self")
        variables = variables_of(cls, alias, attribute, name)
        yield MarkedFunction(where, attribute, function, marks, bound, operator.attrgetter(attribute), variables)


def _of_function(function: Callable[..., object], marks: Marks) -> MarkedFunction:
    where = name_of(function)
    _check_callable(function, where)
    _check_first(function, where, Socket, "socket: Socket")
    return MarkedFunction(where, where, function, marks, True, functools.partial(functools.partial, function))


def _check_not_forgotten(cls: type, attribute: str, marks: Marks, where: str) -> None:
    if marks.replies:
        raise RouteError(f"{where} has @emits or @broadcasts but handles nothing; add @on_message, @on_connection or @on_disconnection.")
    for base in cls.__mro__[1:]:
        if marks_of(vars(base).get(attribute)).handles:
            raise RouteError(
                f"{where} overrides the handler {base.__qualname__}.{attribute} without a marker of its own; repeat the decorator."
            )


def _check_callable(function: object, where: str) -> None:
    if not callable(function):
        raise RouteError(f"{where} is marked as a handler but cannot be called; write it with `def` or `async def`.")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        raise RouteError(
            f"{where} is {_kind_of(function)}, but a handler returns one result; emit the others with `await socket.emit(...)`."
        )


def _check_first(function: Callable[..., object], where: str, cls: type, written: str) -> None:
    """Raise `RouteError` if the first parameter, which gets an instance of ``cls``, is annotated as something of the message."""
    first = next(iter(inspect.signature(function).parameters.values()), None)
    if first is None or first.kind is first.VAR_POSITIONAL:
        return
    if _is_for_another(annotation := _annotation_of(function, first), cls):
        filler = "the controller" if written == "self" else "the socket"
        raise RouteError(
            f"{where}: its first parameter gets {filler}, so {first.name!r} cannot be {spell(annotation)}; "
            f"write `{written}` before it, or in its place."
        )


def _kind_of(function: object) -> str:
    if inspect.isasyncgenfunction(function):
        return "an asynchronous generator"
    return "a generator" if inspect.isgeneratorfunction(function) else "a coroutine function"

"""One argument of a message on its way into one parameter: passed as it is, converted by `msgspec.convert`, or refused.

bytes are a built-in type here, so text never becomes bytes. A pydantic model, wherever it stands in an annotation, makes
what is in its place by its own rules.
"""

from __future__ import annotations

import inspect
import re
import sys
import types
import typing
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from ..errors import BadMessage, RouteError
from ..protocol.records import is_model

__all__ = ["UNTOUCHED", "Parameter", "compile_parameter", "parts_of", "spell"]

UNTOUCHED: Final = (Any, object, inspect.Parameter.empty)
"""Annotations that say: whatever comes."""

_EXACT: Final = frozenset({str, int, float, bool, bytes, dict, list, type(None)})
_MOST_ERRORS: Final = 100  # of a pydantic model; looking at the first means making all of them
_LONGEST_NAME: Final = 80  # characters of a field
_LOCATION: Final = re.compile(r" - at (?:`key` in )?`(\$[^`]*)`$")


class Parameter(NamedTuple):
    """One parameter that takes an argument of the message.

    Attributes:
      exact: Values of exactly these types are passed as they are; ``None``: every value is.
      annotation: What `msgspec.convert` makes of other values.
      convertible: Whether msgspec knows the annotation; a union such as ``str | bytes`` it does not.
      integral: Whether 3.0 is as good as 3; JavaScript has one type of number.
      hook: What makes the pydantic models in the annotation, if there are any.
    """

    name: str
    default: object
    exact: frozenset[type] | None
    annotation: Any
    convertible: bool
    integral: bool
    hook: Callable[[Any, object], object] | None = None

    def convert(self, index: int, value: object) -> object:
        """Return ``value`` as the annotation wants it.

        Raises:
          BadMessage: if that cannot be; ``index`` is the argument's place in the message.
        """
        if self.integral and type(value) is float and value.is_integer():
            value = int(value)
        if not self.convertible:
            raise BadMessage(f"Expected `{self.annotation}`, got `{type(value).__name__}`", f"$[{index}]")
        try:
            return msgspec.convert(value, self.annotation, builtin_types=(bytes,), dec_hook=self.hook)
        except msgspec.ValidationError as exc:
            text = str(exc)
            path = f"$[{index}]"
            if location := _LOCATION.search(text):
                text, path = text[: location.start()], f"{path}{location[1][1:]}"
            if isinstance(cause := exc.__cause__, _InvalidModel):
                text, path = cause.message, f"{path}{cause.path}"
            raise BadMessage(text, path) from exc
        except RecursionError as exc:
            raise BadMessage("Nested too deeply", f"$[{index}]") from exc


class _InvalidModel(ValueError):
    """What a pydantic model says about a value, in our words; msgspec adds where the model stands."""

    def __init__(self, message: str, path: str) -> None:
        super().__init__(message)
        self.message = message
        self.path = path


def _validate_model(cls: Any, value: object) -> object:
    """Make a pydantic model (msgspec asks for what it does not know itself)."""
    try:
        return cls.model_validate(value)
    except sys.modules["pydantic"].ValidationError as exc:
        if (count := exc.error_count()) > _MOST_ERRORS:
            raise _InvalidModel(f"{count} validation errors", "") from exc
        # Not its text, which quotes what came.
        error = exc.errors(include_url=False, include_context=False, include_input=False)[0]
        raise _InvalidModel(error["msg"], "".join(map(_spell_step, error["loc"]))) from exc


def _spell_step(step: int | str) -> str:
    if isinstance(step, int):
        return f"[{step}]"
    # What is no name in a program is a key that the client made up; msgspec leaves it out as well.
    return f".{step}" if step.isidentifier() and len(step) <= _LONGEST_NAME else "[...]"


def compile_parameter(parameter: inspect.Parameter, annotation: Any, where: str) -> Parameter:
    """Prepare the conversion to ``annotation``, what the parameter's annotation means.

    Raises:
      RouteError: if nothing that a message carries can be converted to it.
    """
    if annotation in UNTOUCHED:
        return Parameter(parameter.name, parameter.default, None, Any, convertible=True, integral=False)
    members = typing.get_args(annotation) if typing.get_origin(annotation) in (typing.Union, types.UnionType) else (annotation,)
    exact = frozenset(members) if all(isinstance(member, type) and member in _EXACT for member in members) else frozenset()
    try:
        info = msgspec.inspect.type_info(annotation)
    except Exception as exc:
        # Unions of built-in types need no msgspec: their values either have one of the types or do not fit.
        if not exact:
            raise RouteError(f"{where}: parameter {parameter.name!r} cannot be converted to {spell(annotation)}: {exc}") from exc
        return Parameter(parameter.name, parameter.default, exact, spell(annotation), convertible=False, integral=False)
    parts = list(parts_of(info))
    for part in parts:
        _check_part(part, annotation, f"{where}: parameter {parameter.name!r}")
    hook = _validate_model if any(isinstance(part, msgspec.inspect.CustomType) and is_model(part.cls) for part in parts) else None
    kinds = {type(item) for item in (info.types if isinstance(info, msgspec.inspect.UnionType) else (info,))}
    integral = msgspec.inspect.IntType in kinds and msgspec.inspect.FloatType not in kinds
    return Parameter(parameter.name, parameter.default, exact, annotation, convertible=True, integral=integral, hook=hook)


def parts_of(info: object, seen: set[int] | None = None) -> Iterator[msgspec.inspect.Type]:
    """Yield the type that ``info`` is, and those inside it, each once."""
    seen = set() if seen is None else seen
    if id(info) in seen:
        return
    seen.add(id(info))
    if isinstance(info, tuple):
        inner: Sequence[object] = info
    elif isinstance(info, msgspec.inspect.Type | msgspec.inspect.Field):
        if isinstance(info, msgspec.inspect.Type):
            yield info
        inner = [getattr(info, name) for name in info.__struct_fields__]
    else:
        return
    for part in inner:
        yield from parts_of(part, seen)


def _check_part(info: msgspec.inspect.Type, annotation: Any, what: str) -> None:
    """Raise `RouteError` if no value of a message can become ``info``, or only by skipping its own rules."""
    stranger: type | None = None
    if isinstance(info, msgspec.inspect.CustomType):
        # msgspec would only compare with `isinstance`.
        stranger = None if info.cls is object or is_model(info.cls) else info.cls
    elif isinstance(info, msgspec.inspect.DataclassType) and hasattr(info.cls, "__pydantic_validator__"):
        # msgspec takes pydantic's dataclasses for ordinary ones, and would skip their checks.
        stranger = info.cls
    elif isinstance(info, msgspec.inspect.DictType) and isinstance(info.key_type, msgspec.inspect.IntType | msgspec.inspect.FloatType):
        # msgspec could make numbers of them; those a client can choose so that they all collide, and a dict takes minutes.
        raise RouteError(f"{what} is annotated {spell(annotation)}, but the keys of an object are text; use str as the type of the keys.")
    if stranger is not None:
        raise RouteError(
            f"{what} is annotated {spell(annotation)}, but a message cannot be converted to {stranger.__qualname__}; use built-in types, "
            "a dataclass, a TypedDict, a msgspec.Struct or a pydantic.BaseModel, or `object` to get it as it is."
        )


def spell(annotation: Any) -> str:
    """Return how a user would recognise an annotation."""
    return annotation.__qualname__ if isinstance(annotation, type) else str(annotation)

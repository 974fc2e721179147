"""What the type variables of a generic controller stand for: ``item: T`` in ``Crud[T]``, as ``class Heroes(Crud[Hero])`` says."""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from ..errors import RouteError

__all__ = ["NO_VARIABLES", "Variables", "variables_of"]

_NO_DEFAULT: Final = getattr(typing, "NoDefault", None)  # Python 3.13


class Variables(NamedTuple):
    """The type variables of the class that one handler was written in.

    Attributes:
      controller: The controller that has the handler now, perhaps by inheritance.
      owner: The class in which it was written; ``None`` for plain functions.
      values: What they stand for, as far as anybody says so.
    """

    controller: str
    owner: type | None
    values: Mapping[Any, Any]

    @property
    def names(self) -> dict[str, Any]:
        """The variables by name, for annotations that are text."""
        return {variable.__name__: variable for variable in _parameters_of(self.owner)}

    def resolve(self, annotation: Any, what: str) -> Any:
        """Return ``annotation`` without type variables.

        One of the class that nobody has bound is its default, its bound, or one of its constraints; one of a function's own,
        or of nobody, is so, too, or may be anything.

        Raises:
          RouteError: if it is none of these; ``what`` names the parameter.
        """
        if isinstance(annotation, type):
            return annotation  # a generic class without arguments has variables, too, but means what it says
        if _is_variable(annotation):
            return self._value_of(annotation, what)
        variables = getattr(annotation, "__parameters__", ())
        if not variables:
            return annotation
        if not all(map(_is_variable, variables)):
            raise RouteError(f"{what} is annotated {annotation}, and only a TypeVar can be resolved in an annotation; write the types.")
        return annotation[tuple(self._value_of(variable, what) for variable in variables)]

    def _value_of(self, variable: Any, what: str) -> Any:
        value = self.values.get(variable, variable)
        if value is not variable:
            return self.resolve(value, what)
        if (default := _default_of(variable)) is not _NO_DEFAULT:
            return self.resolve(_evaluate(default, variable.__module__, what), what)
        if variable.__bound__ is not None:
            return _evaluate(variable.__bound__, variable.__module__, what)
        if variable.__constraints__:
            return _evaluate(typing.Union[variable.__constraints__], variable.__module__, what)  # noqa: UP007  # a tuple of them
        if self.owner is None or not self._is_of_class(variable):
            return Any
        raise RouteError(
            f"{what} is annotated with the type variable {variable.__name__}, and nobody says what it is for {self.controller}; "
            f"name the type where the class is inherited from, as in `class {self.controller}({self.owner.__name__}[...])`."
        )

    def _is_of_class(self, variable: Any) -> bool:
        # By way of a value also one of a class between the two.
        return variable in _parameters_of(self.owner) or variable in {
            inner for value in self.values.values() for inner in (value, *getattr(value, "__parameters__", ()))
        }


NO_VARIABLES: Final = Variables("", None, {})


def variables_of(cls: type, alias: object, attribute: str, name: str) -> Variables:
    """Return the type variables of the class in which the attribute of ``cls`` was written.

    Args:
      cls: The controller.
      alias: How it was given, if that was with type arguments, such as ``Crud[Hero]``.
      attribute: The name of the attribute.
      name: The name of the controller.

    Raises:
      RouteError: if a type that was given as text does not exist.
    """
    owner = next(base for base in cls.__mro__ if attribute in vars(base))
    values = dict(zip(_parameters_of(cls), typing.get_args(alias), strict=False))
    return Variables(name, owner, _search(cls, values, owner, name) or {})


def _search(cls: type, values: Mapping[Any, Any], owner: type, name: str) -> Mapping[Any, Any] | None:
    """Return what the variables of ``owner``, a base of ``cls``, stand for if those of ``cls`` stand for ``values``."""
    if cls is owner:
        return values
    for base in vars(cls).get("__orig_bases__", cls.__bases__):
        origin = typing.get_origin(base) or base
        if not isinstance(origin, type) or not issubclass(origin, owner):
            continue
        given = [_evaluate(arg, cls.__module__, f"A type argument of {cls.__qualname__}") for arg in typing.get_args(base)]
        inner = {variable: _substitute(arg, values) for variable, arg in zip(_parameters_of(origin), given, strict=False)}
        if (found := _search(origin, inner, owner, name)) is not None:
            return found
    return None


def _substitute(annotation: Any, values: Mapping[Any, Any]) -> Any:
    if _is_variable(annotation):
        return values.get(annotation, annotation)
    if isinstance(annotation, type):
        return annotation
    variables = getattr(annotation, "__parameters__", ())
    return annotation[tuple(values.get(variable, variable) for variable in variables)] if variables else annotation


def _evaluate(annotation: Any, module: str, what: str) -> Any:
    """Return what ``annotation`` means, which may be, or have in it, text that was written in ``module``."""
    probe = types.SimpleNamespace(__annotations__={"it": annotation})
    try:
        return typing.get_type_hints(probe, globalns=vars(sys.modules[module]), include_extras=True)["it"]
    except (NameError, AttributeError, TypeError, SyntaxError, KeyError) as exc:
        raise RouteError(f"{what}, {annotation!r}, cannot be resolved ({exc}); name a type that exists at run time.") from exc


def _default_of(variable: Any) -> Any:
    return getattr(variable, "__default__", _NO_DEFAULT)


def _is_variable(annotation: object) -> bool:
    return isinstance(annotation, typing.TypeVar)


def _parameters_of(cls: type | None) -> tuple[Any, ...]:
    return getattr(cls, "__parameters__", ())

"""What the annotation of one parameter means, text and type variables resolved."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable
from typing import Any, Final

from ..errors import RouteError
from .generics import NO_VARIABLES, Variables

__all__ = ["resolve_annotation", "resolve_result"]

_EMPTY: Final = inspect.Parameter.empty


def resolve_annotation(
    function: Callable[..., object], parameter: inspect.Parameter, where: str, variables: Variables = NO_VARIABLES
) -> Any:
    """Return what the annotation of ``parameter`` means, or `inspect.Parameter.empty`.

    One parameter at a time, so that a return annotation that exists for type checkers only does no harm.

    Raises:
      RouteError: if a name in it does not exist at run time, or a type variable in it stands for nothing.
    """
    if parameter.annotation is _EMPTY:
        return _EMPTY
    scope = getattr(inspect.unwrap(function), "__globals__", {})
    probe = types.SimpleNamespace(__annotations__={parameter.name: parameter.annotation})
    names = {**variables.names, **{variable.__name__: variable for variable in getattr(function, "__type_params__", ())}}
    try:
        annotation = typing.get_type_hints(probe, globalns=scope, localns=names, include_extras=True)[parameter.name]
    except (NameError, AttributeError, TypeError, SyntaxError) as exc:
        raise RouteError(
            f"{where}: the annotation {parameter.annotation!r} of parameter {parameter.name!r} cannot be resolved ({exc}); "
            "import what it names at run time, outside `if TYPE_CHECKING:`, at the top of the module."
        ) from exc
    return variables.resolve(annotation, f"{where}: parameter {parameter.name!r}")


def resolve_result(function: Callable[..., object], where: str, variables: Variables = NO_VARIABLES) -> Any:
    """Return what the annotation of the result means, or `inspect.Parameter.empty`.

    Raises:
      RouteError: as `resolve_annotation`.
    """
    annotation = inspect.signature(function).return_annotation
    if annotation is inspect.Signature.empty:
        return _EMPTY
    return resolve_annotation(
        function, inspect.Parameter("return_", inspect.Parameter.POSITIONAL_ONLY, annotation=annotation), where, variables
    )

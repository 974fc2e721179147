"""`refuses`: with what a function may refuse a client, so that the contract can say it."""

from __future__ import annotations

import functools
import inspect
import typing
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeVar

from ..concurrency.functions import name_of
from ..errors import ConnectionRefused, RouteError

__all__ = ["data_of", "doc_of", "refusals_of", "refuses"]

F = TypeVar("F", bound=Callable[..., object])

_ATTRIBUTE: Final = "_trio_sio_refusals"


def refuses(*refusals: type[ConnectionRefused]) -> Callable[[F], F]:
    """Say that a handler, or middleware, or a class of middleware, may raise ``refusals``: the contract has their ``data``.

    Args:
      refusals: Subclasses of `Refused`, or of `ConnectionRefused` where clients connect only. What they annotate as ``data``
        is the type of that.

    Raises:
      RouteError: if one of them is nothing that a client is refused with.
    """
    given: tuple[object, ...] = refusals  # which may be anything
    for refusal in given:
        if not isinstance(refusal, type) or not issubclass(refusal, ConnectionRefused):
            raise RouteError(f"@refuses({refusal!r:.80}) is nothing to refuse a client with; name subclasses of Refused.")

    def decorate(function: F) -> F:
        marked = function.__func__ if isinstance(function, staticmethod | classmethod) else function
        try:
            setattr(marked, _ATTRIBUTE, (*getattr(marked, _ATTRIBUTE, ()), *refusals))
        except AttributeError:
            raise RouteError(f"{name_of(function)} cannot be marked; put @refuses on a function or a class.") from None
        return function

    return decorate


def refusals_of(*functions: object) -> Iterator[type[ConnectionRefused]]:
    """Yield with what ``functions`` say that they refuse."""
    for function in functions:
        inner = function
        while isinstance(inner, functools.partial):
            inner = inner.func
        yield from getattr(inner, _ATTRIBUTE, ())
        # An instance is marked by its class, or by what runs when it is called.
        yield from getattr(type(inner).__call__, _ATTRIBUTE, ())


def data_of(refusal: type[ConnectionRefused]) -> Any:
    """Return the annotation of the ``data`` of ``refusal``.

    Raises:
      RouteError: if it names what is not there.
    """
    try:
        return typing.get_type_hints(refusal, include_extras=True).get("data", Any)
    except NameError as exc:
        raise RouteError(f"The data of {name_of(refusal)} is annotated with what its module has not: {exc}.") from exc


def doc_of(refusal: type[ConnectionRefused]) -> str:
    """Return the first paragraph of the docstring of ``refusal``, if it has one of its own."""
    return inspect.cleandoc(vars(refusal).get("__doc__") or "").partition("\n\n")[0]

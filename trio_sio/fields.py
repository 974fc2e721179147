"""What the fields of `Config`, `Limits` and their like may be."""

from __future__ import annotations

import difflib
import functools
import math
from collections.abc import Callable
from dataclasses import fields
from typing import Any, TypeVar

from .errors import ConfigurationError

__all__ = ["explains_unknown_names", "require_number", "require_type"]

_T = TypeVar("_T")

_fields: dict[str, list[str]] = {}  # by class, of all whose constructors explain


def explains_unknown_names(cls: type[_T]) -> type[_T]:
    """Let the constructor of a dataclass raise `ConfigurationError`, with the nearest name, for a field that it does not have.

    Python itself names the nearest from 3.13 on, and only where it is very near: not ``ping_timeout`` for ``pingTimeout``.
    """
    names = [one.name for one in fields(cls)]  # type: ignore[arg-type]  # the decorator below this one makes it a dataclass
    _fields[cls.__name__] = names
    construct: Callable[..., None] = cls.__init__

    @functools.wraps(construct)
    def __init__(self: _T, *args: Any, **values: Any) -> None:
        for name in values:
            if name not in names:
                nearest = difflib.get_close_matches(name, names, n=1)
                hint = f"did you mean {nearest[0]!r}?" if nearest else f"it has {', '.join(names)}."
                raise ConfigurationError(f"{cls.__name__} has no field {name!r}; {_elsewhere(cls, name) or hint}")
        construct(self, *args, **values)

    cls.__init__ = __init__  # type: ignore[assignment]  # callers are checked against the dataclass's own signature
    return cls


def _elsewhere(cls: type, name: str) -> str | None:
    """Tell which other class has a field of exactly this name, those first that are given to a field of ``cls``."""
    given = {str(one.type).partition(" ")[0]: one.name for one in fields(cls)}
    owners = [owner for owner in sorted(_fields, key=lambda one: one not in given) if name in _fields[owner]]
    if not owners:
        return None
    place = f"{given[owners[0]]}=" if owners[0] in given else ""
    return f"it is one of {owners[0]}: write {place}{owners[0]}({name}=...)."


def require_type(owner: str, name: str, value: object, types: tuple[type, ...], choice: str) -> None:
    """Raise `ConfigurationError` unless ``value`` is of one of ``types``, which are ``choice`` in words."""
    if not isinstance(value, types):
        raise ConfigurationError(f"{owner}.{name} is {value!r}; it must be {choice}.")


def require_number(owner: str, name: str, value: object, *, minimum: int, integer: bool) -> None:
    """Raise `ConfigurationError` unless ``value`` is a number of at least ``minimum``, and whole where ``integer`` says so."""
    kind = "an integer" if integer else "a number"
    right_type = type(value) is int or (not integer and type(value) is float and not math.isnan(value))
    if not right_type or value < minimum:  # type: ignore[operator]  # right_type says that it is a number
        raise ConfigurationError(f"{owner}.{name} is {value!r}; it must be {kind} of at least {minimum}.")

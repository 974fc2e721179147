"""Values with named fields: instances of dataclasses, `msgspec.Struct`, attrs classes and pydantic models.

They are sent as objects, in the form that `msgspec.convert` (or the model) reads back: dates in them as ISO text, sets as
lists, bytes as bytes. So a handler may return the record that it took.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
from types import NoneType
from typing import Any, Final

import msgspec

from ..errors import EncodeError

__all__ = ["a_value_of", "is_model", "is_record", "to_plain", "unsendable"]

_BYTES: Final = (bytes, bytearray, memoryview)
_SCALARS: Final = frozenset({NoneType, bool, int, float, str, bytes})


def is_model(cls: object) -> bool:
    """Whether ``cls`` is a pydantic model. pydantic is never imported for that: whoever has a model has imported it."""
    pydantic = sys.modules.get("pydantic")
    # The models of pydantic 1 have no `model_validate`.
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel) and hasattr(cls, "model_validate")


def a_value_of(name: str) -> str:
    """Return how a sentence begins that is about a value of the type called ``name``."""
    return f"{'An' if name[:1] in 'AEIOUaeiou' else 'A'} {name}"


def unsendable(value: object, sendable: str) -> EncodeError:
    """Return the error for ``value``, which is none of ``sendable``."""
    if inspect.iscoroutine(value):
        if inspect.getcoroutinestate(value) == inspect.CORO_CREATED:
            value.close()  # so that Python does not say the same again, and less of it
        return EncodeError(f"A coroutine cannot be sent: write `await` before the call of {value.__qualname__}.")
    return EncodeError(f"{a_value_of(type(value).__name__)} cannot be sent; send {sendable}, or lists, tuples and dicts of these.")


def is_record(value: object) -> bool:
    """Whether ``value`` has named fields."""
    return isinstance(value, msgspec.Struct) or _has_fields(type(value)) or is_model(type(value))


def to_plain(record: object) -> object:
    """Return ``record``, and the records in it, as dicts; bytes stay what they are.

    Raises:
      EncodeError: if a field cannot be written, was never set, or contains the record.
    """
    try:
        return _plain(record)
    except RecursionError as exc:
        raise EncodeError("The value contains itself, or is nested too deeply to be sent.") from exc
    except (AttributeError, TypeError, ValueError) as exc:
        raise EncodeError(f"{a_value_of(type(record).__qualname__)} cannot be sent: {exc}.") from exc


def _has_fields(cls: Any) -> bool:
    return hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__attrs_attrs__")


def _plain(value: Any) -> object:
    if type(value) in _SCALARS:
        return value
    if isinstance(value, dict):
        return {key: _plain(member) for key, member in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_plain(item) for item in value]
    if _has_fields(type(value)):
        # Not by msgspec, which writes what is in `__dict__`: no default that it has left to the class, but what was added.
        fields = value.__attrs_attrs__ if hasattr(value, "__attrs_attrs__") else dataclasses.fields(value)
        return {field.name: _plain(getattr(value, field.name)) for field in fields}
    if is_model(type(value)):
        return _plain(value.model_dump(by_alias=True))
    plain = msgspec.to_builtins(value, builtin_types=_BYTES, enc_hook=_refuse)
    if isinstance(value, msgspec.Struct) and isinstance(plain, dict):
        # msgspec knows the names and which fields to leave out, but see above.
        for name, written in zip(value.__struct_fields__, value.__struct_encode_fields__, strict=True):
            if written in plain:
                plain[written] = _plain(getattr(value, name))
    return plain


def _refuse(value: object) -> object:
    if _has_fields(type(value)) or is_model(type(value)):
        return None  # in a Struct, whose fields are written one by one
    raise TypeError(f"a {type(value).__qualname__} in it is neither plain nor a record")

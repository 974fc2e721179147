"""Values with named fields: instances of dataclasses, `msgspec.Struct`, attrs classes and pydantic models.

They are sent as objects, in the form that `msgspec.convert` (or the model) reads back: dates in them as ISO text, sets as
lists, bytes as bytes. So a handler may return whatever its parameters may be annotated with.
"""

from __future__ import annotations

import sys
from typing import Any

import msgspec

from ..errors import EncodeError

__all__ = ["is_model", "is_record", "to_plain"]


def is_model(cls: object) -> bool:
    """Whether ``cls`` is a pydantic model. pydantic is never imported for that: whoever has a model has imported it."""
    pydantic = sys.modules.get("pydantic")
    # The models of pydantic 1 have no `model_validate`.
    return pydantic is not None and isinstance(cls, type) and issubclass(cls, pydantic.BaseModel) and hasattr(cls, "model_validate")


def is_record(value: object) -> bool:
    """Whether ``value`` has named fields."""
    cls = type(value)
    return isinstance(value, msgspec.Struct) or hasattr(cls, "__dataclass_fields__") or hasattr(cls, "__attrs_attrs__") or is_model(cls)


def to_plain(record: object) -> object:
    """Return ``record``, and the records in it, as dicts; bytes stay what they are.

    Raises:
      EncodeError: if a field cannot be written, or contains the record.
    """
    try:
        return msgspec.to_builtins(record, builtin_types=(bytes, bytearray, memoryview), enc_hook=_dump_model)
    except RecursionError as exc:
        raise EncodeError("The value contains itself, or is nested too deeply to be sent.") from exc
    except (TypeError, ValueError) as exc:
        raise EncodeError(f"A {type(record).__qualname__} cannot be sent: {exc}.") from exc


def _dump_model(value: Any) -> object:
    if is_model(type(value)):
        return value.model_dump(by_alias=True)
    raise TypeError(f"a {type(value).__qualname__} in it is neither plain nor a record")

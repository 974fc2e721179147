"""What `Socket.data` is in a namespace whose route says so, written down for another server, and read again there.

Both servers know the type from their own routes, so it does not travel; and they need not be the same version of an application. What is
written is plain data, as clients get records, too (``protocol/records.py``); what is read is converted as an argument of a
handler is (``signatures/conversion.py``). Here both are checked: what would come out as something else is not written, and what comes in
may be anything.
"""

from __future__ import annotations

import dataclasses
import inspect
from functools import cached_property
from typing import Any, Final

import msgspec

from ..errors import BadMessage, DecodeError, EncodeError, RouteError
from ..protocol.records import is_model, is_record, to_plain
from ..signatures.conversion import Parameter, compile_parameter, parts_of, spell
from .descriptions import members_of
from .records import SessionRecord, is_plain

__all__ = ["DataType", "read_data", "write_data"]

MOST_ENTRIES: Final = 1_000
"""Of a list or dict, if the type has what finds its entries by a hash that whoever has written them can foresee."""

_NOT_PLAIN: Final = (
    "socket.data is not a dict of plain data (dicts, lists, text, bytes, numbers): keep nothing else in it, or give its route a type "
    "that msgspec knows, as in Route(..., data=SessionData)."
)
_NO_TYPE_HERE: Final = "Its socket.data has a type there and none here: let all servers have the same Route(..., data=...)."

_HASHED_AT_RANDOM: Final = (msgspec.inspect.StrType, msgspec.inspect.BytesType)


class DataType:
    """The type of `Socket.data` in a namespace.

    Args:
      annotation: The type, as an annotation.

    Attributes:
      name: How a user would call it.
    """

    def __init__(self, annotation: Any) -> None:
        self.name = spell(annotation)
        self._annotation = annotation

    # Not before it is needed: where there is one server nobody asks, and a name in it may not have been defined yet.

    @cached_property
    def _parameter(self) -> Parameter | None:
        parameter = inspect.Parameter("data", inspect.Parameter.POSITIONAL_ONLY)
        try:
            compiled = compile_parameter(parameter, self._annotation, "Route")
        except RouteError:
            return None
        return compiled if compiled.convertible else None

    @cached_property
    def _is_bounded(self) -> bool:
        return any(map(_has_foreseeable_hashes, parts_of(msgspec.inspect.type_info(self._annotation))))

    def write(self, data: object) -> object:
        """Return ``data`` as plain data, a copy.

        Raises:
          EncodeError: if it would not be the same when it is read; the message says what to do.
        """
        if self._parameter is None:
            raise EncodeError(
                f"socket.data is {self.name}, which msgspec does not know: make it a dataclass, a TypedDict, a msgspec.Struct, an attrs "
                "class or a pydantic.BaseModel, whose fields have such types and built-in ones."
            )
        try:
            written = to_plain(data)
            if is_plain(written) and _is_same(data, self._make(written)):
                return written
            problem = "it would not be the same"
        except Exception as exc:  # of a constructor, or of `==`, too
            problem = f"{exc!s:.150}".rstrip(".")
        raise EncodeError(
            f"socket.data cannot be written down and be read again as {self.name} ({problem}): let annotations say what is in each field, "
            "and keep elsewhere what belongs to this process."
        )

    def read(self, written: object) -> object:
        """Return what was written.

        Raises:
          DecodeError: if it is none of this type.
        """
        try:
            return self._make(written)
        except Exception as exc:  # what is written is anybody's, and a constructor may raise anything
            raise DecodeError(
                f"Its socket.data is no {self.name} here ({str(exc)!r:.150}): let all servers have the same Route(..., data=...); a field "
                "that a new version adds has a default."
            ) from exc

    def _make(self, written: object) -> object:
        if self._parameter is None:
            raise BadMessage("msgspec does not know that type")
        if self._is_bounded and _longest(written) > MOST_ENTRIES:
            raise BadMessage(f"it has more than {MOST_ENTRIES} entries that are not found by text")
        return self._parameter.convert(0, written)


def write_data(data: object, data_type: DataType | None) -> object:
    """Return `Socket.data` as plain data, a copy; ``data_type``: what it is, if its namespace knows.

    Raises:
      EncodeError: if another server could not have the same; the message says what to do.
    """
    if data_type is not None:
        return data_type.write(data)
    if type(data) is not dict or not is_plain(data):
        raise EncodeError(_NOT_PLAIN)
    return to_plain(data)


def read_data(record: SessionRecord, data_type: DataType | None) -> object:
    """Return the `Socket.data` that ``record`` has, likewise.

    Raises:
      DecodeError: if it is not what the namespace has here.
    """
    if data_type is not None:
        return data_type.read(record.data)
    if record.is_typed:
        raise DecodeError(_NO_TYPE_HERE)
    return record.data


def _has_foreseeable_hashes(info: msgspec.inspect.Type) -> bool:
    if isinstance(info, msgspec.inspect.SetType | msgspec.inspect.FrozenSetType):
        return not isinstance(info.item_type, _HASHED_AT_RANDOM)
    return isinstance(info, msgspec.inspect.DictType) and not isinstance(info.key_type, (*_HASHED_AT_RANDOM, msgspec.inspect.AnyType))


def _longest(written: object) -> int:
    """Return how many entries the longest list or dict in plain data has."""
    inner = written.values() if isinstance(written, dict) else written if isinstance(written, list) else ()
    return max((len(inner), *map(_longest, inner)))


def _is_same(one: Any, other: Any) -> bool:
    """Tell whether two values are equal, and of the same types; a whole number will do for a fraction."""
    kind = type(one)
    if kind is not type(other):
        return {kind, type(other)} == {int, float} and one == other
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(_is_same(value, other[key]) for key, value in one.items())
    if isinstance(one, list | tuple):
        return len(one) == len(other) and all(map(_is_same, one, other))
    if is_record(one) and not is_model(kind):
        return _is_same(_fields_of(one), _fields_of(other))
    return bool(one == other)


def _fields_of(record: Any) -> dict[str, object]:
    """Return all that a record has, but what it works out when it is asked for."""
    if isinstance(record, msgspec.Struct):
        return msgspec.structs.asdict(record)
    fields = record.__attrs_attrs__ if hasattr(record, "__attrs_attrs__") else dataclasses.fields(record)
    members = {field.name: getattr(record, field.name) for field in fields} | dict(members_of(record))
    return {name: value for name, value in members.items() if not isinstance(getattr(type(record), name, None), cached_property)}

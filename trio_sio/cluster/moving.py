"""Sessions that go from one server to another, as they are on the bus. No I/O here; nothing that comes is trusted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Final

import msgspec

from ..errors import BusMessageError, DecodeError
from ..limits import Limits
from ..protocol.checks import check_event
from .fields import Count, Id, ShortText

__all__ = [
    "Knowledge",
    "Past",
    "SessionDetails",
    "WireKnowledge",
    "WirePast",
    "WireSession",
    "events_from",
    "knowledge_from",
    "past_from",
    "session_from",
    "write_past",
    "write_session",
]

_WHAT: Final = "A session that another server lets go is not as it should be: {}."


class Knowledge(msgspec.Struct, frozen=True, kw_only=True):
    """What a server has heard.

    Attributes:
      heard: The number of the newest message of each server that is there, of its own as well.
      gone: The same of those that have left, and how many seconds ago.
    """

    heard: Mapping[str, int] = {}
    gone: Mapping[str, tuple[int, float]] = {}

    def data(self) -> dict[str, object]:
        """Return what it says, as it goes out."""
        return {"heard": dict(self.heard), "gone": {uid: list(gone) for uid, gone in self.gone.items()}}


class SessionDetails(msgspec.Struct, frozen=True, kw_only=True):
    """A session; see `SessionRecord`, whose names it has."""

    sid: str
    pid: str
    rooms: frozenset[str]
    data: Any
    seconds: float
    expires_at: float | None = None
    is_typed: bool = False


class Past(msgspec.Struct, frozen=True, kw_only=True):
    """What the client of a session has not got since it left, or may not have got: it has not come since to say so.

    Attributes:
      prefix: What the offsets that it may come with begin with.
      newest: The place of the newest of them.
      offset: What it comes with instead if it has received nothing.
      events: The events in their order, each with its place there; 0: its client has not got it.
    """

    prefix: str
    newest: int
    offset: str | None
    events: tuple[tuple[int, tuple[Any, ...]], ...]


class WirePast(msgspec.Struct):
    """`Past`."""

    prefix: ShortText
    newest: Count
    events: list[tuple[Count, list[Any]]]
    offset: ShortText | None = None


class WireKnowledge(msgspec.Struct):
    """`Knowledge`."""

    heard: dict[Id, Count] = {}
    gone: dict[Id, tuple[Count, float]] = {}


class WireSession(msgspec.Struct):
    """`SessionDetails`. What was written of a type has another name, so that nobody takes it for the dict that it may look like."""

    sid: Id
    pid: Id
    rooms: tuple[str, ...]
    seconds: float
    data: dict[str, Any] | msgspec.UnsetType = msgspec.UNSET
    typed: Any = msgspec.UNSET
    expires_at: float | None = None


def knowledge_from(wire: WireKnowledge) -> Knowledge:
    """Return what ``wire`` stands for.

    Raises:
      BusMessageError: if a time is none.
    """
    for _, seconds in wire.gone.values():
        _require_time(seconds)
    return Knowledge(heard=wire.heard, gone=wire.gone)


def session_from(wire: WireSession) -> SessionDetails:
    """Return what ``wire`` stands for.

    Raises:
      BusMessageError: if a time is none, or its data is not there once.
    """
    _require_time(wire.seconds)
    if wire.expires_at is not None:
        _require_time(wire.expires_at)
    is_typed = wire.data is msgspec.UNSET
    if is_typed is (wire.typed is msgspec.UNSET):
        raise BusMessageError("schema", _WHAT.format("it has no data, or two"))
    return SessionDetails(
        sid=wire.sid,
        pid=wire.pid,
        rooms=frozenset(wire.rooms),
        data=wire.typed if is_typed else wire.data,
        seconds=wire.seconds,
        expires_at=wire.expires_at,
        is_typed=is_typed,
    )


def events_from(events: list[list[Any]], limits: Limits) -> tuple[tuple[Any, ...], ...]:
    """Return ``events``.

    Raises:
      BusMessageError: if one of them is none.
    """
    for event in events:
        try:
            check_event(event, limits)
        except DecodeError as exc:
            raise BusMessageError("schema", _WHAT.format(f"{exc!s:.150}")) from exc
    return tuple(map(tuple, events))


def past_from(wire: WirePast, limits: Limits) -> Past:
    """Return what ``wire`` stands for.

    Raises:
      BusMessageError: if what should be an event is none.
    """
    events = events_from([event for _, event in wire.events], limits)
    places = (place for place, _ in wire.events)
    return Past(prefix=wire.prefix, newest=wire.newest, offset=wire.offset, events=tuple(zip(places, events, strict=True)))


def write_past(past: Past) -> dict[str, object]:
    """Return ``past`` as it goes out."""
    return {"prefix": past.prefix, "newest": past.newest, "offset": past.offset, "events": past.events}


def write_session(session: SessionDetails) -> dict[str, object]:
    """Return ``session`` as it goes out."""
    wire = msgspec.structs.asdict(session) | {"rooms": sorted(session.rooms)}
    if wire.pop("is_typed"):
        wire["typed"] = wire.pop("data")
    return wire


def _require_time(seconds: float) -> None:
    if not 0 <= seconds < math.inf:
        raise BusMessageError("schema", _WHAT.format(f"{seconds!r} is no number of seconds"))

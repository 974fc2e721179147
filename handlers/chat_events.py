"""What clients of ``/chat`` hear: the name and the signature of each function are the event."""

from __future__ import annotations

from typing import TypedDict

from trio_sio import server_event

from .chat_state import Message, RoomSummary

__all__ = ["Welcome", "people", "rooms", "said", "typing", "welcome"]


class Welcome(TypedDict):
    """The name that a client got, and where it can go."""

    name: str
    rooms: list[RoomSummary]


@server_event
def welcome(welcome: Welcome) -> None:
    """What a client hears first."""


@server_event
def rooms(rooms: list[RoomSummary]) -> None:
    """All rooms, whenever somebody has come or gone."""


@server_event
def people(room: str, count: int, names: list[str]) -> None:
    """Who is in a room: how many, and the names of those who came first."""


@server_event
def said(message: Message) -> None:
    """Somebody else has said something in a room."""


@server_event
def typing(room: str, author: str) -> None:
    """Somebody writes; only the latest hint matters, and one may be missing."""

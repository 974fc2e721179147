"""What the sockets of the chat share: who has which name, who is in which room, what was said there.

Everything lives in the memory of one process and is bounded. An empty room keeps its history, so that a reload finds
it again, until its place is needed for a new room; the lobby always exists.
"""

from __future__ import annotations

import itertools
import time
import unicodedata
from collections import deque
from dataclasses import dataclass, field
from typing import Final, TypedDict

from trio_sio import BadMessage

__all__ = ["LOBBY", "Chat", "Message", "RoomSummary", "clean_name", "clean_text"]

LOBBY: Final = "lobby"

NAME_LENGTH: Final = 24
TEXT_LENGTH: Final = 1_000
ID_LENGTH: Final = 64
ROOMS: Final = 50
ROOMS_PER_PERSON: Final = 8
HISTORY: Final = 50
NAMES_SHOWN: Final = 50


class Message(TypedDict):
    """One message, as clients see it; ``at`` is in milliseconds, as JavaScript's ``Date`` counts."""

    id: str
    room: str
    author: str
    text: str
    at: int


class RoomSummary(TypedDict):
    """One line of the list of rooms."""

    name: str
    count: int


def clean_name(text: str, what: str) -> str:
    """Return the name of a person or room, trimmed and in one Unicode form.

    Raises:
      BadMessage: if it is empty, too long, or contains anything invisible; ``what`` begins the sentence.
    """
    name = unicodedata.normalize("NFC", text).strip()
    if not 1 <= len(name) <= NAME_LENGTH:
        raise BadMessage(f"{what} needs 1 to {NAME_LENGTH} characters.")
    if not name.isprintable():
        raise BadMessage(f"{what} must not contain invisible characters.")
    return name


def clean_text(text: str) -> str:
    """Return the text of a message, trimmed.

    Raises:
      BadMessage: if it is empty, too long, or contains control characters other than line breaks and tabs.
    """
    trimmed = text.strip()
    if not 1 <= len(trimmed) <= TEXT_LENGTH:
        raise BadMessage(f"A message needs 1 to {TEXT_LENGTH} characters.")
    if any(unicodedata.category(character) in {"Cc", "Cs"} and character not in "\n\t" for character in trimmed):
        raise BadMessage("A message must not contain control characters.")
    return trimmed


@dataclass(slots=True)
class Room:
    """One room: its people by socket id, in the order of their arrival, and its latest messages."""

    people: dict[str, str] = field(default_factory=dict)
    messages: deque[Message] = field(default_factory=lambda: deque(maxlen=HISTORY))


class Chat:
    """People and rooms. Its methods never wait, so each of them is one step for everybody."""

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._taken: set[str] = set()
        self._rooms: dict[str, Room] = {LOBBY: Room()}

    def claim(self, sid: str, wanted: str) -> str:
        """Give the socket ``sid`` the name ``wanted``, with a number behind it when somebody has that already."""
        for number in itertools.count(1):
            name = wanted if number == 1 else f"{wanted} {number}"
            # Names that look alike count as one: nobody shall pass for somebody else by a capital letter.
            key = _lookalike(name)
            if key not in self._taken:
                self._taken.add(key)
                self._names[sid] = name
                return name
        raise AssertionError("itertools.count does not end")

    def forget(self, sid: str) -> list[str]:
        """Take the socket ``sid`` out of everything; return the rooms that it was in."""
        self._taken.discard(_lookalike(self._names.pop(sid, "")))
        left = [name for name, room in self._rooms.items() if sid in room.people]
        for name in left:
            self.leave(sid, name)
        return left

    def enter(self, sid: str, name: str) -> None:
        """Put the socket ``sid`` into a room, which is made when it is new.

        Raises:
          BadMessage: if that would be one room too many, for this person or for the server.
        """
        room = self._rooms.get(name)
        if room is None or sid not in room.people:
            if sum(sid in other.people for other in self._rooms.values()) >= ROOMS_PER_PERSON:
                raise BadMessage(f"You are in {ROOMS_PER_PERSON} rooms already; leave one of them first.")
            if room is None:
                room = self._open(name)
            room.people[sid] = self._names[sid]
            # The rooms are kept in the order of their last arrival, which makes the first empty one the stalest.
            self._rooms[name] = self._rooms.pop(name)

    def leave(self, sid: str, name: str) -> None:
        """Take the socket ``sid`` out of a room; harmless when it is not there."""
        room = self._rooms.get(name)
        if room is not None:
            room.people.pop(sid, None)

    def say(self, sid: str, name: str, text: str, id: str) -> tuple[Message, bool]:
        """Add a message to a room's history; return it, and whether it is new.

        A client that lost the connection before the ack sends again with the same ``id``: that is the same message, as
        long as the history still holds it.

        Raises:
          BadMessage: if the socket is not in that room, or ``id`` cannot be one.
        """
        room = self._rooms.get(name)
        if room is None or sid not in room.people:
            raise BadMessage("You are not in that room; join it first.")
        if not 1 <= len(id) <= ID_LENGTH or not id.isascii():
            raise BadMessage(f"The id of a message needs 1 to {ID_LENGTH} ASCII characters.")
        for earlier in room.messages:
            if earlier["id"] == id:
                return earlier, False
        message = Message(id=id, room=name, author=room.people[sid], text=text, at=time.time_ns() // 1_000_000)
        room.messages.append(message)
        return message, True

    def is_in(self, sid: str, name: str) -> bool:
        """Tell whether the socket ``sid`` is in a room."""
        room = self._rooms.get(name)
        return room is not None and sid in room.people

    def history(self, name: str) -> list[Message]:
        """Return the latest messages of a room, oldest first."""
        return list(self._rooms[name].messages)

    def people(self, name: str) -> tuple[int, list[str]]:
        """Return how many are in a room, and the names of those who came first."""
        room = self._rooms.get(name)
        if room is None:
            return 0, []
        return len(room.people), list(itertools.islice(room.people.values(), NAMES_SHOWN))

    def rooms(self) -> list[RoomSummary]:
        """Return all rooms: the lobby, then the others by name."""
        names = sorted(self._rooms, key=lambda name: (name != LOBBY, name.casefold(), name))
        return [RoomSummary(name=name, count=len(self._rooms[name].people)) for name in names]

    def _open(self, name: str) -> Room:
        if len(self._rooms) >= ROOMS:
            stale = next((other for other, room in self._rooms.items() if not room.people and other != LOBBY), None)
            if stale is None:
                raise BadMessage(f"There are {ROOMS} rooms already; join one of them instead.")
            del self._rooms[stale]
        return self._rooms.setdefault(name, Room())


def _lookalike(name: str) -> str:
    return unicodedata.normalize("NFKC", name).casefold()

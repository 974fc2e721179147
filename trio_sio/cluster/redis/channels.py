"""The names of channels, as Node's adapters give them, and what such a name says.

========================================  ==============================================
``socket.io#/chat#``                      broadcasts in the namespace ``/chat``
``socket.io#/chat#room#``                 broadcasts there to one room
``socket.io-request#/chat#``              requests (classic adapter)
``socket.io-response#/chat#``             their answers
``socket.io-response#/chat#uid#``         answers for one server
========================================  ==============================================

A namespace or a room may have a ``#`` in it, so a name alone can be ambiguous: who knows the namespace, asks `Channels`.
"""

from __future__ import annotations

from typing import Final

__all__ = ["DEFAULT_KEY", "Channels", "escape_pattern", "namespace_of"]

DEFAULT_KEY: Final = "socket.io"

_PATTERN_CHARACTERS: Final = str.maketrans({character: f"\\{character}" for character in "*?[]^\\"})


class Channels:
    """The channels of one namespace.

    Args:
      key: What all names begin with; servers and emitters with another one do not hear each other.
      namespace: The name of the namespace.

    Attributes:
      broadcasts: Broadcasts to everybody, or to several rooms.
      requests: Requests to all servers.
      responses: Answers to them.
      pattern: What fits `broadcasts` and all of `room`, for PSUBSCRIBE; nothing in the namespace's name has a meaning of its own there.
    """

    __slots__ = ("broadcasts", "pattern", "requests", "responses")

    def __init__(self, key: str, namespace: str) -> None:
        self.broadcasts = f"{key}#{namespace}#"
        self.requests = f"{key}-request#{namespace}#"
        self.responses = f"{key}-response#{namespace}#"
        self.pattern = f"{escape_pattern(self.broadcasts)}*"

    def room(self, room: str) -> str:
        """Return the channel for broadcasts to ``room`` alone."""
        return f"{self.broadcasts}{room}#"

    def responses_to(self, uid: str) -> str:
        """Return the channel for answers to the server that calls itself ``uid``."""
        return f"{self.responses}{uid}#"

    def room_of(self, channel: str) -> str | None:
        """Return to which room the broadcasts on ``channel`` are; ``""``: to everybody or several; ``None``: it is none of these."""
        if channel == self.broadcasts:
            return ""
        if channel.startswith(self.broadcasts) and channel.endswith("#"):
            return channel[len(self.broadcasts) : -1]
        return None

    def uid_of(self, channel: str) -> str | None:
        """Return for which server the answers on ``channel`` are; ``""``: for whoever asked; ``None``: it is none of these."""
        if channel == self.responses:
            return ""
        if channel.startswith(self.responses) and channel.endswith("#"):
            return channel[len(self.responses) : -1]
        return None


def escape_pattern(text: str) -> str:
    """Return a pattern for PSUBSCRIBE that fits ``text`` and nothing else."""
    return text.translate(_PATTERN_CHARACTERS)


def namespace_of(key: str, channel: str) -> tuple[str, str, str] | None:
    """Return what ``channel`` is for, if no namespace has a ``#`` in its name.

    Returns:
      ``"broadcast"``, ``"request"`` or ``"response"``; the namespace; and the room, or the uid of the server, or ``""``.
      ``None``: it is no such name.
    """
    for kind, prefix in (("broadcast", f"{key}#"), ("request", f"{key}-request#"), ("response", f"{key}-response#")):
        if channel.startswith(f"{prefix}/") and channel.endswith("#"):
            namespace, found, rest = channel[len(prefix) : -1].partition("#")
            if found and (not rest or kind == "request"):
                return None
            return kind, namespace, rest
    return None

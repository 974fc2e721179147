"""What record.cjs has recorded: bytes that Node's adapters and emitter publish."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

__all__ = ["Recorded", "Recording", "load"]

_DIRECTORY: Final = Path(__file__).parent / "recorded"


@dataclass(frozen=True)
class Recorded:
    """One message.

    Attributes:
      called: What was called, that this was sent.
      sender: ``"A"`` was called, ``"B"`` answers; or ``"emitter"``, or ``"old"``.
      command: The Redis command.
      channel: Where it was published.
      payload: The bytes.
    """

    called: str
    sender: str
    command: str
    channel: str
    payload: bytes

    def __str__(self) -> str:
        return f"{self.called}, {self.sender}"


@dataclass(frozen=True)
class Recording:
    """All that was recorded of one adapter.

    Attributes:
      uids: Server and namespace -> the adapter's uid.
      sid: The id of the socket in ``/``.
      messages: What was published, in order.
    """

    uids: dict[str, dict[str, str]]
    sid: str
    messages: tuple[Recorded, ...]

    def of(self, called: str, sender: str = "A") -> bytes:
        """Return what was published by ``sender`` when this was called."""
        (found,) = (one.payload for one in self.messages if (one.called, one.sender) == (called, sender))
        return found

    def all_of(self, called: str, sender: str) -> list[bytes]:
        """Return all that was published by ``sender`` when this was called."""
        return [one.payload for one in self.messages if (one.called, one.sender) == (called, sender)]


def load(name: str) -> Recording:
    """Return a recording; of the streams adapter only what is published, and not what is added to a stream."""
    data: dict[str, Any] = json.loads((_DIRECTORY / f"{name}.json").read_text())
    messages = tuple(
        Recorded(entry["called"], one["from"], one["command"], one["channel"], base64.b64decode(one["payload"]))
        for entry in data["entries"]
        for one in entry["messages"]
        if "payload" in one
    )
    return Recording(data.get("uids", {}), data.get("sid", ""), messages)

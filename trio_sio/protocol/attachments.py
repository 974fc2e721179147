"""Binary attachments of Socket.IO packets in JSON: what stands for them in the text, and putting them in its place.

In the JSON text of a packet ``{"_placeholder":true,"num":n}`` stands for attachment n, and the attachments follow as binary
messages. On the way out `trio_sio.protocol.json` writes the placeholders, and what only looks like one is refused here.
On the way in they are looked for when the text comes, so that nothing is collected for a packet that is wrong.
"""

from __future__ import annotations

from typing import Any, Final

from ..errors import DecodeError, EncodeError
from .checks import shown

__all__ = ["Attachments", "check_attachments"]

# How placeholders look in JSON without blanks; inside a string there would be a backslash before each quotation mark.
_PLACEHOLDERS: Final = (b'{"_placeholder":true', b',"_placeholder":true')


class Attachments:
    """The attachments of one packet that is half received.

    Args:
      data: The packet's data, freshly parsed; each placeholder in it is replaced in the end.
      count: How many attachments follow.

    Raises:
      DecodeError: if a placeholder stands for none of them.
    """

    __slots__ = ("_count", "_places", "_received")

    def __init__(self, data: Any, count: int) -> None:
        self._places = _find_placeholders(data, count)
        self._count = count
        self._received: list[bytes] = []

    def add(self, payload: bytes) -> bool:
        """Take the next attachment, and tell whether it is the last: then all of them are in their places."""
        self._received.append(payload)
        if len(self._received) < self._count:
            return False
        for container, key, num in self._places:
            container[key] = self._received[num]
        return True


def _find_placeholders(data: list[Any], count: int) -> list[tuple[Any, Any, int]]:
    """Return (container, key, attachment number) for each placeholder in freshly parsed data; walks without recursion."""
    places: list[tuple[Any, Any, int]] = []
    level: list[Any] = [data]
    while level:
        # Enumerating is for those few that contain one.
        holders: list[Any] = []
        below: list[Any] = []
        for container in level:
            for item in container if type(container) is list else container.values():
                kind = type(item)
                if kind is list:
                    if item:
                        below.append(item)
                elif kind is dict and item:
                    if item.get("_placeholder") is not True:
                        below.append(item)
                    elif not holders or holders[-1] is not container:
                        holders.append(container)
        for container in holders:
            for key, item in enumerate(container) if type(container) is list else container.items():
                if type(item) is dict and item.get("_placeholder") is True:
                    places.append((container, key, _attachment_number(item, count)))
        level = below
    return places


def _attachment_number(placeholder: dict[str, Any], count: int) -> int:
    num = placeholder.get("num")
    # The type is compared exactly: a list takes True and -1 as an index, too.
    if type(num) is not int or not 0 <= num < count:
        raise DecodeError(f"A placeholder refers to attachment {shown(num)} of {count}.")
    return num


def check_attachments(payload: bytes, count: int, most: int) -> None:
    """Require that a packet with attachments arrives as what it is.

    Args:
      payload: Its JSON text, as `trio_sio.protocol.json.dumps` returns it.
      count: How many attachments it has.
      most: How many the peer accepts.

    Raises:
      EncodeError: if something else in it looks like a placeholder, or there are too many attachments.
    """
    # From nothing: that orjson alone could not encode bytes, which is being handled here, is no news to anybody.
    if sum(map(payload.count, _PLACEHOLDERS)) > count:
        raise EncodeError(
            "A dict with `_placeholder` set to True cannot be sent together with bytes, as it would be taken for the place of an "
            "attachment; give that key another name, or send them in two packets."
        ) from None
    if count > most:
        raise EncodeError(
            f"This packet has {count} attachments, and a peer that accepts {most} would disconnect: join some of them, "
            "send them in several packets, or raise Limits.attachments (in our client: max_attachments) if all peers accept more."
        ) from None

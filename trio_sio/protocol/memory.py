"""How much memory a packet takes once it is decoded, about.

Bytes on the wire say little about it: a megabyte of ``{}`` is 24 MB of dicts, and six bytes of an event are 240. What is
returned here is within a factor of two below the truth for what is made to be expensive, and up to five above it for
what is not. It takes 0.1 µs for a short packet, and about a millisecond for a megabyte, which is a tenth of what decoding
takes, or less, unless it is one long text.
"""

from __future__ import annotations

from sys import getsizeof
from typing import Any, Final

__all__ = ["PER_ATTACHMENT", "json_memory", "value_memory"]

PER_ATTACHMENT: Final = 48  # bytes of an attachment besides what is in it
_PER_PACKET: Final = 256  # the packet itself, its list, its name, its place in a queue

_SHORT: Final = 512  # bytes of a packet that is not looked at closely
_PER_SHORT_BYTE: Final = 15  # 24 with nothing but ``{}``, 3 or, with Python 3.13, less where there is text

# In JSON every list, dict, string and number has one of these next to it. ``[`` has 64 bytes, ``{"":`` has 184.
_MARKS: Final = b'[{,"'
_NO_MARKS: Final = bytes(set(range(256)) - set(_MARKS))
_PER_MARK: Final = 32
# The widest character of a string says how many bytes each of them takes.
_UNTIL_U_FFFF: Final = bytes(range(0xF0))  # UTF-8 up to there does not contain others

_VALUES: Final = 256  # values that are looked at one by one
_PER_BYTE: Final = 24  # for which MessagePack counts, where there are more


def json_memory(payload: bytes) -> int:
    """Return how many bytes of memory the JSON packet ``payload`` takes once it is decoded."""
    size = len(payload)
    if size <= _SHORT:
        return _PER_PACKET + _PER_SHORT_BYTE * size
    marks = len(payload.translate(None, _NO_MARKS))
    return _PER_PACKET + _character_size(payload) * size + _PER_MARK * marks


def _character_size(payload: bytes) -> int:
    if payload.isascii():
        # An escape may stand for half of a character that takes four bytes.
        return 4 if b"\\" in payload and b"\\u" in payload else 1
    return 4 if payload.translate(None, _UNTIL_U_FFFF) or b"\\u" in payload else 2


def value_memory(value: Any, size: int) -> int:
    """Return how many bytes of memory a packet of MessagePack takes once it is decoded.

    Args:
      value: What it was decoded to.
      size: For how many bytes it counts, as `trio_sio.protocol.notepack.loads` says: about as many as it would have in JSON.
    """
    if size <= _SHORT:
        return _PER_PACKET + _PER_SHORT_BYTE * size
    # There is no telling numbers and text apart in the bytes themselves; but most large packets are few large values.
    total, left, values = _PER_PACKET, _VALUES, [value]
    while values:
        value = values.pop()
        total += getsizeof(value)
        if type(value) is list:
            values.extend(value if (left := left - len(value)) >= 0 else ())
        elif type(value) is dict:
            values.extend((*value, *value.values()) if (left := left - 2 * len(value)) >= 0 else ())
        if left < 0:
            return _PER_PACKET + _PER_BYTE * size
    return total

"""The head of an HTTP/1.1 request: finding its end, and refusing what two parsers could read in two ways.

h11 parses the head; what stands before it are limits that hold while bytes still arrive, and a few rules on which h11
is lenient because it also serves as a client: bare line feeds, folded lines, repeated or padded lengths.

What nearly every client sends is so plain that it can be read in one way only, and h11 is not asked (`_read_plain`): it would
take more than half of the time of a head. And who polls says the same again and again but for the first line, so what the fields
mean is remembered (`HeadReader`).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

import h11

from ...limits import Limits
from ...protocol.http import TOKEN, Headers, Request
from ..requests import why_unserved
from .faults import RequestFault

__all__ = ["Head", "HeadReader", "HeadScanner"]

_Fields = list[tuple[bytes, bytes]]
_Meaning = tuple[int | None, bool, bool, bool]  # of the fields: what a `Head` says besides the request

_METHOD_START: Final = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz")
_LENGTHS: Final = re.compile(rb"(?im)^content-length:([^\r\n]*)")
# Narrower than what h11 takes, and without a way back: no head is looked at twice.
_PLAIN: Final = re.compile(rb"(GET|POST) ([!-~]++) HTTP/1\.1\r\n((?:" + TOKEN.encode() + rb"+:[\t -~]*+\r\n)++)\r\n")
_LENGTH_DIGITS: Final = 20  # as for h11
_PLAIN_LINE: Final = re.compile(rb"(GET|POST) ([!-~]++) HTTP/1\.1\r\n")  # as it begins
_REMEMBERED: Final = 2  # the fields of a client's GETs, and of its POSTs
_REMEMBERED_BYTES: Final = 2_048  # larger ones are read each time: a connection that waits must not hold on to what a head may have
_ABSOLUTE_TARGET: Final = re.compile(r"https?://([^/?#]*)(.*)", re.IGNORECASE)


class HeadScanner:
    """Finds the end of a request's head in a growing buffer, looking at each byte once.

    Args:
      limits: ``header_bytes`` and ``headers`` apply.
    """

    __slots__ = ("_limits", "_line", "_lines", "_seen")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._line = 0
        self._lines = 0
        self._seen = 0

    def find(self, buffer: bytearray) -> int | None:
        """Return the length of the head at the front of ``buffer``, or ``None`` while it is incomplete.

        Raises:
          RequestFault: if it will never be a valid head, or exceeds a limit.
        """
        if not self._seen and (end := buffer.find(b"\r\n\r\n", 0, self._limits.header_bytes)) > 0 and self._is_regular(buffer, end + 4):
            return end + 4  # as nearly always: it came whole, and no line of it needs a look of its own
        while (newline := buffer.find(b"\n", self._seen)) >= 0:
            if newline >= self._limits.header_bytes:
                raise self._too_large()
            if newline == 0 or buffer[newline - 1] != 0x0D:
                raise RequestFault(400, "The lines of a request's head must end with CR LF.")
            if newline - self._line == 1:
                if self._lines:
                    return newline + 1
                del buffer[:2]  # an empty line before the request line is ignored (RFC 9112, section 2.2)
                self._seen = 0
                continue
            if self._lines and buffer[self._line] in b" \t":
                raise RequestFault(400, "A header field must not be folded over several lines.")
            self._lines += 1
            if self._lines - 1 > self._limits.headers:
                raise RequestFault(431, f"The request has more than {self._limits.headers} header fields.")
            self._line = self._seen = newline + 1
        self._seen = len(buffer)
        if self._seen >= self._limits.header_bytes:
            raise self._too_large()
        # A TLS hello or random bytes would otherwise wait for the header deadline.
        if buffer and not self._lines and buffer[0] not in _METHOD_START and buffer != b"\r":
            raise RequestFault(400, "This is not an HTTP/1.1 request.")
        return None

    def _is_regular(self, buffer: bytearray, size: int) -> bool:
        """Tell whether none of the lines is there of which `find` would say what is wrong with it, or would drop it."""
        lines = buffer.count(b"\n", 0, size)
        if lines - 2 > self._limits.headers or lines != buffer.count(b"\r\n", 0, size):
            return False
        return not buffer.startswith(b"\r\n") and buffer.find(b"\n ", 0, size) < 0 and buffer.find(b"\n\t", 0, size) < 0

    def _too_large(self) -> RequestFault:
        return RequestFault(431, f"The request's head is larger than {self._limits.header_bytes} bytes.")


@dataclass(slots=True)  # not frozen, as one is made per request, and that takes twice as long
class Head:
    """A valid request head.

    Attributes:
      request: What the engine sees of it.
      content_length: The declared length of the body; ``None`` for a chunked one.
      keep_alive: Whether another request may follow on this connection.
      expects_continue: Whether the client waits for ``100 Continue`` before it sends the body.
      wants_websocket: Whether it asks for a WebSocket; other upgrades are ignored (RFC 9110, section 7.8).
    """

    request: Request
    content_length: int | None
    keep_alive: bool
    expects_continue: bool
    wants_websocket: bool


class HeadReader:
    """Reads the heads that come on one connection.

    Args:
      limits: ``header_bytes`` applies.
      address: See `Request`.
      secure: See `Request`.
    """

    __slots__ = ("_address", "_known", "_limits", "_secure")

    def __init__(self, limits: Limits, *, address: str | None, secure: bool) -> None:
        self._limits = limits
        self._address = address
        self._secure = secure
        self._known: dict[bytes, tuple[Headers, _Meaning]] = {}  # what the latest plain fields have meant

    def read(self, data: bytes) -> Head:
        """Return what a complete request head says.

        Args:
          data: The head, with its final empty line, and nothing else.

        Raises:
          RequestFault: if it is not valid, ambiguous, or asks for something that this server does not do.
        """
        line = _PLAIN_LINE.match(data) if self._known else None
        if line is not None and (known := self._known.get(data[line.end() :])) is not None:
            return self._head(line[1], line[2], *known)
        plain = _read_plain(data)
        method, target, http_version, fields = plain or _read(data, self._limits)
        headers = Headers(fields)
        content_length = _content_length(data, headers, http_version)
        if (unserved := why_unserved(headers)) is not None:
            raise RequestFault(*unserved)
        connection = _tokens(headers.get("connection", ""))
        persistent = http_version == b"1.1"
        keep_alive = persistent and "close" not in connection
        expects_continue = persistent and "expect" in headers
        wants_websocket = persistent and "upgrade" in connection and "websocket" in _tokens(headers.get("upgrade", ""))
        meaning = content_length, keep_alive, expects_continue, wants_websocket
        if plain is not None and keep_alive and not wants_websocket and len(data) <= _REMEMBERED_BYTES:  # or no other head follows
            if len(self._known) >= _REMEMBERED:
                del self._known[next(iter(self._known))]
            self._known[data[data.index(b"\n") + 1 :]] = headers, meaning
        return self._head(method, target, headers, meaning)

    def _head(self, method: bytes, target: bytes, headers: Headers, meaning: _Meaning) -> Head:
        path, query_string = _split_target(target.decode("ascii"), headers)
        return Head(Request(method.decode("ascii"), path, query_string, headers, self._address, self._secure), *meaning)


def _read_plain(data: bytes) -> tuple[bytes, bytes, bytes, _Fields] | None:
    """Return method, target, version and header fields of a head as `_read` does, or ``None``: then only `_read` can tell."""
    match = _PLAIN.fullmatch(data)
    if match is None:
        return None
    method, target, lines = match.groups()
    fields = []
    hosts = lengths = 0
    for line in lines.split(b"\r\n")[:-1]:
        name, _, value = line.partition(b":")
        name, value = name.lower(), value.strip(b" \t")
        if name == b"host":
            hosts += 1
        elif name == b"content-length":
            lengths += 1
            if not value.isdigit() or len(value) > _LENGTH_DIGITS:
                return None
        elif name == b"transfer-encoding":
            return None
        fields.append((name, value))
    return (method, target, b"1.1", fields) if hosts == 1 and lengths <= 1 else None


def _read(data: bytes, limits: Limits) -> tuple[bytes, bytes, bytes, _Fields]:
    """Return method, target, version and header fields of a head, the names of fields in lower case."""
    parser = h11.Connection(h11.SERVER, max_incomplete_event_size=limits.header_bytes)
    parser.receive_data(data)
    try:
        event = parser.next_event()
    except h11.RemoteProtocolError as exc:
        raise RequestFault(exc.error_status_hint, "The request is not valid HTTP/1.1.") from exc
    if not isinstance(event, h11.Request):
        raise RequestFault(400, "The request is not valid HTTP/1.1.")
    if event.http_version not in (b"1.0", b"1.1"):
        raise RequestFault(505, "This server speaks HTTP/1.1.")
    return event.method, event.target, event.http_version, list(event.headers)


def _tokens(value: str) -> list[str]:
    """Return the elements of a comma-separated header field, in lower case."""
    return [token.strip().lower() for token in value.split(",")]


def _content_length(data: bytes, headers: Headers, http_version: bytes) -> int | None:
    if "content-length" not in headers and "transfer-encoding" not in headers:
        return 0
    # h11 merges equal lengths and strips the value; a proxy in front may not, and the difference is a smuggled request.
    lengths = _LENGTHS.findall(data)
    if "transfer-encoding" in headers:
        if lengths or http_version == b"1.0":
            raise RequestFault(400, "A request has either a Content-Length or, since HTTP/1.1, a Transfer-Encoding.")
        return None
    if len(lengths) != 1 or not re.fullmatch(rb"[ \t]*[0-9]+", lengths[0]):
        raise RequestFault(400, "Content-Length must be given once, as decimal digits.")
    return int(lengths[0])


def _split_target(target: str, headers: Headers) -> tuple[str, bytes]:
    if "#" in target:
        raise RequestFault(400, "A request target has no fragment.")
    absolute = _ABSOLUTE_TARGET.fullmatch(target)
    # The absolute form of somebody else's resource stays whole: nothing here answers to such a path.
    if absolute is not None and absolute[1].lower() == headers.get("host", "").lower():
        target = absolute[2] if absolute[2].startswith("/") else f"/{absolute[2]}"
    path, _, query_string = target.partition("?")
    return path, query_string.encode("ascii")

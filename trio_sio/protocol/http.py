"""HTTP as values: header fields, a request's head, and a whole response."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar, overload
from urllib.parse import parse_qsl

__all__ = ["BODILESS", "FIELD_VALUE", "TOKEN", "Headers", "Request", "Response", "plain_text"]

_T = TypeVar("_T")

BODILESS: Final = frozenset({204, 304})
"""Statuses of responses that have no body, and no length of one (RFC 9110, section 6.4.1)."""

TOKEN: Final = r"[-!#$%&'*+.^_`|~0-9A-Za-z]+"
FIELD_VALUE: Final = r"[\t\x20-\x7e\x80-\xff]*"
"""Regular expressions: a name, and what a field may say (RFC 9110, sections 5.6.2 and 5.5)."""


def _shared(*strings: str) -> dict[bytes, str]:
    """Return ``strings`` by what they are on the wire: thousands of clients send them, and keep them for as long as they live."""
    return {string.encode("latin-1"): string for string in strings}


_NAMES: Final = _shared(
    "accept",
    "accept-encoding",
    "accept-language",
    "authorization",
    "cache-control",
    "connection",
    "content-length",
    "content-type",
    "cookie",
    "host",
    "origin",
    "pragma",
    "referer",
    "sec-fetch-dest",
    "sec-fetch-mode",
    "sec-fetch-site",
    "sec-websocket-extensions",
    "sec-websocket-key",
    "sec-websocket-version",
    "upgrade",
    "user-agent",
    "x-forwarded-for",
    "x-forwarded-host",
    "x-forwarded-proto",
)
_VALUES: Final = _shared(
    *("*/*", "13", "Upgrade", "cors", "empty", "gzip, deflate", "gzip, deflate, br", "gzip, deflate, br, zstd", "https", "http"),
    *("keep-alive", "keep-alive, Upgrade", "no-cache", "permessage-deflate; client_max_window_bits", "same-origin", "same-site"),
    *("upgrade", "websocket"),
)


class Headers(Mapping[str, str]):
    """HTTP header fields: names in any case; a repeated field is one value joined with ``", "``, ``Cookie`` with ``"; "``.

    Args:
      fields: Pairs as they came over the wire; names and values are latin-1.
    """

    __slots__ = ("_fields",)

    def __init__(self, fields: Iterable[tuple[bytes, bytes]] = ()) -> None:
        self._fields: dict[str, str] = {}
        for raw_name, raw_value in fields:
            name = _NAMES.get(raw_name) or raw_name.decode("latin-1").lower()
            value = _VALUES.get(raw_value) or raw_value.decode("latin-1")
            if name in self._fields:
                # HTTP/2 may send a field per cookie, see RFC 9113, section 8.2.3.
                value = f"{self._fields[name]}{'; ' if name == 'cookie' else ', '}{value}"
            self._fields[name] = value

    def __getitem__(self, name: str) -> str:
        return self._fields[name.lower()]

    @overload
    def get(self, name: str, /) -> str | None: ...
    @overload
    def get(self, name: str, /, default: _T) -> str | _T: ...
    def get(self, name: str, /, default: _T | None = None) -> str | _T | None:
        """Return the field ``name``, or ``default``."""
        return self._fields.get(name.lower(), default)

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() in self._fields

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields)

    def __len__(self) -> int:
        return len(self._fields)

    def __repr__(self) -> str:
        return f"Headers({self._fields!r})"


@dataclass(frozen=True, slots=True)
class Request:
    """The head of one HTTP request.

    Attributes:
      method: ``GET``, ``POST``, ... in upper case.
      path: The path as it was sent, percent escapes included, without the query.
      query_string: What came after the question mark, undecoded.
      headers: The header fields.
      address: The peer's host, or ``None`` where there is none (a Unix socket, memory).
      secure: Whether the wire is TLS.
      scope: At the ASGI door, and at hypercorn's ports, the connection scope, else ``None``.
    """

    method: str
    path: str
    query_string: bytes
    headers: Headers
    address: str | None = None
    secure: bool = False
    scope: Mapping[str, object] | None = None

    @property
    def query(self) -> dict[str, str]:
        """The parameters of the query; of repeated ones the last."""
        return dict(self.query_pairs)

    @property
    def query_pairs(self) -> list[tuple[str, str]]:
        """Every parameter of the query, in order; a byte that is no UTF-8 is U+FFFD."""
        if b"%" not in self.query_string and b"+" not in self.query_string:
            # Nothing in it stands for something else, as in what polling clients send.
            cut = [piece.partition("=") for piece in self.query_string.decode("latin-1").split("&") if piece]
            return [(name, value) for name, _, value in cut]
        return parse_qsl(self.query_string.decode("latin-1"), keep_blank_values=True, encoding="utf-8", errors="replace")


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response, whole.

    Attributes:
      status: The status code.
      body: The body; ``Content-Length`` is added by the door.
      headers: Further header fields.
      close: Whether the TCP connection must not be used again.
    """

    status: int
    body: bytes = b""
    headers: list[tuple[bytes, bytes]] = field(default_factory=list)
    close: bool = False


def plain_text(status: int, message: str, headers: Sequence[tuple[bytes, bytes]] | None = None, *, close: bool = False) -> Response:
    """Return a response whose body is one line of text."""
    return Response(status, message.encode() + b"\n", [(b"Content-Type", b"text/plain; charset=utf-8"), *(headers or [])], close)

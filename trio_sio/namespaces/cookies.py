"""The ``Cookie`` header field, read as Node's `cookie` package does: pair by pair, and what is odd spoils nothing else."""

from __future__ import annotations

import re
from typing import Final

__all__ = ["parse_cookies"]

_ESCAPES: Final = re.compile("(?:%[0-9A-Fa-f]{2})+")
_NO_ESCAPE: Final = re.compile("%(?![0-9A-Fa-f]{2})")


def parse_cookies(field: str) -> dict[str, str]:
    """Return the cookies in ``field`` by name.

    A part without ``=`` is skipped, and of two with the same name the first counts, which is the one with the longest path.
    Of a value in double quotes they are taken away. Escapes such as ``%20`` are UTF-8; a value in which they are not is left
    as it is.
    """
    cookies: dict[str, str] = {}
    if len(field) < 2:
        return cookies  # where Node looks for no pair
    for pair in field.split(";"):
        name, equals, value = pair.partition("=")
        name = name.strip(" \t")
        if equals and name not in cookies:
            cookies[name] = _decode(_without_quotes(value.strip(" \t")))
    return cookies


def _without_quotes(value: str) -> str:
    return value[1:-1] if value.startswith('"') and value.endswith('"') else value


def _decode(value: str) -> str:
    """Do what ``decodeURIComponent`` does, or nothing where it throws."""
    if "%" not in value or _NO_ESCAPE.search(value):
        return value
    try:
        return _ESCAPES.sub(lambda escapes: bytes.fromhex(escapes[0].replace("%", "")).decode(), value)
    except UnicodeDecodeError:
        return value

"""Small tools for those who write a contract down."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable

__all__ = ["as_text", "identifiers"]


def as_text(document: object) -> str:
    """Return a document as JSON that people can read and compare."""
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def identifiers(names: Iterable[str]) -> dict[str, str]:
    """Return for each of ``names`` an identifier that begins with a capital, each another one."""
    found: dict[str, str] = {}
    for name in names:
        # What a pattern calls its groups, and else its letters.
        words = re.findall(r"[A-Za-z0-9]+", re.sub(r"\\[A-Za-z]|\(\?P<(\w+)>", r" \1 ", name))
        wanted = "".join(word[0].upper() + word[1:] for word in words) or "Root"
        wanted = wanted if wanted[0].isalpha() else f"N{wanted}"
        number, free = 2, wanted
        while free in found.values():
            number, free = number + 1, f"{wanted}{number}"
        found[name] = free
    return found

"""Write the table of ``mutants.md`` from tests/mutants/mutants.toml: ``python docs/mutants.py``."""

from __future__ import annotations

import re
import tomllib
from collections import Counter
from pathlib import Path
from typing import Final

DOCS: Final = Path(__file__).parent
PAGE: Final = DOCS / "mutants.md"
LIST: Final = DOCS.parent / "tests" / "mutants" / "mutants.toml"

# What is broken, by the part of the package; in the order of the page.
WHERE: Final = {
    "protocol": "packets, frames, limits",
    "errors.py": "what an end means",
    "config.py": "what cannot be right",
    "concurrency": "timers, callbacks, functions that are handed in",
    "engine": "sessions, outbox, polling, upgrade, drain, origins",
    "namespaces": "sockets, rooms, acks, inbox, recovery, subscriptions",
    "cluster": "peers, questions, answers, the order on the bus",
    "routing": "handlers, hooks, controllers, middleware",
    "signatures": "conversion, generic controllers, declared events",
    "contract": "types for the other end",
    "doors": "listener, readiness, WebSockets and their compression, HTTP, ASGI, other hosts",
    "client": "heartbeat, upgrade, bounds, goodbye",
    "metrics": "scrapes",
    "tracing": "context from strangers, spans that end",
    "workers": "sessions that stay with their worker, and workers that end",
    "admin": "who may look, what they are shown, what they may ask for",
    "cli": "what a terminal must not get",
}

_TABLE: Final = re.compile(r"(?<=-->\n\n)(?:\|.*\n)*")


def page() -> str:
    """Return the page as it should be: as it is, with the table as it should be.

    Raises:
      LookupError: if somebody has to say what is broken in a part.
    """
    mutants = tomllib.loads(LIST.read_text(encoding="utf-8"))["mutant"]
    counts = Counter(mutant["file"].partition("/")[0] for mutant in mutants)
    if unknown := sorted(set(counts) - set(WHERE)):
        raise LookupError(f"docs/mutants.py does not say what is broken in {', '.join(unknown)}; add it to WHERE.")
    rows = [f"| `trio_sio/{part}`: {what} | {counts[part]} |" for part, what in WHERE.items() if counts[part]]
    table = "\n".join(["| where | mutants |", "|---|---|", *rows, f"| all | {len(mutants)} |", ""])
    return _TABLE.sub(lambda _: table, PAGE.read_text(encoding="utf-8"), count=1)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

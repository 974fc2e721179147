"""Names the cases: one decorator gives a test its id, and one run per door."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pytest

HTTP_DOORS: Final = ("native", "hypercorn", "asgi")
DOORS: Final = (*HTTP_DOORS, "trio-websocket")

# The cases that poll, or ask for something by HTTP; the others are WebSockets from the beginning to the end.
NEED_HTTP: Final = frozenset(
    [f"eio-{number:02}" for number in (1, 2, 3, 4, 8, 9, 10, 11, 12, 16, 17, 20, 22, 23, 24, 25)]
    + [f"sio-{number:02}" for number in (1, 2, 3, 4, 8, 9, 12, 14, 15, 16)]
)


@dataclass(frozen=True)
class Timing:
    """How a server times a case, and what the client does about pings.

    Attributes:
      ping_interval: As in `Config`.
      ping_timeout: As in `Config`.
      answer_pings: Whether the client answers pings. If it does not, a case has half a second before the server gives up.
    """

    ping_interval: float
    ping_timeout: float
    answer_pings: bool


# The timing of the official suites. Whatever should close a session seems to work there, because the ping time-out
# closes it soon enough; and whatever should not fails where a case takes half a second, as on a busy machine. So it is
# for the cases about that time-out only.
BRISK: Final = Timing(ping_interval=0.3, ping_timeout=0.2, answer_pings=False)
PATIENT: Final = Timing(ping_interval=0.3, ping_timeout=30, answer_pings=True)


@dataclass(frozen=True)
class Setup:
    """Which server one run of a case needs.

    Attributes:
      suite: ``eio`` or ``sio``.
      door: One of `DOORS`.
      timing: See `Timing`.
      settings: Further `Config` values.
    """

    suite: str
    door: str
    timing: Timing
    settings: Mapping[str, Any] = field(default_factory=dict)


registered: dict[str, Timing] = {}
"""The timing of every case, by its id."""


def case(case_id: str, timing: Timing = PATIENT, **settings: float) -> pytest.MarkDecorator:
    """Run a test as case ``case_id`` at every door that can.

    Args:
      case_id: ``eio-01`` to ``eio-25``, ``sio-01`` to ``sio-32``: the suite and the place in it.
      timing: Cases about pings and their time-out name `BRISK`.
      settings: What the case needs otherwise in `Config`.
    """
    if case_id in registered:
        raise ValueError(f"There are two tests for {case_id}; give one of them another id.")
    registered[case_id] = timing
    suite = case_id.partition("-")[0]
    doors = HTTP_DOORS if case_id in NEED_HTTP else DOORS
    runs = [pytest.param(Setup(suite, door, timing, settings), id=f"{case_id}-{door}") for door in doors]
    return pytest.mark.parametrize("raw_door", runs, indirect=True)

"""Messages on the bus that are none: counted, dropped, and now and then complained of."""

from __future__ import annotations

from collections import Counter
from typing import Final

import trio

from ..log import get_logger

__all__ = ["BadMessages"]

logger = get_logger("trio_sio.cluster")

COMPLAINTS: Final = 60.0  # seconds between two lines


class BadMessages(Counter[str]):
    """How many messages were dropped, by what was wrong with them."""

    def __init__(self) -> None:
        super().__init__()
        self._complained: float | None = None

    def drop(self, kind: str, error: Exception) -> None:
        """Count one."""
        self[kind] += 1
        now = trio.current_time()
        if self._complained is None or now - self._complained >= COMPLAINTS:
            self._complained = now
            logger.warning("%s It is dropped; %d were so far.", error, self.total())

"""What somebody has to be told, but not a thousand times: once for each subject, and so many times in a minute at most.

Subjects are of clients' choosing. So what is remembered of them is bounded, in number and in length; the newest are
remembered, so that those which somebody has made up cannot be in the way of all that come later; and what there is no
room for in one minute is not remembered, and is told in another.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

import trio

from ..limits import MINUTE

__all__ = ["Notices"]

REMEMBERED: Final = 1_000
PER_MINUTE: Final = 60
LENGTH: Final = 200  # characters of a subject that count: more the log does not show either


class Notices:
    """Which subjects were told about."""

    def __init__(self) -> None:
        self._told: OrderedDict[str, None] = OrderedDict()
        self._end = 0.0  # of the current minute
        self._left = PER_MINUTE

    def is_new(self, subject: str) -> bool:
        """Tell whether ``subject`` is to be told about now; if so, it is no more for as long as it is remembered."""
        subject = subject[:LENGTH]
        if subject in self._told:
            self._told.move_to_end(subject)
            return False
        now = trio.current_time()
        if now >= self._end:
            self._end, self._left = now + MINUTE, PER_MINUTE
        if not self._left:
            return False
        self._left -= 1
        self._told[subject] = None
        if len(self._told) > REMEMBERED:
            self._told.popitem(last=False)
        return True

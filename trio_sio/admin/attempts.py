"""Failed logins, which an address has only so many of."""

from __future__ import annotations

import math
from collections import OrderedDict
from typing import Final

import trio

from ..engine.addresses import network_of
from ..limits import MINUTE

__all__ = ["FAILURES", "Attempts"]

FAILURES: Final = 10
"""How many logins of one address may fail in the minute that begins with the first of them."""

_REMEMBERED: Final = 65_536  # addresses; who has more than that is slowed down by what a password costs


class Attempts:
    """Counts the logins of each address that failed, or that are not decided yet: many at once are no way around it.

    An IPv6 address counts as its /64 network, clients without an address as one; see `AddressLimits`.
    """

    def __init__(self) -> None:
        # When the minute of an address ends, and how many it had in it; those that end first are first.
        self._minutes: OrderedDict[bytes | str | None, tuple[float, int]] = OrderedDict()

    def begin(self, address: str | None) -> int:
        """Count one; return 0, or for how many seconds there can be none."""
        now = trio.current_time()
        while self._minutes and next(iter(self._minutes.values()))[0] <= now:
            self._minutes.popitem(last=False)
        key = network_of(address)
        end, count = self._minutes.get(key, (now + MINUTE, 0))
        if count >= FAILURES:
            return math.ceil(end - now)
        if not count and len(self._minutes) >= _REMEMBERED:
            self._minutes.popitem(last=False)
        self._minutes[key] = end, count + 1
        return 0

    def succeeded(self, address: str | None) -> None:
        """Take back what was counted for ``address``: somebody there knows the password."""
        self._minutes.pop(network_of(address), None)

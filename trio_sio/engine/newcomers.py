"""Who has come to the door and is in no namespace yet: a bounded number of them, of which the oldest goes when one more comes.

As with the table of half-open connections in a TCP stack (its SYN cache): refusing those who come last would let anybody
who opens sessions and leaves them alone lock everybody else out, for the price of some kilobytes. A client that means it
joins a namespace within a round trip, so what is oldest among thousands is not one.

A handshake is a newcomer from when it is let through to `Config.allow_request`, which may take long, until it is answered;
then its session is one, until it has joined.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable

import trio

from ..limits import MINUTE
from ..log import get_logger

__all__ = ["Newcomers"]

logger = get_logger("trio_sio.engine")


class Newcomers:
    """The newcomers of one engine.

    Args:
      most: How many there may be: `Limits.unconnected_sessions`.

    Attributes:
      displaced: How many had to go since the start.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        # Not a dict: looking for the first of one takes longer the more were taken from its front.
        self._leave: OrderedDict[object, Callable[[], None]] = OrderedDict()
        self.displaced = 0
        self._quiet_until = 0.0

    def __len__(self) -> int:
        return len(self._leave)

    def enter(self, newcomer: object, leave: Callable[[], None]) -> None:
        """Count ``newcomer`` until `remove`; if there are too many now, let the oldest go.

        Args:
          newcomer: Somebody who is not here yet.
          leave: Lets it go; synchronous.
        """
        while len(self._leave) >= self._most:
            _, let_oldest_go = self._leave.popitem(last=False)
            self.displaced += 1
            self._warn()
            let_oldest_go()
        self._leave[newcomer] = leave

    def remove(self, newcomer: object) -> None:
        """Count ``newcomer`` no more; idempotent."""
        self._leave.pop(newcomer, None)

    def _warn(self) -> None:
        now = trio.current_time()
        if now >= self._quiet_until:
            self._quiet_until = now + MINUTE
            logger.warning(
                "%d sessions have joined no namespace, so the oldest are ended as others come. Limits.unconnected_sessions sets it.",
                self._most,
            )

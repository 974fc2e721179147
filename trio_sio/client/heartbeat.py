"""How long a session waits for its server: a ping must come in time, or a large message must come on.

Pings wait their turn behind messages, and on a slow network a large one takes longer than a ping may be missing (the
server's heartbeat waits in the same way).
"""

from __future__ import annotations

import math
from collections.abc import Callable

import trio

from ..limits import PROGRESS
from .handshake import Handshake

__all__ = ["Heartbeat", "Progress"]


class Heartbeat:
    """The deadline of the task that reads.

    Args:
      handshake: Says how often pings come.

    Attributes:
      scope: Around what reads; cancelled when the server is to be given up.
    """

    def __init__(self, handshake: Handshake) -> None:
        self.scope = trio.CancelScope()
        self._handshake = handshake

    def restart(self) -> None:
        """Begin to wait for a ping."""
        self.scope.deadline = trio.current_time() + self._handshake.patience

    def pause(self) -> None:
        """Wait for nothing: while nothing is read, a missing ping says nothing about the server."""
        self.scope.deadline = math.inf

    def prolong(self) -> None:
        """Let the next ping be missing for ``pingTimeout`` from now, because something comes on."""
        self.scope.deadline = max(self.scope.deadline, trio.current_time() + self._handshake.ping_timeout)


class Progress:
    """Counts what has come of a message that is not complete.

    Attributes:
      on_progress: Called whenever it has come on by `PROGRESS` bytes.
    """

    def __init__(self) -> None:
        self.on_progress: Callable[[], None] = lambda: None
        self._bytes = 0

    def begin(self) -> None:
        """Begin with a new message."""
        self._bytes = 0

    def add(self, size: int) -> None:
        """Learn that ``size`` bytes have come and that more are missing."""
        self._bytes += size
        if self._bytes >= PROGRESS:
            self._bytes %= PROGRESS
            self.on_progress()

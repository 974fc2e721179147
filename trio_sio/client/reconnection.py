"""How long a client waits before it tries again."""

from __future__ import annotations

import math
import secrets
from collections.abc import Callable
from dataclasses import dataclass

from ..errors import ConfigurationError

__all__ = ["Backoff", "Reconnection"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Reconnection:
    """How a client comes back when the connection that it had is lost (Node: ``reconnectionAttempts`` and its neighbours).

    The first attempt comes after ``delay``, each further one after twice as long, up to ``delay_max``. It begins again at
    ``delay`` once a namespace has been joined: a server that only lets connections open and drops them is asked less and
    less often, too.

    Attributes:
      attempts: How many attempts in a row may fail; then the sockets end. ``math.inf``: any number.
      delay: Seconds before the first attempt.
      delay_max: Seconds that no attempt waits longer than.
      jitter: By which part of itself each delay may be longer or shorter, from 0 to 1, so that the clients of a server
        that was restarted do not all come back at once.
    """

    attempts: float = math.inf
    delay: float = 1
    delay_max: float = 5
    jitter: float = 0.5

    def __post_init__(self) -> None:
        if not self.attempts >= 1:
            raise ConfigurationError(f"Reconnection.attempts is {self.attempts!r}; give at least 1, or reconnection=None for no attempt.")
        if not 0 < self.delay < math.inf:
            raise ConfigurationError(f"Reconnection.delay is {self.delay!r}; give a number of seconds above 0.")
        if not self.delay <= self.delay_max < math.inf:
            raise ConfigurationError(f"Reconnection.delay_max is {self.delay_max!r}; give at least Reconnection.delay, {self.delay!r}.")
        if not 0 <= self.jitter <= 1:
            raise ConfigurationError(f"Reconnection.jitter is {self.jitter!r}; give a number from 0 to 1.")


class Backoff:
    """Counts attempts in a row, and says how long to wait before the next one (Node: ``backo2``).

    Args:
      reconnection: The numbers.
      random: Gives numbers from 0 to 1; ``None``: the operating system's randomness.

    Attributes:
      attempts: How many attempts were begun since the last success.
    """

    __slots__ = ("_random", "_reconnection", "attempts")

    def __init__(self, reconnection: Reconnection, random: Callable[[], float] | None = None) -> None:
        self._reconnection = reconnection
        self._random = secrets.SystemRandom().random if random is None else random
        self.attempts = 0

    @property
    def exhausted(self) -> bool:
        """Whether there is no attempt left."""
        return self.attempts >= self._reconnection.attempts

    def next_delay(self) -> float:
        """Count one more attempt, and return the seconds to wait before it.

        The jitter is taken of what the cap has left, so that clients stay apart that have all reached it.
        """
        settings = self._reconnection
        # The exponent is bounded, because 2.0**1024 is an error and a server may well be away for an hour.
        delay = min(settings.delay * 2.0 ** min(self.attempts, 64), settings.delay_max)
        self.attempts += 1
        deviation = settings.jitter * (2 * self._random() - 1)
        return min(delay * (1 + deviation), settings.delay_max)

    def reset(self) -> None:
        """Begin again: the last attempt was a success."""
        self.attempts = 0

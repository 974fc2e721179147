"""What a server tells whoever starts and stops it: whether it lives, and whether it takes clients."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Health", "Ready"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Health:
    """Whether a server lives; an answer at all says that the event loop turns.

    Attributes:
      alive: Whether it has been entered and not left; a server that drains is alive.
      uptime: For how long, in seconds; 0 if it is not.
    """

    alive: bool
    uptime: float


@dataclass(frozen=True, kw_only=True, slots=True)
class Ready:
    """Whether a server takes new clients.

    Attributes:
      ready: Whether it does.
      reason: Why not, as a sentence; empty if it does.
    """

    ready: bool
    reason: str = ""

"""An outbox that tells somebody what it drops."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TypeVar

from .outbox import Outbox, QueuedPacket

__all__ = ["ObservedOutbox"]

P = TypeVar("P", bound=QueuedPacket)


class ObservedOutbox(Outbox[P]):
    """An `Outbox` for whoever wants to know.

    It tells so when what was called is done, so that who is told may call it in turn.

    Args:
      max_packets: How many packets may wait.
      max_bytes: How large they may be in all.
      tell: Gets how many packets were dropped since the last time, and why.
      sampled: Gets how long a `sample` has waited.
    """

    __slots__ = ("_sampled", "_tell", "_told")

    def __init__(self, max_packets: int, max_bytes: int, tell: Callable[[int, str], object], sampled: Callable[[float], object]) -> None:
        super().__init__(max_packets, max_bytes)
        self._tell = tell
        self._sampled = sampled
        self._told = 0

    def put(self, packet: P) -> None:
        """See `Outbox.put`."""
        super().put(packet)
        if self.closed:  # otherwise it may be a step of something larger, which tells in the end
            self._settle()

    def offer(self, packet: P) -> bool:
        """See `Outbox.offer`."""
        fits = super().offer(packet)
        self._settle()
        return fits

    def offer_volatile(self, packet: P, key: Hashable = None) -> None:
        """See `Outbox.offer_volatile`."""
        super().offer_volatile(packet, key)
        self._settle()

    def lose(self, reason: str) -> None:
        """See `Outbox.lose`."""
        super().lose(reason)
        self._settle(reason)

    def dismiss(self, owner: object) -> list[P]:
        """See `Outbox.dismiss`."""
        dismissed = super().dismiss(owner)
        self._settle("gone")
        return dismissed

    def close(self) -> None:
        """See `Outbox.close`."""
        super().close()
        self._settle()

    def take_measured(self, most: int, measure: Callable[[P], int] | None = None) -> list[P]:
        """See `Outbox.take_measured`: whatever was sampled leaves this way."""
        is_sampling = self._sample is not None
        taken = super().take_measured(most, measure)
        if is_sampling and self._sample is None and self.waited is not None:
            self._sampled(self.waited)
        return taken

    def _settle(self, reason: str | None = None) -> None:
        count = self.dropped - self._told
        if count:
            self._told = self.dropped
            self._tell(count, reason or ("gone" if self.closed else "volatile"))

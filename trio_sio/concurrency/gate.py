"""Where tasks wait while something is paused."""

from __future__ import annotations

import trio

__all__ = ["Gate"]


class Gate:
    """Open or shut; tasks wait at it while it is shut. Open at first."""

    __slots__ = ("_opened",)

    def __init__(self) -> None:
        self._opened: trio.Event | None = None  # made when it is shut, as most never are

    @property
    def is_open(self) -> bool:
        """Whether `wait` returns at once."""
        return self._opened is None

    def open(self) -> None:
        """Let everybody through; idempotent."""
        if self._opened is not None:
            self._opened.set()
            self._opened = None

    def shut(self) -> None:
        """Let nobody through; idempotent."""
        if self._opened is None:
            self._opened = trio.Event()

    async def wait(self) -> None:
        """Return when it is open; at once, without a checkpoint, if it is."""
        while self._opened is not None:
            await self._opened.wait()

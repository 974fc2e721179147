"""How what connects servers is: up or down, and what may be missing; told to the application, to an instrument and to the log."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Final

import trio

from ..concurrency.callbacks import Callbacks
from ..log import get_logger

if TYPE_CHECKING:
    from .socket_instrument import SocketInstrument

__all__ = ["BusNews"]

logger = get_logger("trio_sio.cluster")

_COMPLAINTS: Final = 60.0  # seconds between two lines about gaps


class BusNews:
    """The part of a `Cluster` that tells how it is.

    Attributes:
      on_gap: Gets a sentence whenever something may not have reached the other servers, or not come from there, such as the loss
        of a connection or of messages that did not fit into a queue. Local clients have what was for them in any case.
      gaps: How often that was.
      instrument: Is told of gaps, and of what `comes` and `goes`; ``None``: nobody is.
    """

    def __init__(self) -> None:
        self.on_gap: Callbacks[[str]] = Callbacks("on_gap")
        self.gaps = 0
        self.instrument: SocketInstrument[Any] | None = None
        self._is_up = False
        self._complained = -math.inf
        self._tells = False

    def comes(self) -> None:
        """Tell the instrument that what is emitted reaches the others from now on, unless it did already."""
        if not self._is_up:
            self._is_up = True
            if self.instrument is not None:
                self.instrument.bus_up()

    def goes(self, why: str) -> None:
        """Tell it that this is over, if it was so; ``why``: a sentence."""
        if self._is_up:
            self._is_up = False
            if self.instrument is not None:
                self.instrument.bus_down(why)

    def has_gap(self, why: str) -> None:
        """Count a gap and tell the application; ``why``: a sentence. It is in the log once a minute.

        A gap that comes of what the application emits because it is told of a gap is counted only.
        """
        self.gaps += 1
        if self.instrument is not None:
            self.instrument.bus_gap(why)
        now = trio.current_time()
        if now - self._complained >= _COMPLAINTS:
            self._complained = now
            logger.warning("Gap between servers: %s", why)
        if not self._tells:
            self._tells = True
            try:
                self.on_gap.fire(why)
            finally:
                self._tells = False

"""What all sessions of a server share, and none of them owns."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..concurrency.cleanup import Cleanups
from ..concurrency.timers import Timers
from .compression import Compressor
from .counters import Counters
from .finishers import Finishers
from .flusher import Flusher
from .heartbeat import Pace
from .traffic import Traffic

if TYPE_CHECKING:
    from ..config import Config
    from .instrument import SessionInstrument

__all__ = ["Services"]


class Services:
    """The services of one server. `Engine.running` runs those that have a task; here is only what they do for a session.

    Args:
      config: How to behave.
      is_socketio: Whether messages are Socket.IO packets, for the log.

    Attributes:
      config: As given.
      flusher: Writes for every connection, once per tick.
      mark: See `Flusher.mark`.
      timers: Calls back later.
      pace: What heartbeats share.
      cleanups: Bounds what runs when something has ended.
      finishers: Runs what outlives its socket.
      compressor: Compresses responses to polls.
      counters: What has happened since the start.
      traffic: Logs packets.
      instrument: Is told what happens; ``None``: nobody is. Not changed once there are sessions.
    """

    def __init__(self, config: Config, *, is_socketio: bool = False) -> None:
        self.config = config
        self.flusher = Flusher()
        self.mark = self.flusher.mark  # made once, as each of thousands of transports holds it
        self.timers = Timers()
        self.pace = Pace(config, self.timers)
        self.cleanups = Cleanups(config.cleanup_timeout)
        self.finishers = Finishers()
        self.compressor = Compressor(config.compression)
        self.counters = Counters()
        self.traffic = Traffic(is_socketio=is_socketio)
        self.instrument: SessionInstrument | None = None

"""systemd, or whoever else runs services as it does: with ``Type=notify`` it wants to be told when one is ready, reloads, and stops.

Each message is one datagram to the Unix socket that ``NOTIFY_SOCKET`` names; see sd_notify(3) and sd_watchdog_enabled(3). Whatever is
wrong with that socket, the server serves: it costs one line in the log.
"""

from __future__ import annotations

import os
import re
import socket
import time
from typing import Final

import trio

from ..log import get_logger

__all__ = ["ServiceManager", "take_service_manager"]

logger = get_logger("trio_sio.service")

_PATIENCE: Final = 1.0  # seconds that a message may take to be put into the socket


class ServiceManager:
    """Who has started this process, and wants to be told how it is.

    Args:
      where: A path, or ``@`` and a name in the abstract namespace; ``None``: nobody wants to be told.
      watchdog: Within how many seconds it wants a sign of life; ``None``: it does not wait for any.
    """

    def __init__(self, where: str | None, watchdog: float | None = None) -> None:
        self._where = where
        self._watchdog = watchdog
        self._stopping = False
        self._failed = False

    async def ready(self) -> None:
        """Tell that clients may come; also, after `reloading`, that this is done."""
        if not self._stopping:
            await self._tell("READY=1")

    async def reloading(self) -> None:
        """Tell that what was changed is being loaded, from now on."""
        if not self._stopping:
            await self._tell(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    async def stopping(self) -> None:
        """Tell that this is the end; nothing else is told after that but signs of life."""
        self._stopping = True
        await self._tell("STOPPING=1")

    async def show_life(self) -> None:
        """Tell that the event loop turns, twice as often as is wanted, until cancelled; return if nobody waits for it."""
        if self._where is None or self._watchdog is None:
            return
        while True:
            await self._tell("WATCHDOG=1")
            await trio.sleep(self._watchdog / 2)

    async def _tell(self, message: str) -> None:
        if self._where is None:
            await trio.lowlevel.checkpoint()
            return
        reason = "It takes nothing."
        try:
            with trio.move_on_after(_PATIENCE):
                await _send(self._where, message)
                return
        except (OSError, ValueError) as error:
            reason = f"{error}."
        if not self._failed:
            logger.warning("NOTIFY_SOCKET=%.200r cannot be told how this server is: %s", self._where, reason)
            self._failed = True


async def _send(where: str, message: str) -> None:
    if where[:1] not in ("/", "@") or len(where) == 1:
        raise ValueError("It is neither a path nor '@' and a name")
    address = b"\0" + os.fsencode(where[1:]) if where.startswith("@") else os.fsencode(where)
    with trio.socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        # Connected, it is writable when there is room at the other end.
        await sock.connect(address)
        await sock.send(message.encode())


def take_service_manager() -> ServiceManager:
    """Return who has started this process, and take that out of the environment: it is for none of its children."""
    where = os.environ.pop("NOTIFY_SOCKET", None) or None
    microseconds, pid = os.environ.pop("WATCHDOG_USEC", ""), os.environ.pop("WATCHDOG_PID", "")
    ours = pid in ("", str(os.getpid())) and re.fullmatch("[0-9]{1,18}", microseconds) and int(microseconds)
    return ServiceManager(where, int(microseconds) / 1e6 if ours else None)

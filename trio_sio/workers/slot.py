"""One worker, whichever process that is now: what it is asked, and how it ends."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING, Final

import trio

from ..log import get_logger
from .worker import GRACE

if TYPE_CHECKING:
    from .channel import Channel, Message

__all__ = ["Slot", "how_it_ended", "kill"]

logger = get_logger("trio_sio.workers")

_LAST_WORDS: Final = 1.0  # seconds for a stack


class Slot:
    """One worker.

    Attributes:
      number: Which.
      process: What runs, if anything does.
      channel: To that.
      ready: Whether it has begun to serve; another event for each process.
      asked: Whether it was asked to end.
      said: What it has told when it was ready.
      refused: Why it does not start, if it has said so.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: trio.Process | None = None
        self.channel: Channel | None = None
        self.ready = trio.Event()
        self.asked = False
        self.said: Message = {}
        self.refused = ""

    def renew(self) -> trio.Event:
        """Return what tells that the next process has begun to serve."""
        if self.ready.is_set():
            self.ready = trio.Event()
        return self.ready

    @property
    def patience(self) -> float:
        """How long its end may take."""
        drain_timeout: float = self.said.get("drain_timeout", 0.0)
        return drain_timeout + GRACE

    async def stop(self) -> None:
        """Ask its process to end, and wait for that; who does not end is killed."""
        process = self.process
        if process is None:
            await trio.lowlevel.checkpoint()
            return
        self.asked = True
        if not self.said:
            process.terminate()  # it has nobody to say goodbye to yet
        elif self.channel is not None:
            self.channel.send({"do": "stop"})
        with trio.move_on_after(self.patience):
            await process.wait()
            return
        logger.error("Worker %d has not ended within %g seconds and is killed.", self.number, self.patience)
        await kill(process)


async def kill(process: trio.Process) -> None:
    """End a process, with its stack in the log, for which a worker has `faulthandler`; where that is stuck, without."""
    process.send_signal(signal.SIGABRT)
    with trio.move_on_after(_LAST_WORDS):
        await process.wait()
        return
    process.kill()


def how_it_ended(code: int) -> str:
    """Return what the code that a process has ended with means, as a sentence."""
    if code < 0:
        try:
            return f"{signal.Signals(-code).name} ended it."
        except ValueError:
            return f"Signal {-code} ended it."
    return f"Its exit code is {code}."

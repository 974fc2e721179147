"""The figures of all workers: each is asked, and tells its own when it gets to that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import msgspec
import trio

from ..statistics import Statistics, add_up

if TYPE_CHECKING:
    from .channel import Message
    from .slot import Slot

__all__ = ["Questions", "WorkersStatistics"]

_PATIENCE: Final = 2.0  # seconds within which a worker tells its figures


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkersStatistics:
    """The figures of all workers, at about one moment; those "since the start" are since that of each process.

    Attributes:
      total: Those of all that have answered, added up.
      workers: Those of each; ``None``: it does not run now, or has not answered.
    """

    total: Statistics
    workers: Sequence[Statistics | None]


class Questions:
    """What was asked, and is not answered yet."""

    def __init__(self) -> None:
        self._open: dict[int, tuple[dict[int, Statistics | None], trio.Event]] = {}
        self._asked = 0

    async def ask(self, slots: Iterable[Slot]) -> WorkersStatistics:
        """Return the figures of all workers; of one that does not answer in time there are none."""
        slots = list(slots)
        self._asked += 1
        number, answers, complete = self._asked, dict[int, Statistics | None](), trio.Event()
        asked = [slot for slot in slots if slot.channel is not None and slot.channel.send({"do": "statistics", "number": number})]
        self._open[number] = answers, complete
        try:
            with trio.move_on_after(_PATIENCE):
                while len(answers) < len(asked):
                    await complete.wait()
                    complete = trio.Event()
                    self._open[number] = answers, complete
        finally:
            del self._open[number]
        workers = [answers.get(slot.number) for slot in slots]
        return WorkersStatistics(total=add_up([one for one in workers if one is not None]), workers=workers)

    def answered(self, worker: int, message: Message) -> None:
        """Take an answer, unless nobody waits for it any more."""
        answers, complete = self._open.get(message["number"], ({}, trio.Event()))
        figures = message["figures"]
        answers[worker] = None if figures is None else msgspec.convert(figures, Statistics, strict=False)
        complete.set()

"""Steps one after another: ``trio-sio connect --emit EVENT --expect EVENT``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import trio

from ..client import Event
from .conversation import Conversation, ExitCode
from .notation import Written, describes
from .output import complain

__all__ = ["Emit", "Expect", "meet", "run_steps"]


@dataclass(frozen=True, slots=True)
class Emit:
    """Emit an event, and wait for the acknowledgement if it wants one."""

    written: Written


@dataclass(frozen=True, slots=True)
class Expect:
    """Wait until such an event has come.

    Attributes:
      written: The event, or the beginning of it.
      met: Set when it has come.
    """

    written: Written
    met: trio.Event = field(default_factory=trio.Event)


async def run_steps(conversation: Conversation, steps: Sequence[Emit | Expect], timeout: float) -> ExitCode:
    """Do ``steps`` in order, up to the first that fails; return the exit code.

    Every event meets at most one expectation, the first that it fits, even if its turn has not come: an answer may be
    faster than the step that waits for it.

    Args:
      conversation: With whom.
      steps: What to do.
      timeout: Seconds that an expected event may take when its turn has come.
    """
    for step in steps:
        if isinstance(step, Emit):
            code = await conversation.emit(step.written)
            if code is not ExitCode.OK:
                return code
        else:
            with trio.move_on_after(timeout):
                await step.met.wait()
            if not step.met.is_set():
                complain(f"No event like {step.written.text!r} came within {timeout:g} seconds.")
                return ExitCode.FAILED
    return ExitCode.OK


def meet(steps: Sequence[Emit | Expect], event: Event) -> None:
    """Let ``event`` meet the first expectation that it fits."""
    for step in steps:
        if isinstance(step, Expect) and not step.met.is_set() and describes(step.written, event):
            step.met.set()
            return

"""Whether new clients may come, of all workers, whichever of them is asked."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from ..health import Ready
from .board import State

if TYPE_CHECKING:
    from .board import Board

__all__ = ["WorkerReady", "WorkersReady"]


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkerReady:
    """One worker.

    Attributes:
      state: ``"gone"``, ``"starting"``, ``"serving"`` or ``"draining"``.
      ready: Whether it takes new clients; one that hangs takes none.
      connections: How many it has.
      sessions: The same.
    """

    state: str
    ready: bool
    connections: int
    sessions: int


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkersReady(Ready):
    """All workers: new clients may come as long as one of them takes any.

    Attributes:
      sessions: How many all of them have.
      workers: Each of them.
    """

    sessions: int
    workers: list[WorkerReady]

    @classmethod
    def of(cls, board: Board, this: Ready, number: int) -> WorkersReady:
        """Return what is on the ``board``; of the worker ``number``, which asks, it is known exactly."""
        workers = []
        for one in range(board.count):
            state = board.state(one)
            ready = this.ready if one == number else state is State.SERVING and board.ready(one) and not board.hangs(one)
            sessions = 0 if state in (State.GONE, State.STARTING) else board.sessions(one)
            workers.append(WorkerReady(state=state.name.lower(), ready=ready, connections=board.connections(one), sessions=sessions))
        ready = any(worker.ready for worker in workers)
        return cls(ready=ready, reason="" if ready else this.reason, sessions=sum(one.sessions for one in workers), workers=workers)

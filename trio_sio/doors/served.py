"""What a door has to know of the server that it works for."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Final, Protocol

from ..engine.engine import Engine

if TYPE_CHECKING:
    from .native.readiness import Readiness

__all__ = ["LAST_WORDS_SECONDS", "Served"]

LAST_WORDS_SECONDS: Final = 2.0
"""For so long connections may say and hear their last when all sessions are over: a response, a close frame."""


class Served(Protocol):
    """A server (`trio_sio.Server`, `trio_sio.EngineServer`): ``async with`` runs it.

    Attributes:
      engine: Takes its requests.
      readiness: Receives on plain sockets while it runs, where there is an epoll.
    """

    engine: Engine
    readiness: Readiness | None

    @property
    def running(self) -> bool:
        """Whether it was entered and not left."""

    async def drain(self) -> None:
        """Say goodbye to everybody."""

    async def __aenter__(self) -> object: ...

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None, /
    ) -> bool | None: ...

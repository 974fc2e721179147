"""Handshakes from when they are counted until they are answered: what may object to a new session, and in which order.

What costs nothing comes first, so that a server which has no room asks nobody about its clients. From then on the
handshake is one of the `Newcomers`: `Config.allow_request` may take long, and whoever waits for it takes a place.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import trio

from ..concurrency.functions import is_yes, let_go
from ..log import get_logger
from .admission import BAD_REQUEST, DISPLACED, FORBIDDEN, FULL, NOT_RUNNING, SHUTTING_DOWN, Refused, Unavailable

if TYPE_CHECKING:
    from ..protocol.http import Request
    from .engine import Engine

__all__ = ["Handshake", "Handshakes"]

logger = get_logger("trio_sio.engine")


class Handshakes:
    """The handshakes of one engine that are not answered yet."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._limit = engine.config.limits.connections
        self._pending: set[Handshake] = set()
        self._ids: set[str] = set()  # of those sessions whose first response is on its way

    @contextmanager
    def enter(self, request: Request) -> Iterator[Handshake]:
        """Count a handshake while the block runs.

        Raises:
          TooMany: if its address has had its share.
          Unavailable: if there is no room for it.
        """
        engine, address = self._engine, request.address
        engine.addresses.count_handshake(address)
        self._require_room()
        engine.addresses.check_connections(address)
        handshake = Handshake(self, engine)
        engine.newcomers.enter(handshake, handshake.cancel)
        engine.addresses.enter(address)
        self._pending.add(handshake)
        try:
            yield handshake
        finally:
            self._pending.remove(handshake)
            self._ids.discard(handshake.sid)
            engine.addresses.leave(address)
            engine.newcomers.remove(handshake)

    def cancel(self) -> None:
        """Let all of them go, as the engine ends."""
        for handshake in self._pending:
            handshake.cancel()

    def claim(self, sid: str) -> bool:
        """Tell whether ``sid`` is nobody's yet; it is in use from now on."""
        if self._engine.knows(sid) or sid in self._ids:
            return False
        self._ids.add(sid)
        return True

    def _require_room(self) -> None:
        engine = self._engine
        if not engine.is_running:
            raise Unavailable(NOT_RUNNING)
        if engine.draining.is_set():
            raise Unavailable(SHUTTING_DOWN)
        if self._limit is not None and len(engine.connections) + len(self._pending) >= self._limit:
            raise Unavailable(FULL)


class Handshake:
    """One of them.

    Attributes:
      sid: The id of the session that it opens; empty until that is certain.
    """

    __slots__ = ("_engine", "_handshakes", "_scope", "sid")

    def __init__(self, handshakes: Handshakes, engine: Engine) -> None:
        self.sid = ""
        self._engine = engine
        self._handshakes = handshakes
        self._scope = trio.CancelScope()

    @property
    def is_over(self) -> bool:
        """Whether it had to go, or comes too late, so that no session must come of it."""
        return self._scope.cancel_called or self._engine.draining.is_set()

    def cancel(self) -> None:
        """Let it go: as the oldest newcomer, or because the engine ends."""
        self._scope.cancel()

    async def admit(self, request: Request) -> str:
        """Return the id for the new session, once everything that may object has not.

        Raises:
          Refused: if something does.
          Unavailable: if it had to go meanwhile.
        """
        asked, refused = "Config.allow_request", Refused(FORBIDDEN, "allow_request failed")
        # The scope is inside: where a function of the application was cancelled and failed, the failure is left of it.
        try:
            with self._scope:
                await self._ask_whether_allowed(request)
                asked, refused = "Config.generate_id", Refused(BAD_REQUEST, "no session id")
                await self._get_id()
        except Refused:
            raise
        except Exception:
            logger.exception("%s failed; the handshake is refused.", asked)
            raise refused from None
        if self.is_over:
            raise Unavailable(SHUTTING_DOWN if self._engine.draining.is_set() else DISPLACED)
        return self.sid

    async def _ask_whether_allowed(self, request: Request) -> None:
        function = self._engine.config.allow_request
        if function is None:
            return
        allowed = function(request)
        if inspect.isawaitable(allowed):
            allowed = await allowed
        if not is_yes(allowed, "Config.allow_request"):
            raise Refused(FORBIDDEN, "allow_request said no")

    async def _get_id(self) -> None:
        sid: object = self._engine.config.generate_id()
        if inspect.isawaitable(sid):
            sid = await sid
        if not isinstance(sid, str) or not sid:
            let_go(sid)
            logger.error("Config.generate_id returned %.80r, which is no id; the handshake is refused.", sid)
            raise Refused(BAD_REQUEST, "no session id")
        if not self._handshakes.claim(sid):
            logger.error("Config.generate_id returned an id that is in use; the handshake is refused.")
            raise Refused(BAD_REQUEST, "session id in use")
        self.sid = sid

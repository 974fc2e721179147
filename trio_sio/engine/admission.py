"""Admission: handshakes from when they are counted until they are answered, what may object to one, and in which order.

What costs nothing comes first, so that a server which has no room asks nobody about its clients. From then on the
handshake is one of the `Newcomers`: `Config.allow_request` may take long, and whoever waits for it takes a place.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from ..concurrency.functions import is_yes, let_go
from ..log import get_logger
from .refusals import BAD_REQUEST, DISPLACED, FORBIDDEN, FULL, NOT_RUNNING, SHUTTING_DOWN, Rejected, Unavailable

if TYPE_CHECKING:
    from ..config import Config
    from ..protocol.http import Request
    from .sessions import Sessions

__all__ = ["Admission", "Applicant"]

logger = get_logger("trio_sio.engine")

MOST_DRAWS: Final = 2_000  # ids until one is of this worker: random ones are of one among 64 by then but for one case in 10^13


class Admission:
    """The handshakes of one server that are not answered yet.

    Args:
      config: Says who is to be asked, and how many sessions there may be.
      sessions: Those that are open.
    """

    def __init__(self, config: Config, sessions: Sessions) -> None:
        self._config = config
        self._sessions = sessions
        self._applicants: set[Applicant] = set()
        self._ids: set[str] = set()  # of those sessions whose first response is on its way

    @contextmanager
    def enter(self, request: Request) -> Iterator[Applicant]:
        """Count a handshake while the block runs.

        Raises:
          TooMany: if its address has had its share.
          Unavailable: if there is no room for it.
        """
        sessions, address = self._sessions, request.address
        sessions.addresses.count_handshake(address)
        self._require_room()
        sessions.addresses.check_connections(address)
        applicant = Applicant(self, self._config, sessions)
        sessions.newcomers.enter(applicant, applicant.cancel)
        sessions.addresses.enter(address)
        self._applicants.add(applicant)
        try:
            yield applicant
        finally:
            self._applicants.remove(applicant)
            self._ids.discard(applicant.sid)
            sessions.addresses.leave(address)
            sessions.newcomers.remove(applicant)

    def cancel(self) -> None:
        """Let all of them go: the server ends."""
        for applicant in self._applicants:
            applicant.cancel()

    def claim(self, sid: str) -> bool:
        """Tell whether ``sid`` is nobody's yet; it is in use from now on."""
        if sid in self._sessions.by_id or sid in self._ids:
            return False
        self._ids.add(sid)
        return True

    def _require_room(self) -> None:
        sessions, limit = self._sessions, self._config.limits.connections
        if not sessions.is_open:
            raise Unavailable(NOT_RUNNING)
        if sessions.draining.is_set():
            raise Unavailable(SHUTTING_DOWN)
        if limit is not None and len(sessions.running) + len(self._applicants) >= limit:
            raise Unavailable(FULL)


class Applicant:
    """A handshake that asks to be let in.

    Attributes:
      sid: The id of the session that it opens; empty until that is certain.
    """

    __slots__ = ("_admission", "_cancelled", "_config", "_scope", "_sessions", "sid")

    def __init__(self, admission: Admission, config: Config, sessions: Sessions) -> None:
        self.sid = ""
        self._admission = admission
        self._config = config
        self._sessions = sessions
        self._cancelled = False
        self._scope: trio.CancelScope | None = None  # while it waits for an answer of the application

    @property
    def is_over(self) -> bool:
        """Whether it had to go, or comes too late, so that no session must come of it."""
        return self._cancelled or self._sessions.draining.is_set()

    def cancel(self) -> None:
        """Let it go: as the oldest newcomer, or because the server ends."""
        self._cancelled = True
        if self._scope is not None:
            self._scope.cancel()

    async def admit(self, request: Request) -> str:
        """Return the id for the new session, once everything that may object has not.

        Raises:
          Rejected: if something does.
          Unavailable: if it had to go meanwhile.
        """
        asked, rejected = "Config.allow_request", Rejected(FORBIDDEN, "allow_request failed")
        try:
            await self._ask_whether_allowed(request)
            asked, rejected = "Config.generate_id", Rejected(BAD_REQUEST, "no session id")
            if not self._cancelled:
                await self._get_id()
        except Rejected:
            raise
        except Exception:
            logger.exception("%s failed; the handshake is refused.", asked)
            raise rejected from None
        if self.is_over:
            raise Unavailable(SHUTTING_DOWN if self._sessions.draining.is_set() else DISPLACED)
        return self.sid

    async def _wait_for(self, answer: Awaitable[object]) -> object:
        """Return what ``answer`` is, unless this has to go before that is known."""
        # Inside of what catches exceptions: where a function of the application was cancelled and failed, the failure is left of it.
        with trio.CancelScope() as self._scope:
            if self._cancelled:
                self._scope.cancel()
            return await answer
        return None

    async def _ask_whether_allowed(self, request: Request) -> None:
        function = self._config.allow_request
        if function is None:
            return
        allowed: object = function(request)
        if inspect.isawaitable(allowed):
            allowed = await self._wait_for(allowed)
        if not self._cancelled and not is_yes(allowed, "Config.allow_request"):
            raise Rejected(FORBIDDEN, "allow_request said no")

    async def _get_id(self) -> None:
        is_mine = self._sessions.is_mine
        for _ in range(MOST_DRAWS):
            sid: object = self._config.generate_id()
            if inspect.isawaitable(sid):
                sid = await self._wait_for(sid)
            if self._cancelled:
                return
            if not isinstance(sid, str) or not sid:
                let_go(sid)
                logger.error("Config.generate_id returned %.80r, which is no id; the handshake is refused.", sid)
                raise Rejected(BAD_REQUEST, "no session id")
            if is_mine is None or is_mine(sid):
                break
        else:
            logger.error("Config.generate_id has returned no id in %d calls that is this worker's; return random ones.", MOST_DRAWS)
            raise Rejected(BAD_REQUEST, "no session id")
        if not self._admission.claim(sid):
            logger.error("Config.generate_id returned an id that is in use; the handshake is refused.")
            raise Rejected(BAD_REQUEST, "session id in use")
        self.sid = sid

"""Sessions of admin pages: who has logged in need not do so again after a reload, on whichever server of the cluster.

Theory of operation
===================

A page that logs in gets a session id, keeps it, and shows it from then on. The server keeps only its digest, so that what travels
between servers, and what a dump of the memory shows, opens nothing. Each login is told to the other servers at once; one that does not
know a session, because it has started since, asks them. (Node: ``InMemoryStore``, or ``RedisStore``, which is the same for all servers.)
When all of them restart, one logs in again.
"""

from __future__ import annotations

import math
import secrets
from collections import OrderedDict
from hashlib import sha256
from typing import TYPE_CHECKING, Final, TypeGuard

import trio

from ..errors import ConnectionRefused
from ..namespaces.answers import AckTimeout

if TYPE_CHECKING:
    from ..namespaces.namespace import Namespace

__all__ = ["DURATION", "MOST_SESSIONS", "Sessions"]

DURATION: Final = 86_400.0
"""Seconds for which a session lasts, as with Node's ``RedisStore``."""

MOST_SESSIONS: Final = 1_000
"""How many there are at once; the oldest ends for another one."""

_PATIENCE: Final = 1.0  # seconds that the other servers have to answer
_MOST_ASKING: Final = 16
_LONGEST: Final = 128  # characters of an id that may be one; Node's have 16
_OPENED: Final = "admin:session_opened"
_KNOWN: Final = "admin:session_known"


class Sessions:
    """The sessions of one server, which shares them with the others.

    Args:
      namespace: The admin namespace.
    """

    def __init__(self, namespace: Namespace) -> None:
        self._namespace = namespace
        self._ends: OrderedDict[str, float] = OrderedDict()  # by digest; oldest first
        self._asking = 0
        namespace.on_server_side_emit(_OPENED)(self._learn)
        namespace.on_server_side_emit(_KNOWN)(self._seconds_left)

    async def open(self) -> str:
        """Return the id of a new session."""
        session_id = secrets.token_hex(16)
        digest = _digest(session_id)
        self._learn(digest, DURATION)
        await self._namespace.server_side_emit(_OPENED, digest, DURATION)
        return session_id

    def knows(self, session_id: object) -> bool:
        """Tell whether this server knows such a session."""
        return _may_be_one(session_id) and self._seconds_left(_digest(session_id)) > 0

    async def is_known_elsewhere(self, session_id: object) -> bool:
        """Tell whether another server knows such a session; this one does then, too.

        Raises:
          ConnectionRefused: if too many are being asked for already.
        """
        if not _may_be_one(session_id):
            return False
        if self._asking >= _MOST_ASKING:
            raise ConnectionRefused("Too many logins at once; try again in a few seconds.")
        digest = _digest(session_id)
        self._asking += 1
        try:
            answers = await self._namespace.server_side_emit_with_ack(_KNOWN, digest, timeout=_PATIENCE)
        except AckTimeout as timeout:
            answers = timeout.responses  # servers without an admin page, such as Node's, never answer
        finally:
            self._asking -= 1
        left = max((answer for answer in answers if _is_duration(answer)), default=0.0)
        self._learn(digest, left)
        return left > 0

    # What other servers say and ask.

    def _learn(self, digest: object, seconds: object) -> None:
        if not _may_be_one(digest) or not _is_duration(seconds) or seconds <= 0:
            return
        self._ends[digest] = trio.current_time() + seconds
        self._ends.move_to_end(digest)
        if len(self._ends) > MOST_SESSIONS:
            self._ends.popitem(last=False)

    def _seconds_left(self, digest: object) -> float:
        end = self._ends.get(digest, -math.inf) if isinstance(digest, str) else -math.inf
        left = end - trio.current_time()
        if left > 0:
            return left
        if isinstance(digest, str):
            self._ends.pop(digest, None)
        return 0.0


def _digest(session_id: str) -> str:
    return sha256(session_id.encode("utf-8", "surrogatepass")).hexdigest()


def _may_be_one(value: object) -> TypeGuard[str]:
    return isinstance(value, str) and 0 < len(value) <= _LONGEST


def _is_duration(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= DURATION

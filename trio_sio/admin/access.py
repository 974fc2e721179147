"""Who may look: whoever knows the password, or, where there is none, whoever sits at this machine."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NoReturn, Protocol

from ..engine.origins import is_loopback
from ..errors import ConnectionRefused
from ..log import get_logger
from ..origin import split_host, split_origin
from .attempts import Attempts
from .basic_auth import BasicAuth, Passwords
from .sessions import Sessions

if TYPE_CHECKING:
    from ..config import CORS
    from ..namespaces.namespace import Namespace
    from ..namespaces.socket import Socket
    from .counts import Counts

__all__ = ["Access", "access_for"]

logger = get_logger("trio_sio.admin")

WRONG: Final = "invalid credentials"
"""What the official page knows: it shows its form then."""

_FORWARDED: Final = ("forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-real-ip")


class Access(Protocol):
    """Decides who may look."""

    async def admit(self, socket: Socket) -> None:
        """Let ``socket`` in.

        Raises:
          ConnectionRefused: if it may not be.
        """


def access_for(auth: BasicAuth | None, namespace: Namespace, cors: CORS | None, counts: Counts) -> Access:
    """Return what decides for ``auth``, in ``namespace`` of a server with ``cors``."""
    return ThisMachineOnly(cors, counts) if auth is None else PasswordRequired(auth, namespace, counts)


class PasswordRequired:
    """Lets in who shows the session of an earlier login, or else user and password.

    Args:
      auth: Who may log in.
      namespace: The admin namespace.
      counts: Where refusals are counted.
    """

    def __init__(self, auth: BasicAuth, namespace: Namespace, counts: Counts) -> None:
        self._passwords = Passwords(auth)
        self._sessions = Sessions(namespace)
        self._attempts = Attempts()
        self._counts = counts

    async def admit(self, socket: Socket) -> None:
        """See `Access.admit`."""
        given, address = socket.handshake.auth, socket.handshake.address
        session_id, username, password = (given.get(name) for name in ("sessionId", "username", "password"))
        if self._sessions.knows(session_id):
            return
        if not session_id and not password:
            # A page that is opened for the first time asks with nothing, and then shows its form.
            self._refuse(WRONG)
        if seconds := self._attempts.begin(address):
            self._refuse(f"Too many failed logins from this address; try again in {seconds} seconds.")
        if await self._sessions.is_known_elsewhere(session_id):
            self._attempts.succeeded(address)
            return
        if isinstance(username, str) and isinstance(password, str) and await self._passwords.match(username, password):
            self._attempts.succeeded(address)
            logger.info("%.80r has logged in to the admin page from %s.", username, address)
            await socket.emit("session", await self._sessions.open())
            return
        logger.info("A login to the admin page as %.80r failed, from %s.", username, address)
        self._refuse(WRONG)

    def _refuse(self, why: str) -> NoReturn:
        self._counts.refused_logins += 1
        raise ConnectionRefused(why)


class ThisMachineOnly:
    """Lets in who connects from this machine, to a name of this machine, and not through a proxy on it.

    A browser on this machine does so for every page that it has open. So the page, too, is of this machine, or named in `CORS.origins`.

    Args:
      cors: Which pages may talk to the server.
      counts: Where refusals are counted.
    """

    def __init__(self, cors: CORS | None, counts: Counts) -> None:
        self._named = _named_origins(cors)
        self._counts = counts

    async def admit(self, socket: Socket) -> None:
        """See `Access.admit`."""
        handshake = socket.handshake
        headers: Any = handshake.headers
        asked = split_host(headers.get("host", ""))
        if (
            handshake.address is None
            or not is_loopback(handshake.address)
            or asked is None
            # Of a page whose own name points here (DNS rebinding) the name is all that gives it away.
            or not is_loopback(asked[0])
            or any(name in headers for name in _FORWARDED)
            or not self._is_near(headers.get("origin"))
        ):
            self._counts.refused_logins += 1
            logger.info(
                "A page of %.200r, which came from %s, was refused: the admin page has no password, so it is for this machine only.",
                headers.get("origin"),
                handshake.address,
            )
            raise ConnectionRefused(
                "This admin page has no password, so it is for the server's own machine; "
                "give admin() an auth, or name the page's origin in CORS(origins=[...])."
            )

    def _is_near(self, origin: str | None) -> bool:
        """Tell whether a page of ``origin`` is of this machine, or one that somebody has named; ``None``: it is no page's request."""
        if origin is None or origin in self._named:
            return True
        page = split_origin(origin)
        return page is not None and is_loopback(page[0])


def _named_origins(cors: CORS | None) -> frozenset[str]:
    """Return the origins that were written down, each as it is: what stands for many has the web in it."""
    if cors is None or callable(cors.origins) or isinstance(cors.origins, re.Pattern):
        return frozenset()
    named = (cors.origins,) if isinstance(cors.origins, str) else cors.origins
    return frozenset(named) - {"*", "null"}

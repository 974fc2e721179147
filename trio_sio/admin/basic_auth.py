"""`BasicAuth`: the one user who may log in, and what it takes to check the password."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import Any, Final

import trio

from ..errors import ConfigurationError, ConnectionRefused

__all__ = ["MOST_WAITING", "BasicAuth", "Passwords"]

MOST_WAITING: Final = 16
"""How many logins wait for the one thread that checks passwords; more are refused."""

_HASH: Final = re.compile(r"\$2[aby]\$(\d\d)\$[./A-Za-z0-9]{53}")
_COSTS: Final = range(4, 17)  # 2**16 rounds take a modern machine about five seconds
_OCTETS: Final = 72  # bcrypt hashes no more of a password


@dataclass(frozen=True, slots=True)
class BasicAuth:
    """Lets one user in (Node: ``{type: "basic"}``).

    Args:
      username: The name.
      password: The bcrypt hash of the password, as ``htpasswd -nB USERNAME`` or ``bcrypt.hashpw`` makes it.

    Raises:
      ConfigurationError: if that is no such hash, or takes longer than anybody waits; or if ``bcrypt`` is not installed.
    """

    username: str
    password: str = field(repr=False)

    def __post_init__(self) -> None:
        username: object = self.username
        password: object = self.password
        if not isinstance(username, str) or not username:
            raise ConfigurationError(f"BasicAuth(username={username!r:.80}) names nobody; give the name that one logs in with.")
        found = _HASH.fullmatch(password) if isinstance(password, str) else None
        if found is None:
            raise ConfigurationError(
                "BasicAuth.password is no bcrypt hash, as `htpasswd -nB USERNAME` writes one behind the colon: $2y$10$ and 53 characters."
            )
        if int(found[1]) not in _COSTS:
            raise ConfigurationError(
                f"BasicAuth.password is a bcrypt hash of cost {int(found[1])}; make one of cost {_COSTS[0]} to {_COSTS[-1]}, such as 12."
            )
        _bcrypt()

    def matches(self, username: str, password: str) -> bool:
        """Tell whether they are right; takes as long whichever of them is wrong. Blocks for about a tenth of a second."""
        given = password.encode("utf-8", "surrogatepass")[:_OCTETS]
        right: bool = _bcrypt().checkpw(given, self.password.encode())
        return hmac.compare_digest(_octets(username), _octets(self.username)) & right


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


def _bcrypt() -> Any:
    try:
        return import_module("bcrypt")
    except ModuleNotFoundError:
        raise ConfigurationError("BasicAuth needs bcrypt; install it with `pip install 'trio-sio[admin]'`.") from None


class Passwords:
    """Checks passwords in a thread, one at a time: beside the event loop, and so that guessing them cannot take all cores.

    Args:
      auth: Who may log in.
    """

    def __init__(self, auth: BasicAuth) -> None:
        self._auth = auth
        self._limiter = trio.CapacityLimiter(1)
        self._waiting = 0

    async def match(self, username: str, password: str) -> bool:
        """Tell whether they are right.

        Raises:
          ConnectionRefused: if too many others wait for that already.
        """
        if self._waiting >= MOST_WAITING:
            raise ConnectionRefused("Too many logins at once; try again in a few seconds.")
        self._waiting += 1
        try:
            # Who has gone does not hold the others up; the thread, which cannot be stopped, keeps its place until it is through.
            check = partial(self._auth.matches, username, password)
            return await trio.to_thread.run_sync(check, abandon_on_cancel=True, limiter=self._limiter)
        finally:
            self._waiting -= 1

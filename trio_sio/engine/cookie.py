"""The cookie by which a load balancer can tell the requests of one session from those of another."""

from __future__ import annotations

from http.cookies import Morsel
from typing import TYPE_CHECKING
from urllib.parse import quote

from ..config import Cookie

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["cookie_headers"]


def cookie_headers(config: Config, sid: str) -> list[tuple[bytes, bytes]]:
    """Return the header that sets `Config.cookie` to ``sid``; nothing when there is to be none."""
    if config.cookie is None:
        return []
    cookie = Cookie(name=config.cookie) if isinstance(config.cookie, str) else config.cookie
    morsel = Morsel[str]()
    # The ids that `Config.generate_id` makes may contain anything; encoded as in JavaScript they are the same as Node's.
    morsel.set(cookie.name, sid, quote(sid, safe="!~*'()"))
    morsel["path"] = cookie.path
    morsel["samesite"] = cookie.same_site.capitalize()
    morsel["httponly"] = cookie.http_only
    morsel["secure"] = cookie.secure
    if cookie.domain is not None:
        morsel["domain"] = cookie.domain
    if cookie.max_age is not None:
        morsel["max-age"] = cookie.max_age
    return [(b"Set-Cookie", morsel.OutputString().encode("ascii"))]

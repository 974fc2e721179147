"""What the native door answers outside the engine's path: static files, the official browser bundle, or 404."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

import orjson
import trio

from ...errors import ConfigurationError
from ...protocol.http import Request, Response, plain_text
from ..requests import NOT_FOUND
from .files import Files

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...health import Ready
    from .files import FileResponse

__all__ = ["HealthPage", "Site", "make_site"]

_BUNDLES: Final = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")
_BUNDLE_NAMES: Final = frozenset(_BUNDLES) | frozenset(f"{name}.map" for name in _BUNDLES)


class HealthPage(NamedTuple):
    """Where load balancers ask whether new clients may come.

    Attributes:
      path: The path.
      ready: What they are told.
    """

    path: str
    ready: Callable[[], Ready]


class Site:
    """Answers requests that are not the engine's.

    Args:
      static: The directory whose files are served at ``/``, if any.
      client_bundle: The directory with the official client's browser files, if they are to be served below ``prefix``.
      prefix: The engine's path, with or without a trailing slash.
      health: The health page, if there is one.
    """

    def __init__(self, static: Path | None, client_bundle: Path | None, prefix: str, health: HealthPage | None = None) -> None:
        self._static = static
        self._client_bundle = client_bundle
        self._prefix = f"{prefix.rstrip('/')}/"
        self._health = health
        self._files = Files()

    async def respond(self, request: Request) -> Response | FileResponse:
        """Return the response to ``request``; one with an open file is the caller's to close."""
        if request.method not in ("GET", "HEAD"):
            await trio.lowlevel.checkpoint()
            return plain_text(405, "Only GET and HEAD are allowed here.", [(b"Allow", b"GET, HEAD")])
        if self._health is not None and request.path == self._health.path:
            await trio.lowlevel.checkpoint()
            return _tell(self._health.ready())
        if self._client_bundle is not None and request.path.startswith(self._prefix):
            name = request.path.removeprefix(self._prefix)
            if name in _BUNDLE_NAMES:
                return await self._file(request, self._client_bundle, [name], b"public, max-age=0")
        elif self._static is not None and (names := _names(request.path)) is not None:
            return await self._file(request, self._static, names, b"no-cache")
        await trio.lowlevel.checkpoint()
        return NOT_FOUND

    async def _file(self, request: Request, root: Path, names: list[str], cache_control: bytes) -> Response | FileResponse:
        return await self._files.respond(root, names, request.headers.get("if-none-match", ""), cache_control)


def make_site(engine: Engine, static: Path | str | None, health_path: str | None, ready: Callable[[], Ready]) -> Site:
    """Return what stands beside ``engine``.

    Args:
      engine: Its configuration says whether the browser bundle is there.
      static: The directory of the static files.
      health_path: Where ``ready`` is told.
      ready: Tells whether new clients may come.

    Raises:
      ConfigurationError: if one of them would stand where the engine does, or ``health_path`` is no path.
    """
    bundle = engine.config.serve_client
    if static is not None:
        engine.require_room_for("the static files")
    if health_path is not None and (not health_path.startswith("/") or engine.owns(health_path)):
        raise ConfigurationError(f'health_path is {health_path!r}; write an absolute path beside the engine\'s, such as "/healthz".')
    health = None if health_path is None else HealthPage(health_path, ready)
    return Site(None if static is None else Path(static), None if bundle is None else Path(bundle), engine.config.path, health)


def _tell(ready: Ready) -> Response:
    fields = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
    return Response(200 if ready.ready else 503, orjson.dumps(ready), fields)


def _names(path: str) -> list[str] | None:
    """Return the names that ``path`` consists of, the last one empty for a directory; ``None`` if no file can have that path."""
    try:
        names = unquote(path, errors="strict").split("/")
    except UnicodeDecodeError:
        return None
    if len(names) < 2 or names[0] or "" in names[1:-1]:
        return None
    # A name of several directories, a parent, a hidden file: `%2f` and `%2e` were decoded above, before the split.
    if any(name.startswith(".") or re.search(r"[\\\0:]", name) for name in names):
        return None
    return names[1:]

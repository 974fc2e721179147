"""What the native door answers outside the engine's path: static files, the official browser bundle, pages of ours, or 404."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import unquote

import orjson
import trio

from ...engine.notices import Notices
from ...errors import ConfigurationError
from ...log import get_logger
from ...protocol.http import Request, Response, plain_text
from ..requests import NOT_FOUND
from .files import Files, is_known

if TYPE_CHECKING:
    from ...engine.engine import Engine
    from ...health import Ready
    from .files import FileResponse

__all__ = ["Page", "Site", "docs_page", "health_page", "make_site"]

logger = get_logger("trio_sio.doors.native")

_NOT_OURS: Final = plain_text(403, "This server is not asked by that name.")

_BUNDLES: Final = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")
_BUNDLE_NAMES: Final = frozenset(_BUNDLES) | frozenset(f"{name}.map" for name in _BUNDLES)


class Page(NamedTuple):
    """One page of ours.

    Attributes:
      option: What it was asked for with, such as ``"health_path"``, for refusals.
      path: Where it is: there only, and in front of a file.
      respond: Answers a GET, or a HEAD, as which it has no body.
      example: A path that would do, for refusals.
    """

    option: str
    path: str
    respond: Callable[[Request], Awaitable[Response]]
    example: str


def health_page(path: str, ready: Callable[[], Ready]) -> Page:
    """Return the page where load balancers ask whether new clients may come."""

    async def respond(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        told = ready()
        fields = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
        return Response(200 if told.ready else 503, orjson.dumps(told), fields)

    return Page("health_path", path, respond, "/healthz")


def docs_page(path: str, page: Response, allows: Callable[[Request], bool]) -> Page:
    """Return the page where people read about the events.

    Args:
      path: The path.
      page: What they read, with an ``ETag``.
      allows: Tells whether a request asks for a name of this server; a page whose own name points here reads nothing.
    """
    tag = dict(page.headers)[b"ETag"].decode()
    unchanged = Response(304, headers=[field for field in page.headers if field[0] != b"Content-Type"])

    async def respond(request: Request) -> Response:
        await trio.lowlevel.checkpoint()
        if not allows(request):
            return _NOT_OURS
        return unchanged if is_known(request.headers.get("if-none-match", ""), tag) else page

    return Page("docs_path", path, respond, "/events")


class Site:
    """Answers requests that are not the engine's.

    Args:
      static: The directory whose files are served at ``/``, if any.
      client_bundle: The directory with the official client's browser files, if they are to be served below ``prefix``.
      prefix: The engine's path, with or without a trailing slash.
      pages: The pages of ours.
    """

    def __init__(self, static: Path | None, client_bundle: Path | None, prefix: str, pages: Iterable[Page] = ()) -> None:
        self._static = static
        self._client_bundle = client_bundle
        self._prefix = f"{prefix.rstrip('/')}/"
        self._pages = {page.path: page for page in pages}
        self._files = Files()
        self._misled = Notices()  # where clients have looked for the engine in vain

    async def respond(self, request: Request) -> Response | FileResponse:
        """Return the response to ``request``; one with an open file is the caller's to close."""
        if request.method not in ("GET", "HEAD"):
            await trio.lowlevel.checkpoint()
            return plain_text(405, "Only GET and HEAD are allowed here.", [(b"Allow", b"GET, HEAD")])
        if (page := self._pages.get(request.path)) is not None:
            return await page.respond(request)
        if self._client_bundle is not None and request.path.startswith(self._prefix):
            name = request.path.removeprefix(self._prefix)
            if name in _BUNDLE_NAMES:
                return await self._file(request, self._client_bundle, [name], b"public, max-age=0")
        elif self._static is not None and (names := _names(request.path)) is not None:
            return await self._file(request, self._static, names, b"no-cache")
        await trio.lowlevel.checkpoint()
        if "EIO" in request.query:
            if self._misled.is_new(request.path):
                logger.info(
                    "A Socket.IO client asked for %.200r, but this server is at %r: its `path` has to be Config.path.",
                    request.path,
                    self._prefix,
                )
            return plain_text(404, f"Socket.IO is at {self._prefix} here; give the client this `path`.")
        return NOT_FOUND

    def occupant(self, path: str) -> str | None:
        """Tell what the page at ``path`` would stand in front of, as part of a sentence, if there is something now."""
        if self._client_bundle is not None and path.removeprefix(self._prefix) in _BUNDLE_NAMES:
            return "where the official client is"
        if self._static is None:
            return None
        file = self._static / path[1:]
        return "where the static files have one" if file.is_file() or (file / "index.html").is_file() else None

    async def _file(self, request: Request, root: Path, names: list[str], cache_control: bytes) -> Response | FileResponse:
        return await self._files.respond(root, names, request.headers.get("if-none-match", ""), cache_control)


def make_site(engine: Engine, static: Path | str | None, pages: Sequence[Page]) -> Site:
    """Return what stands beside ``engine``.

    Args:
      engine: Its configuration says whether the browser bundle is there.
      static: The directory of the static files.
      pages: The pages of ours.

    Raises:
      ConfigurationError: if something would stand where the engine does, or a page where something else does, or its path is none.
    """
    bundle = None if engine.config.serve_client is None else Path(engine.config.serve_client)
    directory = None if static is None else Path(static)
    if directory is not None:
        engine.require_room_for("the static files")
    site = Site(directory, bundle, engine.config.path, pages)
    taken: dict[str, str] = {}
    for page in pages:
        fault = taken.get(page.path) or _fault_of(page.path, engine) or site.occupant(page.path)
        if fault is not None:
            raise ConfigurationError(
                f'{page.option} is {page.path!r:.200}, {fault}; write an absolute path beside the engine\'s, such as "{page.example}".'
            )
        taken[page.path] = f"which is the {page.option}, too"
    return site


# Nothing that a browser or a proxy would write in another way.
_PLAIN_PATH: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)+/?|/")


def _fault_of(path: object, engine: Engine) -> str | None:
    if not isinstance(path, str) or _PLAIN_PATH.fullmatch(path) is None:
        return 'which is no path of letters, digits, "-", ".", "_" and "~"'
    return "where the engine is" if engine.owns(path) else None


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

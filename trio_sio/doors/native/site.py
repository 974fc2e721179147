"""What the native door answers outside the engine's path: static files, the official browser bundle, or 404."""

from __future__ import annotations

import mimetypes
import os
import re
import stat
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final, NamedTuple
from urllib.parse import quote, unquote

import orjson
import trio

from ...engine.door import Request, Response

if TYPE_CHECKING:
    from ...statistics import Ready

__all__ = ["HealthPage", "Site"]

MAX_FILE_SIZE: Final = 32 * 1024 * 1024

_BUNDLES: Final = ("socket.io.js", "socket.io.min.js", "socket.io.esm.min.js", "socket.io.msgpack.min.js")
_BUNDLE_NAMES: Final = frozenset(_BUNDLES) | frozenset(f"{name}.map" for name in _BUNDLES)

# The built-in table only: what a file is served as must not depend on what else is installed on a machine.
_TYPES: Final = mimetypes.MimeTypes()
_TYPES.add_type("text/javascript", ".js")  # RFC 9239; older tables disagree
_TYPES.add_type("text/javascript", ".mjs")
_TYPES.add_type("application/json", ".map")
_TYPES.add_type("font/woff2", ".woff2")
_TYPES_IN_UTF8: Final = frozenset({"application/json", "image/svg+xml"})

# A few threads keep a disk busy, and they bound how much is being read at once.
_READERS: Final = 4


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
      prefix: The engine's path, without the trailing slash.
      health: The health page, if there is one.
    """

    def __init__(self, static: Path | None, client_bundle: Path | None, prefix: str, health: HealthPage | None = None) -> None:
        self._static = static
        self._client_bundle = client_bundle
        self._prefix = f"{prefix}/"
        self._health = health
        self._readers = trio.CapacityLimiter(_READERS)

    async def respond(self, request: Request) -> Response:
        """Return the response to ``request``."""
        if request.method not in ("GET", "HEAD"):
            await trio.lowlevel.checkpoint()
            return _text(405, "Only GET and HEAD are allowed here.", [(b"Allow", b"GET, HEAD")])
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
        return _text(404, "There is nothing at this address.")

    async def _file(self, request: Request, root: Path, names: list[str], cache_control: bytes) -> Response:
        known = request.headers.get("if-none-match", "")
        return await trio.to_thread.run_sync(_respond_with_file, root, names, known, cache_control, limiter=self._readers)


def _tell(ready: Ready) -> Response:
    fields = [(b"Content-Type", b"application/json"), (b"Cache-Control", b"no-store")]
    return Response(200 if ready.ready else 503, orjson.dumps(ready), fields)


def _text(status: int, message: str, headers: list[tuple[bytes, bytes]] | None = None) -> Response:
    return Response(status, message.encode() + b"\n", [(b"Content-Type", b"text/plain; charset=utf-8"), *(headers or [])])


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


def _respond_with_file(root: Path, names: list[str], known: str, cache_control: bytes) -> Response:
    root = root.resolve()
    try:
        # Resolving follows links, so that one which leaves the root is seen to do so.
        path = root.joinpath(*names).resolve(strict=True)
        if path.is_dir():
            if names[-1]:
                return _text(308, "This is a directory.", [(b"Location", f"/{quote('/'.join(names))}/".encode())])
            path = (path / "index.html").resolve(strict=True)
        elif not names[-1]:
            raise NotADirectoryError(path)
        if not path.is_relative_to(root):
            raise FileNotFoundError(path)
        # Without O_NONBLOCK, opening a FIFO would wait for a writer.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode) or status.st_size > MAX_FILE_SIZE:
                raise FileNotFoundError(path)
            tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
            headers = [
                (b"Cache-Control", cache_control),
                (b"ETag", tag.encode()),
                (b"X-Content-Type-Options", b"nosniff"),
            ]
            if known == "*" or tag in (candidate.strip().removeprefix("W/") for candidate in known.split(",")):
                return Response(304, headers=headers)
            return Response(200, file.read(MAX_FILE_SIZE), [(b"Content-Type", _content_type(path)), *headers])
    except (OSError, ValueError, RuntimeError):  # missing, forbidden, a link to itself, a name that is too long
        return _text(404, "There is nothing at this address.")


def _content_type(path: Path) -> bytes:
    kind, encoding = _TYPES.guess_type(path.name)
    if kind is None or encoding is not None:
        return b"application/octet-stream"
    return f"{kind}; charset=utf-8".encode() if kind.startswith("text/") or kind in _TYPES_IN_UTF8 else kind.encode()

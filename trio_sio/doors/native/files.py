"""Files that the native door sends: found below a root, opened, and read piece by piece while they go out.

Reading blocks for as long as the disk, or a file system of the network, takes; so threads do it, and few of them. A client
that does not take its file costs one piece and one descriptor, until the write that stalls ends its connection.
"""

from __future__ import annotations

import errno
import mimetypes
import os
import stat
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import trio

from ...protocol.http import Response, plain_text
from ..requests import NOT_FOUND

__all__ = ["FileChanged", "FileResponse", "Files", "is_known"]

# A hop to a thread takes 45 µs, however much is read there; sending as much as this takes five times as long.
PIECE: Final = 128 * 1024

# A few threads keep a disk busy, and they bound how much is being read at once.
_READERS: Final = 4

_NOT_NOW: Final = plain_text(503, "This file cannot be read right now; ask again.", [(b"Retry-After", b"1")])
_NO_ROOM: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOMEM})

# The built-in table only: what a file is served as must not depend on what else is installed on a machine.
_TYPES: Final = mimetypes.MimeTypes()
_TYPES.add_type("text/javascript", ".js")  # RFC 9239; older tables disagree
_TYPES.add_type("text/javascript", ".mjs")
_TYPES.add_type("application/json", ".map")
_TYPES.add_type("font/woff2", ".woff2")
_TYPES_IN_UTF8: Final = frozenset({"application/json", "image/svg+xml"})


class FileChanged(Exception):
    """A file is not any more what the head of its response says, so the response cannot be completed."""


class FileResponse:
    """A response whose body is an open file; leaving it (``with``) closes the file.

    Args:
      file: The file.
      status: What it was when it was opened.
      headers: Header fields of the response; the door adds its length.
      readers: Bounds the threads that read.

    Attributes:
      head: The response without its body.
      size: Bytes of the body.
    """

    def __init__(self, file: FileIO, status: os.stat_result, headers: list[tuple[bytes, bytes]], readers: trio.CapacityLimiter) -> None:
        self.head = Response(200, headers=headers)
        self.size = status.st_size
        self._file = file
        self._modified = status.st_mtime_ns
        self._readers = readers

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._file.close()

    async def read(self, start: int) -> bytes:
        """Return the piece of the body that begins at ``start``, which is before its end.

        Raises:
          FileChanged: if the file is not what it was, or cannot be read.
        """
        return await trio.to_thread.run_sync(self.read_now, start, limiter=self._readers)

    def read_now(self, start: int) -> bytes:
        """Do what `read` does, in this thread."""
        try:
            piece = os.pread(self._file.fileno(), min(PIECE, self.size - start), start)
            now = os.fstat(self._file.fileno())
        except OSError as exc:
            raise FileChanged(f"it cannot be read any more: {exc.strerror}") from exc
        if not piece or (now.st_size, now.st_mtime_ns) != (self.size, self._modified):
            raise FileChanged("it was written to meanwhile")
        return piece


class Files:
    """The files below directories, as responses."""

    def __init__(self) -> None:
        self._readers = trio.CapacityLimiter(_READERS)

    async def respond(self, root: Path, names: list[str], known: str, cache_control: bytes) -> Response | FileResponse:
        """Return the response with the file that ``names`` lead to, whole if it is small.

        Args:
          root: A directory; what is not inside of it is not found.
          names: Those of directories, and of the file; the last one is empty for the index page of a directory.
          known: ``If-None-Match`` of the request.
          cache_control: ``Cache-Control`` of the response.
        """
        return await trio.to_thread.run_sync(self._respond, root, names, known, cache_control, limiter=self._readers)

    def _respond(self, root: Path, names: list[str], known: str, cache_control: bytes) -> Response | FileResponse:
        root = root.resolve()
        try:
            # Resolving follows links, so that one which leaves the root is seen to do so.
            path = root.joinpath(*names).resolve(strict=True)
            if path.is_dir():
                if names[-1]:
                    location = (b"Location", f"/{quote('/'.join(names))}/".encode())
                    return plain_text(308, "This is a directory.", [location])
                path = (path / "index.html").resolve(strict=True)
            elif not names[-1]:
                return NOT_FOUND
            if not path.is_relative_to(root):
                return NOT_FOUND
            # Without O_NONBLOCK, opening a FIFO would wait for a writer.
            file = FileIO(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC))
        except OSError as exc:  # missing, forbidden, a name that is too long, or no room for another file
            return _NOT_NOW if exc.errno in _NO_ROOM else NOT_FOUND
        except (ValueError, RuntimeError):  # a link to itself
            return NOT_FOUND
        response = self._respond_with(file, path, known, cache_control)
        if not isinstance(response, FileResponse):
            file.close()
        return response

    def _respond_with(self, file: FileIO, path: Path, known: str, cache_control: bytes) -> Response | FileResponse:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode):
            return NOT_FOUND
        tag = f'"{status.st_mtime_ns:x}-{status.st_size:x}"'
        headers = [(b"Cache-Control", cache_control), (b"ETag", tag.encode()), (b"X-Content-Type-Options", b"nosniff")]
        if is_known(known, tag):
            return Response(304, headers=headers)
        response = FileResponse(file, status, [(b"Content-Type", _content_type(path)), *headers], self._readers)
        if response.size > PIECE:
            return response
        try:
            return Response(200, response.read_now(0) if response.size else b"", response.head.headers)
        except FileChanged:
            return _NOT_NOW


def is_known(known: str, tag: str) -> bool:
    """Tell whether ``If-None-Match`` names ``tag``."""
    return known == "*" or tag in (candidate.strip().removeprefix("W/") for candidate in known.split(","))


def _content_type(path: Path) -> bytes:
    kind, encoding = _TYPES.guess_type(path.name)
    if kind is None or encoding is not None:
        return b"application/octet-stream"
    return f"{kind}; charset=utf-8".encode() if kind.startswith("text/") or kind in _TYPES_IN_UTF8 else kind.encode()

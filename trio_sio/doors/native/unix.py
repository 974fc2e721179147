"""A Unix socket to listen on, and the file that stands for it."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat

__all__ = ["open_unix_socket", "remove_socket_file"]


class _UnixSocket(socket.socket):
    """A Unix socket that removes its file when it is closed, unless another one has taken the path over."""

    __slots__ = ("_file", "_path")

    def bind_to(self, path: str) -> None:
        self.bind(path)
        self._path = path
        self._file = os.lstat(path)

    def close(self) -> None:
        # Before closing: as long as this socket is open, nobody takes the file for a stale one, and its inode is not
        # given to another.
        if self.fileno() >= 0 and hasattr(self, "_file"):
            remove_socket_file(self._path, self._file)
        super().close()


def open_unix_socket(path: str | os.PathLike[str]) -> socket.socket:
    """Listen on a Unix socket; closing it, which whoever serves it does, removes the file.

    A file that a killed process left behind is replaced.

    Args:
      path: Where the file shall be. Who may connect is up to the permissions of its directory, and to the umask.

    Raises:
      OSError: if the path cannot be used: ``EADDRINUSE`` when somebody listens there already, ``EEXIST`` when another
        kind of file is there.
    """
    # Absolute, because the file is removed in the end, and the process may be elsewhere by then.
    absolute = os.path.abspath(path)
    sock = _UnixSocket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        try:
            sock.bind_to(absolute)
        except OSError as exc:
            if exc.errno != errno.EADDRINUSE or not _is_stale(absolute):
                raise
            os.unlink(absolute)
            sock.bind_to(absolute)
        # At once: until then the file looks stale to others.
        sock.listen(socket.SOMAXCONN)
    except BaseException:
        sock.close()
        raise
    return sock


def remove_socket_file(path: str, file: os.stat_result) -> None:
    """Remove the file of a Unix socket that is about to be closed.

    Args:
      path: Where it was.
      file: What it was: another one that has taken the path over stays.
    """
    # It may be gone, or not ours to remove any more. The next server replaces a stale file.
    with contextlib.suppress(OSError):
        if os.path.samestat(os.lstat(path), file):
            os.unlink(path)


def _is_stale(path: str) -> bool:
    if not stat.S_ISSOCK(os.lstat(path).st_mode):
        raise OSError(errno.EEXIST, "a file that is no socket is there; remove it, or choose another path")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        # A connection to a Unix socket is there at once, or it is refused; a full backlog shall not hold us up.
        probe.setblocking(False)
        return probe.connect_ex(path) == errno.ECONNREFUSED

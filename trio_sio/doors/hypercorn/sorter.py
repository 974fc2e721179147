"""Whose a request is that comes to a port of hypercorn's: the engine's, or the application's.

Theory of operation: the first line of a request names its target, and hypercorn hands every request on by what it makes of
that. So the target is read here as hypercorn reads it: percent escapes are decoded, `root_path` is taken off. A target with scheme and
host means here what it means at our own listener. What is not a request line to the parser that both sides use is nobody's,
and goes to hypercorn, which answers it; so does HTTP/2.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

import trio

from ...protocol.http import TOKEN
from ..asgi.messages import path_below_root

if TYPE_CHECKING:
    from hypercorn.config import Config as HypercornConfig

    from ...engine.engine import Engine
    from ...protocol.http import Request
    from ..native.head import Head

__all__ = ["RequestScope", "RequestSorter"]

_TOKEN: Final = TOKEN.encode()
_TARGET: Final = re.compile(rb"(?:\r\n)*" + _TOKEN + rb" ([!-~]*?)[? \r\n]")
_BEGINNING: Final = re.compile(rb"(?:\r\n)*(?:\r|" + _TOKEN + rb"(?: [!->@-~]*)?)?")
_ABSOLUTE: Final = re.compile(r"https?://[^/]*(.*)", re.IGNORECASE)

# How much may stand before and around a path that is ours: empty lines, the method, scheme and host.
_AROUND_THE_PATH: Final = 512
_LONGEST_ESCAPE: Final = 3


class RequestSorter:
    """Sorts requests (`trio_sio.doors.native.http.Sorter`).

    Args:
      engine: What is for it.
      config: hypercorn's; `root_path` and `server_names` apply.
      state: Of the lifespan, for the scope of requests.
    """

    def __init__(self, engine: Engine, config: HypercornConfig, state: Mapping[str, Any]) -> None:
        self._engine = engine
        self._root_path = config.root_path
        self._server_names = config.server_names
        self._state = state
        self._longest = _AROUND_THE_PATH + _LONGEST_ESCAPE * len(config.root_path + engine.config.path)

    def is_ours(self, start: bytearray) -> bool | None:
        """Tell whose a request is that begins with ``start``; see `Sorter.is_ours`."""
        match = _TARGET.match(start)
        if match is not None:
            path = match[1].decode("ascii")
            absolute = _ABSOLUTE.fullmatch(path)
            return self._owns(path if absolute is None else absolute[1] or "/")
        if len(start) > self._longest or _BEGINNING.fullmatch(start) is None:
            return False
        return None

    def adopt(self, head: Head, stream: trio.abc.Stream) -> Head | None:
        """Return ``head`` with the scope that its request would have under hypercorn; see `Sorter.adopt`."""
        request = head.request
        if not self._owns(request.path):  # that of another host, in its absolute form
            return None
        if self._server_names and request.headers.get("host", "") not in self._server_names:
            return None
        kind = "websocket" if head.wants_websocket else "http"
        scope = RequestScope(request, kind, self._root_path, self._state, *_ends_of(stream))
        return dataclasses.replace(head, request=dataclasses.replace(request, scope=scope))

    def gives_away(self, stream: trio.abc.Stream) -> bool:
        """See `Sorter.gives_away`: hypercorn ends, too."""
        return False

    def _owns(self, path: str) -> bool:
        return self._engine.owns(path_below_root({"path": unquote(path), "root_path": self._root_path}))


class RequestScope(Mapping[str, object]):
    """The ASGI scope of a request that hypercorn has not seen; made when somebody looks, as few do.

    Args:
      request: The request.
      kind: ``"http"`` or ``"websocket"``.
      root_path: hypercorn's.
      state: Of the lifespan.
      client: Host and port of the peer, where there are such.
      server: Host and port of this side.
    """

    __slots__ = ("_client", "_kind", "_request", "_root_path", "_scope", "_server", "_state")

    def __init__(
        self,
        request: Request,
        kind: str,
        root_path: str,
        state: Mapping[str, Any],
        client: tuple[str, int] | None,
        server: tuple[str, int] | None,
    ) -> None:
        self._request = request
        self._kind = kind
        self._root_path = root_path
        self._state = state
        self._client = client
        self._server = server
        self._scope: dict[str, object] | None = None

    def __getitem__(self, name: str) -> object:
        return self._made()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._made())

    def __len__(self) -> int:
        return len(self._made())

    def _made(self) -> dict[str, object]:
        if self._scope is None:
            self._scope = self._make()
        return self._scope

    def _make(self) -> dict[str, object]:
        request, is_websocket = self._request, self._kind == "websocket"
        protocols = request.headers.get("sec-websocket-protocol", "")
        own: dict[str, object] = (
            {
                "asgi": {"spec_version": "2.3", "version": "3.0"},
                "scheme": "wss" if request.secure else "ws",
                "subprotocols": [name.strip() for name in protocols.split(",")] if protocols else [],
            }
            if is_websocket
            else {
                "asgi": {"spec_version": "2.1", "version": "3.0"},
                "scheme": "https" if request.secure else "http",
                "method": request.method,
            }
        )
        return {
            "type": self._kind,
            "http_version": "1.1",
            "path": unquote(request.path),
            "raw_path": request.path.encode("ascii"),
            "query_string": request.query_string,
            "root_path": self._root_path,
            "headers": [(name.encode("ascii"), value.encode("latin-1")) for name, value in request.headers.items()],
            "client": self._client,
            "server": self._server,
            "state": dict(self._state),
            "extensions": {},
            **own,
        }


def _ends_of(stream: Any) -> tuple[tuple[str, int] | None, tuple[str, int] | None]:
    """Return host and port of the peer and of this side; of a Unix socket neither has any."""
    sock = (stream.transport_stream if isinstance(stream, trio.SSLStream) else stream).socket
    return _host_and_port(sock.getpeername), _host_and_port(sock.getsockname)


def _host_and_port(name: Callable[[], Any]) -> tuple[str, int] | None:
    try:
        found = name()
    except OSError:  # the client is gone, which is noticed soon
        return None
    return (found[0], found[1]) if isinstance(found, tuple) else None

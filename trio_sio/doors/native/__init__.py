"""The default door: our own Trio listener, speaking HTTP/1.1 and WebSocket."""

from __future__ import annotations

from .http import NativeDoor, handle_connection
from .listener import Listener, open_listeners, serve, serve_listeners
from .site import Site
from .unix import open_unix_socket

__all__ = [
    "Listener",
    "NativeDoor",
    "Site",
    "handle_connection",
    "open_listeners",
    "open_unix_socket",
    "serve",
    "serve_listeners",
]

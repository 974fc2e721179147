"""What tests of a Socket.IO application need: a server without a network, a client that is easy to steer, raw bytes."""

from __future__ import annotations

from .client import ClientConnection, ClientSocket, Ended, ReceivedEvent, open_test_client
from .raw import HttpResponse, RawHttp, RawWebSocket, UpgradeRefused, WebSocketClosed
from .server import InMemoryServer, open_test_server

__all__ = [
    "ClientConnection",
    "ClientSocket",
    "Ended",
    "HttpResponse",
    "InMemoryServer",
    "RawHttp",
    "RawWebSocket",
    "ReceivedEvent",
    "UpgradeRefused",
    "WebSocketClosed",
    "open_test_client",
    "open_test_server",
]

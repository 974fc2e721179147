"""Socket.IO for Python, on Trio."""

from .client import ClientSocket, Manager, Reconnection, open_client, open_manager
from .config import CORS, Compression, Config, Cookie, Limits, PerMessageDeflate, Recovery
from .engine_server import EngineServer, Session
from .errors import (
    BadMessage,
    ConfigurationError,
    ConnectFailed,
    ConnectionRefused,
    Disconnected,
    DisconnectReason,
    EncodeError,
    NoAck,
    RouteError,
    TrioSioError,
)
from .namespaces.acks import Ack
from .namespaces.broadcast import BroadcastOperator
from .namespaces.handshake import Handshake
from .namespaces.namespace import Namespace
from .namespaces.socket import Socket
from .routing.markers import broadcasts, emits, on_any_message, on_connection, on_disconnection, on_message
from .routing.middleware import Context, Middleware, Next
from .routing.table import Route, RoutingTable
from .server import Server

__all__ = [
    "CORS",
    "Ack",
    "BadMessage",
    "BroadcastOperator",
    "ClientSocket",
    "Compression",
    "Config",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionRefused",
    "Context",
    "Cookie",
    "DisconnectReason",
    "Disconnected",
    "EncodeError",
    "EngineServer",
    "Handshake",
    "Limits",
    "Manager",
    "Middleware",
    "Namespace",
    "Next",
    "NoAck",
    "PerMessageDeflate",
    "Reconnection",
    "Recovery",
    "Route",
    "RouteError",
    "RoutingTable",
    "Server",
    "Session",
    "Socket",
    "TrioSioError",
    "broadcasts",
    "emits",
    "on_any_message",
    "on_connection",
    "on_disconnection",
    "on_message",
    "open_client",
    "open_manager",
]
__version__ = "0.1.0"

"""Socket.IO for Python, on Trio."""

from .config import CORS, Config, Limits
from .engine_server import EngineServer, Session
from .errors import (
    BadMessage,
    ConfigurationError,
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
from .routing.markers import broadcasts, emits, on_connection, on_disconnection, on_message
from .routing.middleware import Context, Middleware, Next
from .routing.table import Route, RoutingTable
from .server import Server

__all__ = [
    "CORS",
    "Ack",
    "BadMessage",
    "BroadcastOperator",
    "Config",
    "ConfigurationError",
    "ConnectionRefused",
    "Context",
    "DisconnectReason",
    "Disconnected",
    "EncodeError",
    "EngineServer",
    "Handshake",
    "Limits",
    "Middleware",
    "Namespace",
    "Next",
    "NoAck",
    "Route",
    "RouteError",
    "RoutingTable",
    "Server",
    "Session",
    "Socket",
    "TrioSioError",
    "broadcasts",
    "emits",
    "on_connection",
    "on_disconnection",
    "on_message",
]
__version__ = "0.1.0"

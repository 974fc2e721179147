"""Socket.IO for Python, on Trio."""

from .client import ClientSocket, Manager, Reconnection, open_client, open_manager
from .config import CORS, Compression, Config, Cookie, Limits, PerMessageDeflate, Recovery
from .engine.door import Request
from .engine.events import ConnectionRejected
from .engine_server import EngineServer, Session
from .errors import (
    BadMessage,
    ConfigurationError,
    ConnectFailed,
    ConnectionRefused,
    Disconnected,
    DisconnectReason,
    EncodeError,
    Lagged,
    NoAck,
    RouteError,
    TrioSioError,
)
from .namespaces.acks import Ack
from .namespaces.answers import AckTimeout, BroadcastAnswers
from .namespaces.broadcast import BroadcastOperator
from .namespaces.handshake import Handshake
from .namespaces.namespace import Namespace
from .namespaces.remote import RemoteSocket
from .namespaces.socket import Socket
from .namespaces.subscriptions import RoomEvent, Subscription
from .routing.markers import broadcasts, emits, on_any_message, on_connection, on_disconnection, on_message
from .routing.middleware import Context, Middleware, Next
from .routing.table import Route, RoutingTable
from .server import Server
from .statistics import Health, Ready, Statistics

__all__ = [
    "CORS",
    "Ack",
    "AckTimeout",
    "BadMessage",
    "BroadcastAnswers",
    "BroadcastOperator",
    "ClientSocket",
    "Compression",
    "Config",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionRefused",
    "ConnectionRejected",
    "Context",
    "Cookie",
    "DisconnectReason",
    "Disconnected",
    "EncodeError",
    "EngineServer",
    "Handshake",
    "Health",
    "Lagged",
    "Limits",
    "Manager",
    "Middleware",
    "Namespace",
    "Next",
    "NoAck",
    "PerMessageDeflate",
    "Ready",
    "Reconnection",
    "Recovery",
    "RemoteSocket",
    "Request",
    "RoomEvent",
    "Route",
    "RouteError",
    "RoutingTable",
    "Server",
    "Session",
    "Socket",
    "Statistics",
    "Subscription",
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

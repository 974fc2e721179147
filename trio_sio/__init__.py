"""Socket.IO for Python, on Trio."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .client import ClientSocket, Manager, Reconnection, open_client, open_manager
    from .config import CORS, Compression, Config, Cookie, PerMessageDeflate, Recovery
    from .contract import Contract
    from .engine.events import ConnectionRejected
    from .engine_server import EngineServer, Session
    from .errors import (
        BadAnswer,
        BadMessage,
        ConfigurationError,
        ConnectFailed,
        ConnectionRefused,
        Disconnected,
        DisconnectReason,
        EncodeError,
        Lagged,
        NoAck,
        RateLimited,
        Refused,
        RouteError,
        TrioSioError,
    )
    from .health import Health, Ready
    from .limits import Limits
    from .namespaces.acks import Ack
    from .namespaces.answers import AckTimeout, BroadcastAnswers, EventAnswers
    from .namespaces.broadcast import BroadcastOperator
    from .namespaces.handshake import Handshake
    from .namespaces.instrument import Instrument
    from .namespaces.namespace import Namespace
    from .namespaces.remote import RemoteSocket
    from .namespaces.running_server import RunningServer
    from .namespaces.socket import Socket
    from .namespaces.subscriptions import RoomEvent, Subscription
    from .protocol.http import Request
    from .routing.markers import broadcasts, emits, on_any_message, on_connection, on_disconnection, on_message
    from .routing.middleware import Context, Middleware, Next
    from .routing.rate_limit import rate_limit
    from .routing.refusals import refuses
    from .routing.table import Route, RoutingTable
    from .server import Server
    from .signatures.events import ServerEvent, server_event
    from .statistics import BusStatistics, Statistics

__all__ = [
    "CORS",
    "Ack",
    "AckTimeout",
    "BadAnswer",
    "BadMessage",
    "BroadcastAnswers",
    "BroadcastOperator",
    "BusStatistics",
    "ClientSocket",
    "Compression",
    "Config",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionRefused",
    "ConnectionRejected",
    "Context",
    "Contract",
    "Cookie",
    "DisconnectReason",
    "Disconnected",
    "EncodeError",
    "EngineServer",
    "EventAnswers",
    "Handshake",
    "Health",
    "Instrument",
    "Lagged",
    "Limits",
    "Manager",
    "Middleware",
    "Namespace",
    "Next",
    "NoAck",
    "PerMessageDeflate",
    "RateLimited",
    "Ready",
    "Reconnection",
    "Recovery",
    "Refused",
    "RemoteSocket",
    "Request",
    "RoomEvent",
    "Route",
    "RouteError",
    "RoutingTable",
    "RunningServer",
    "Server",
    "ServerEvent",
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
    "rate_limit",
    "refuses",
    "server_event",
]
__version__ = "0.1.0"

# Where each public name lives. It is imported when it is first asked for (PEP 562): who needs the protocol gets no server.
_HOMES: Final = {
    "ClientSocket": "client",
    "Manager": "client",
    "Reconnection": "client",
    "open_client": "client",
    "open_manager": "client",
    "CORS": "config",
    "Compression": "config",
    "Config": "config",
    "Cookie": "config",
    "PerMessageDeflate": "config",
    "Recovery": "config",
    "Contract": "contract",
    "ConnectionRejected": "engine.events",
    "EngineServer": "engine_server",
    "Session": "engine_server",
    "BadAnswer": "errors",
    "BadMessage": "errors",
    "ConfigurationError": "errors",
    "ConnectFailed": "errors",
    "ConnectionRefused": "errors",
    "DisconnectReason": "errors",
    "Disconnected": "errors",
    "EncodeError": "errors",
    "Lagged": "errors",
    "NoAck": "errors",
    "RateLimited": "errors",
    "Refused": "errors",
    "RouteError": "errors",
    "TrioSioError": "errors",
    "Limits": "limits",
    "Ack": "namespaces.acks",
    "AckTimeout": "namespaces.answers",
    "BroadcastAnswers": "namespaces.answers",
    "EventAnswers": "namespaces.answers",
    "BroadcastOperator": "namespaces.broadcast",
    "Handshake": "namespaces.handshake",
    "Instrument": "namespaces.instrument",
    "Namespace": "namespaces.namespace",
    "RemoteSocket": "namespaces.remote",
    "RunningServer": "namespaces.running_server",
    "Socket": "namespaces.socket",
    "RoomEvent": "namespaces.subscriptions",
    "Subscription": "namespaces.subscriptions",
    "Request": "protocol.http",
    "broadcasts": "routing.markers",
    "emits": "routing.markers",
    "on_any_message": "routing.markers",
    "on_connection": "routing.markers",
    "on_disconnection": "routing.markers",
    "on_message": "routing.markers",
    "Context": "routing.middleware",
    "Middleware": "routing.middleware",
    "Next": "routing.middleware",
    "rate_limit": "routing.rate_limit",
    "refuses": "routing.refusals",
    "Route": "routing.table",
    "RoutingTable": "routing.table",
    "Server": "server",
    "ServerEvent": "signatures.events",
    "server_event": "signatures.events",
    "Health": "health",
    "Ready": "health",
    "BusStatistics": "statistics",
    "Statistics": "statistics",
}


if not TYPE_CHECKING:  # or they would believe that it has any name

    def __getattr__(name: str) -> object:
        home = _HOMES.get(name)
        if home is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        value: object = getattr(import_module(f".{home}", __name__), name)
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

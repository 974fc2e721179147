"""What tests of a Socket.IO application need: a server without a network, clients, a bad network, and cancellation at every step."""

from __future__ import annotations

from .cancellation import CancellationFailure, Finding, Report, cancel_everywhere, serving
from .chaos import ChaosRules, ChaosStream, chaos_stream
from .fleet import Fleet, open_fleet
from .level import Level, level, unchanged
from .loopback import LoopbackCluster, LoopbackNetwork
from .proxy import ChaosProxy, open_chaos_proxy
from .raw import HttpResponse, RawHttp, RawWebSocket, UpgradeRefused, WebSocketClosed
from .scheduling import seeded
from .server import InMemoryServer, open_test_server
from .strict import Ended, StrictConnection, StrictSocket, open_strict_client

__all__ = [
    "CancellationFailure",
    "ChaosProxy",
    "ChaosRules",
    "ChaosStream",
    "Ended",
    "Finding",
    "Fleet",
    "HttpResponse",
    "InMemoryServer",
    "Level",
    "LoopbackCluster",
    "LoopbackNetwork",
    "RawHttp",
    "RawWebSocket",
    "Report",
    "StrictConnection",
    "StrictSocket",
    "UpgradeRefused",
    "WebSocketClosed",
    "cancel_everywhere",
    "chaos_stream",
    "level",
    "open_chaos_proxy",
    "open_fleet",
    "open_strict_client",
    "open_test_server",
    "seeded",
    "serving",
    "unchanged",
]

"""Controllers: which method runs for which client, event and namespace, and what becomes of its result."""

from __future__ import annotations

from .markers import broadcasts, emits, on_any_message, on_connection, on_disconnection, on_message
from .middleware import Context, Middleware, Next
from .registration import Functions
from .table import Route, RoutingTable

__all__ = [
    "Context",
    "Functions",
    "Middleware",
    "Next",
    "Route",
    "RoutingTable",
    "broadcasts",
    "emits",
    "on_any_message",
    "on_connection",
    "on_disconnection",
    "on_message",
]

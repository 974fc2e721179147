"""The ASGI door: a Socket.IO server beside or in front of another ASGI application, under a Trio worker."""

from __future__ import annotations

from .application import ASGIApplication
from .messages import ASGIFramework

__all__ = ["ASGIApplication", "ASGIFramework"]

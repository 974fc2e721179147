"""The admin page: ``@socket.io/admin-ui``, which one knows from Node, for servers of this package."""

from __future__ import annotations

from .basic_auth import BasicAuth
from .counts import Counts
from .page import admin

__all__ = ["BasicAuth", "Counts", "admin"]

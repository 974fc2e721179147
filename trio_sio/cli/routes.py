"""``trio-sio routes MODULE:ATTR``: prints the routing table."""

from __future__ import annotations

import argparse

from ..server import Server
from .target import resolve

__all__ = ["routes_command"]


async def routes_command(options: argparse.Namespace) -> int:
    """Print what would be served; return the exit code."""
    async with resolve(options.target) as found:
        print((found.compile_routes() if isinstance(found, Server) else found).describe())
    return 0

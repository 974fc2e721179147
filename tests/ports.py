"""Ports for servers that have to be told one."""

from __future__ import annotations

import random
import socket
from typing import Final

__all__ = ["free_port"]

# Below what systems give to connections and to listeners that take any: thousands of clients run beside, in other processes.
_PORTS: Final = range(10_000, 30_000)


def free_port() -> int:
    """Return a port of 127.0.0.1 that nobody listens on."""
    for port in random.SystemRandom().sample(_PORTS, 100):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise RuntimeError("Of 100 ports none is free.")

"""The example's server, once with session ids of another kind, and once so that it waits longer for its last clients."""

from __future__ import annotations

import uuid
from dataclasses import replace

from examples.behind_nginx.app import NAME
from examples.behind_nginx.app import server as example
from trio_sio import Server


def generate_id() -> str:
    """Return a UUID of which the first digit is the name of the server."""
    return f"{NAME}{str(uuid.uuid4())[1:]}"


server = Server(example.routes, config=replace(example.config, generate_id=generate_id))
patient = Server(example.routes, config=replace(example.config, drain_timeout=80))

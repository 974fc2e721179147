"""One of several servers behind nginx or haproxy; see README.md.

    NAME=a trio-sio run app:server --port 3001 --health-path /healthz
    NAME=b trio-sio run app:server --port 3002 --health-path /healthz

Each begins its session ids with its name, so that a proxy sees in every request which server has the session.
"""

from __future__ import annotations

import os
import secrets

from trio_sio import Config, Route, RoutingTable, Server, Socket, on_message

NAME = os.environ.get("NAME", "a")


def generate_id() -> str:
    return f"{NAME}-{secrets.token_urlsafe(15)}"


class Greeter:
    """Tells clients where they are."""

    @on_message("where")
    def where(self, socket: Socket) -> dict[str, object]:
        return {"server": NAME, "address": socket.handshake.address}


# One proxy is ours, so one entry of X-Forwarded-For, the last, can be believed.
server = Server(RoutingTable(Route("/", Greeter())), config=Config(generate_id=generate_id, trusted_proxies=1))

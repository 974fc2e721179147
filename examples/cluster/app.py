"""One of several servers that share their clients through Redis; see README.md.

NAME=a REDIS=redis://127.0.0.1:6379 trio-sio run app:server --port 3001 --health-path /healthz
"""

from __future__ import annotations

import os
import secrets

from trio_sio import Config, Route, RoutingTable, Server, Socket, on_connection, on_message
from trio_sio.cluster.redis import RedisCluster

NAME = os.environ.get("NAME", "a")
REDIS = os.environ.get("REDIS", "redis://127.0.0.1:6379")


def generate_id() -> str:
    # The proxy sees in it which server has the session.
    return f"{NAME}-{secrets.token_urlsafe(15)}"


class Hall:
    """What is said here is heard everywhere, whichever server one is connected to."""

    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("hall")
        await socket.broadcast.emit("joined", socket.id)

    @on_message("say")
    async def say(self, socket: Socket, text: str) -> None:
        await socket.server.to("hall").emit("said", NAME, text)

    @on_message("here")
    async def here(self, socket: Socket) -> dict[str, object]:
        found = await socket.server.to("hall").fetch_sockets()
        return {"server": NAME, "everybody": sorted(one.id for one in found), "missing": list(found.missing)}

    @on_message("vote")
    async def vote(self, socket: Socket, question: str) -> list[object]:
        return await socket.server.to("hall").timeout(2).emit_with_ack("question", question)


server = Server(RoutingTable(Route("/", Hall)), config=Config(generate_id=generate_id, trusted_proxies=1), cluster=RedisCluster(REDIS))

"""The application that the files beside it deploy: a room for everybody.

A routing table alone: the command line says how many processes there are, and what connects them.
"""

from __future__ import annotations

from trio_sio import Route, RoutingTable, Socket, on_message


class Chat:
    """What a client may do."""

    @on_message("say")
    async def say(self, socket: Socket, text: str) -> None:
        """Tell everybody else."""
        await socket.broadcast.emit("said", text)


routes = RoutingTable(Route("/", Chat()))

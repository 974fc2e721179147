"""Pages, an API and sockets on one port: Quart and a Socket.IO server under hypercorn.

A notice board. The page shows it, and pins notices to it through its socket; other programs do so through HTTP, and every
open page hears of it at once:

    python examples/quart_app/app.py
    curl --json '{"text": "Lunch is ready"}' http://127.0.0.1:3000/notices

It stops as it should upon SIGINT and SIGTERM: first the sockets hear "server shutting down", then hypercorn closes what is left.
"""

from __future__ import annotations

import os
import signal
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import trio
from hypercorn.config import Config
from msgspec import Meta
from quart import Response, request, send_file
from quart_trio import QuartTrio

from trio_sio import Route, RoutingTable, Server, Socket, broadcasts, on_connection, on_message
from trio_sio.doors.hypercorn import serve

LONGEST = 200

Text = Annotated[str, Meta(min_length=1, max_length=LONGEST)]


@dataclass
class Board:
    """The last notices, newest last."""

    notices: list[str] = field(default_factory=list)

    def pin(self, text: str) -> None:
        self.notices = [*self.notices, text][-20:]


@dataclass
class BoardController:
    """What pages can do."""

    board: Board

    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.emit("board", self.board.notices)

    @on_message("pin")
    @broadcasts("pinned")
    async def pin(self, text: Text) -> str:
        self.board.pin(text)
        return text


def make_site(server: Server, board: Board) -> QuartTrio:
    """Make the pages and the API."""
    site = QuartTrio(__name__)

    @site.get("/")
    async def page() -> Response:
        return await send_file(Path(__file__).with_name("page.html"))

    @site.get("/notices")
    async def notices() -> list[str]:
        return board.notices

    @site.post("/notices")
    async def pin() -> tuple[str, int]:
        content = await request.get_json(silent=True)
        text = content.get("text") if isinstance(content, dict) else None
        if not isinstance(text, str) or not 1 <= len(text) <= LONGEST:
            return f'Send {{"text": "..."}} with 1 to {LONGEST} characters.\n', 400
        board.pin(text)
        await server.of("/").emit("pinned", text)
        return "", 204

    return site


async def stopped() -> None:
    with trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        await anext(signals)


async def main() -> None:
    board = Board()
    server = Server(RoutingTable(Route("/", BoardController(board))))
    config = Config()
    config.bind = [f"127.0.0.1:{os.environ.get('PORT', '3000')}"]
    app = server.asgi(make_site(server, board))  # what is not Socket.IO's path goes to Quart
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(serve, app, config, shutdown_trigger=stopped))
        print(f"Listening on {url}", flush=True)


if __name__ == "__main__":
    trio.run(main)

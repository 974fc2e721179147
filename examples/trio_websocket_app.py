"""A protocol of your own on trio-websocket, and Socket.IO beside it on the same port.

The program speaks its own protocol on ``/ticks``: it says what time it is. On its path the Socket.IO server tells its
clients the same:

    python examples/trio_websocket_app.py

There is no HTTP at such a server, so clients of Socket.IO name the WebSocket as their transport:

    const socket = io("http://127.0.0.1:3000", { transports: ["websocket"] });
    socket.on("tick", (number) => ...);
    await socket.emitWithAck("latest");
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial

import trio
from trio_websocket import ConnectionClosed, WebSocketRequest

from trio_sio import Config, Route, RoutingTable, Server, on_message
from trio_sio.doors.trio_websocket import serve


@dataclass
class Ticker:
    """Counts seconds."""

    number: int = 0

    async def run(self, server: Server) -> None:
        """Count for ever, and tell the Socket.IO clients."""
        while True:
            await trio.sleep(1)
            self.number += 1
            await server.of("/").emit("tick", self.number)

    @on_message("latest")
    def latest(self) -> int:
        return self.number


async def say_ticks(ticker: Ticker, request: WebSocketRequest) -> None:
    """Serve one client of the program's own protocol, as a handler of ``serve_websocket`` would."""
    if request.path != "/ticks":
        await request.reject(404)
        return
    websocket = await request.accept()
    try:
        while True:
            await websocket.send_message(str(ticker.number))
            await trio.sleep(1)
    except ConnectionClosed:
        pass


async def main() -> None:
    ticker = Ticker()
    server = Server(RoutingTable(Route("/", ticker)), config=Config(transports=["websocket"]))
    port = int(os.environ.get("PORT", "3000"))
    # The server is entered first, and so left last: its clients live no longer than what they need.
    async with server, trio.open_nursery() as nursery:
        nursery.start_soon(ticker.run, server)
        # In place of serve_websocket: there, whatever goes wrong with one client is the end of all.
        urls: list[str] = await nursery.start(partial(serve, server, "127.0.0.1", port, other=partial(say_ticks, ticker)))
        print(f"Listening on {urls[0]}", flush=True)


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        pass

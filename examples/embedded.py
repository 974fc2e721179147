"""A Trio program that has something else to do, and tells browsers about it.

One task watches a thermometer. The server runs next to it in the same nursery: no thread, no second event loop, no
global. When either of them fails or is cancelled, the other one ends too.

    python examples/embedded.py

A client hears `reading` whenever the thermometer was read, asks for the `latest` reading with an ack, and may change how
often it is read:

    socket.on("reading", (celsius) => ...);
    await socket.emitWithAck("latest");
    await socket.emitWithAck("every", 0.5);
"""

from __future__ import annotations

import os
import random
from dataclasses import dataclass, field
from functools import partial

import trio

from trio_sio import BadMessage, Route, RoutingTable, Server, on_message


@dataclass
class Thermometer:
    """Something that has nothing to do with sockets."""

    celsius: float = 20.0
    interval: float = 1.0
    noise: random.Random = field(default_factory=random.Random)

    def read(self) -> float:
        self.celsius = round(self.celsius + self.noise.uniform(-0.2, 0.2), 2)
        return self.celsius


@dataclass
class ThermometerController:
    """What clients can ask. One instance serves all of them, because it keeps nothing about any of them."""

    thermometer: Thermometer

    @on_message("latest")
    def latest(self) -> float:
        return self.thermometer.celsius

    @on_message("every")
    def every(self, seconds: float) -> float:
        if not 0.1 <= seconds <= 60:
            raise BadMessage("Choose 0.1 to 60 seconds.")
        self.thermometer.interval = seconds
        return seconds


async def watch(thermometer: Thermometer, server: Server) -> None:
    """Read the thermometer for ever, and tell everybody."""
    while True:
        await server.of("/").emit("reading", thermometer.read())
        await trio.sleep(thermometer.interval)


async def main() -> None:
    thermometer = Thermometer()
    server = Server(RoutingTable(Route("/", ThermometerController(thermometer))))
    port = int(os.environ.get("PORT", "3000"))
    async with trio.open_nursery() as nursery:
        # start() returns as soon as clients can connect, so what comes next may rely on it.
        await nursery.start(partial(server.serve, "127.0.0.1", port))
        print(f"Listening on http://127.0.0.1:{port}", flush=True)
        nursery.start_soon(watch, thermometer, server)


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        pass

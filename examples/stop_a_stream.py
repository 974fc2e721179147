"""A handler that streams until its client has had enough, in one way or the other.

`follow` emits prices until the client sends `unfollow`, or goes: the handler is cancelled where it waits, and its `finally`
runs. It is `concurrent`, because an event otherwise waits until the handlers of earlier events of the same client have
returned, and `unfollow` would never be heard. Handlers start in the order of their events all the same, so `unfollow` finds
what an earlier `follow` has put into `streams`.

    python examples/stop_a_stream.py

    socket.on("price", (name, price) => ...);
    const followed = socket.emitWithAck("follow", "tea");    // one stream per name; several run side by side
    await socket.emitWithAck("unfollow", "tea");             // true
    await followed;                                          // how many prices there were
"""

from __future__ import annotations

import os
import random
from collections import Counter
from dataclasses import dataclass, field
from functools import partial

import trio

from trio_sio import BadMessage, Route, RoutingTable, Server, Socket, on_message

INTERVAL = 0.5


@dataclass
class Market:
    """What all clients share: prices, and how many streams there are of each."""

    noise: random.Random = field(default_factory=random.Random)
    followers: Counter[str] = field(default_factory=Counter)

    def price(self) -> float:
        return round(self.noise.uniform(9, 11), 2)


@dataclass
class PricesController:
    """One client, and the streams that it can stop."""

    socket: Socket
    market: Market
    streams: dict[str, trio.CancelScope] = field(default_factory=dict)

    @on_message("follow", concurrent=True)
    async def follow(self, name: str) -> int:
        if name in self.streams:
            raise BadMessage(f"You follow {name} already.")
        sent = 0
        self.market.followers[name] += 1
        try:
            with trio.CancelScope() as self.streams[name]:
                while True:
                    await self.socket.emit("price", name, self.market.price())
                    sent += 1
                    await trio.sleep(INTERVAL)
        finally:
            self.market.followers[name] -= 1
        return sent  # not reached when the client has gone: that cancels more than our scope

    @on_message("unfollow")
    def unfollow(self, name: str) -> bool:
        # Taken out here and not by the stream, which ends a little later: the client may follow again at once.
        stream = self.streams.pop(name, None)
        if stream is None:
            return False
        stream.cancel()
        return True


async def main() -> None:
    port = int(os.environ.get("PORT", "3000"))
    server = Server(RoutingTable(Route("/", partial(PricesController, market=Market()))))
    async with trio.open_nursery() as nursery:
        await nursery.start(server.serve, "127.0.0.1", port)
        print(f"Listening on http://127.0.0.1:{port}", flush=True)


if __name__ == "__main__":
    try:
        trio.run(main)
    except* KeyboardInterrupt:
        pass

"""What tests/hostile/test_draining.py runs in a process of its own: an application that keeps accounts of how it was drained."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Final

import trio

from trio_sio import Config, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message

# A client of this name keeps the drain waiting until so many newcomers have come, so that a test can watch them.
HOLDER: Final = "holder"
NEWCOMERS: Final = 2


class Accounts:
    """What happened, as it will be written down once everything is drained."""

    def __init__(self) -> None:
        self.handled: dict[str, list[int]] = {}  # by client, the events whose handlers have returned before the drain ended its session
        self.reasons: Counter[str] = Counter()

    @asynccontextmanager
    async def write_down(self, _server: Server) -> AsyncIterator[None]:
        """Write the accounts to the file ``ACCOUNTS`` at the very end."""
        yield
        await trio.Path(os.environ["ACCOUNTS"]).write_text(json.dumps({"handled": self.handled, "reasons": self.reasons}))


class Busy:
    """Answers everybody, and announces who leaves."""

    def __init__(self, accounts: Accounts) -> None:
        self.accounts = accounts

    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("lobby")

    @on_message("say")
    def say(self, number: int, socket: Socket) -> int:
        if socket.connected:
            self.accounts.handled.setdefault(socket.handshake.auth["name"], []).append(number)
        return number

    @on_message("wait")
    async def wait(self, socket: Socket) -> None:
        await socket.emit("begun")
        await trio.sleep_forever()

    @on_message("shield")
    async def shield(self, socket: Socket) -> None:
        await socket.emit("begun")
        with trio.CancelScope(shield=True):
            await trio.sleep_forever()

    @on_message("swallow")
    async def swallow(self, socket: Socket) -> None:
        await socket.emit("begun")
        while True:
            with suppress(BaseException):  # the mistake is the subject
                await trio.sleep_forever()

    @on_disconnection
    async def gone(self, socket: Socket, reason: str) -> None:
        self.accounts.reasons[reason] += 1
        # A goodbye of each to all would be a million packets: the rooms are empty by now.
        await socket.namespace.to("lobby").emit("left", socket.id)
        if socket.handshake.auth["name"] == HOLDER:
            while server.engine.counters.turned_away[503] < NEWCOMERS:  # noqa: ASYNC110  # a server that stops asks nobody about newcomers
                await trio.sleep(0.01)


accounts = Accounts()
server = Server(
    RoutingTable(Route("/", Busy(accounts))),
    # However slow the machine is: nobody is pinged, and those in the middle of an upgrade are still there when the signal comes.
    config=Config(
        ping_interval=1_000,
        upgrade_timeout=1_000,
        drain_timeout=float(os.environ.get("DRAIN_TIMEOUT", "20")),
    ),
    lifespan=accounts.write_down,
)

"""The official client behind a wire that is cut again and again: whenever it says that it was recovered, it has heard everything once."""

from __future__ import annotations

import subprocess
from collections import Counter
from functools import partial
from typing import Any, Final

import pytest
import trio

from tests.conformance.cutting import CuttingProxy
from tests.conformance.official import MODES
from trio_sio import Config, Disconnected, Recovery, Route, RoutingTable, Server, Socket, on_connection, on_message

pytestmark = [pytest.mark.needs("node", "socket.io-client"), pytest.mark.slow]

CLIENTS: Final = 10
# How often clients come back: each time after a cut, and many cuts hit what is not connected yet, above all with polling.
RECOVERIES: Final = {"polling": 60, "websocket": 160, "upgrade": 85}
INTERVAL: Final = 0.01  # seconds between two numbers of a series
# Only a failing test takes that long.
PATIENCE: Final = 100.0


class Numbers:
    """Sends every client three series of numbers: its own, its room's and everybody's.

    Args:
      recoveries: After how many of them it has seen `enough`.
    """

    def __init__(self, recoveries: int) -> None:
        self.running = True
        self.stopped = trio.Event()
        self._recoveries = recoveries
        self.enough = trio.Event()
        self.next: Counter[str] = Counter()
        self.sockets: dict[int, Socket] = {}

    @on_connection
    def joined(self, socket: Socket) -> None:
        name = socket.handshake.auth["name"]
        self.sockets[name] = socket
        if not socket.recovered:
            socket.data.update(own=0, room=f"room {name % 3}")
            socket.join_nowait(socket.data["room"])
            socket.emit_nowait("welcome", self.welcome(socket))
        socket.start_soon(self._count_for, socket)

    @on_message("came back")
    def came_back(self) -> None:
        self._recoveries -= 1
        if not self._recoveries:
            self.enough.set()

    def welcome(self, socket: Socket) -> dict[str, int]:
        """Return which number of each series comes next, as far as that is certain."""
        return self.numbers(socket)

    def numbers(self, socket: Socket) -> dict[str, int]:
        """Return which number of each series comes next."""
        return {"own": socket.data["own"], "room": self.next[socket.data["room"]], "all": self.next["all"]}

    async def _count_for(self, socket: Socket) -> None:
        while self.running:
            await socket.emit("number", "own", socket.data["own"])
            socket.data["own"] += 1
            await trio.sleep(INTERVAL)

    async def count(self, server: Server) -> None:
        """Send the numbers of the rooms, and of all."""
        while self.running:
            for room in ("room 0", "room 1", "room 2"):
                await server.to(room).emit("number", "room", self.next[room])
                self.next[room] += 1
            await server.emit("number", "all", self.next["all"])
            self.next["all"] += 1
            await trio.sleep(INTERVAL)
        self.stopped.set()

    async def report(self, name: int) -> tuple[Socket, Any]:
        """Return what a client reports, over whichever connection it has in the end."""
        while True:
            try:
                socket = self.sockets[name]
                return socket, await socket.emit_with_ack("report", timeout=5)
            except (KeyError, Disconnected, trio.TooSlowError):  # it has come back, or will
                await trio.sleep(INTERVAL)


@pytest.mark.parametrize("mode", MODES)
async def test_nothing_is_lost_or_doubled(mode: str) -> None:
    numbers = Numbers(RECOVERIES[mode])
    server = Server(RoutingTable(Route("/", numbers)), config=Config(connection_state_recovery=Recovery()))
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)
            proxy = CuttingProxy(listener.sockname[1], seed=len(mode), mean=4_000)
            await nursery.start(proxy.run)
            nursery.start_soon(numbers.count, server)
            command = ["node", "tests/conformance/javascript/recovery.cjs", f"http://127.0.0.1:{proxy.port}", mode, str(CLIENTS)]
            clients: trio.Process = await nursery.start(partial(trio.run_process, command, stdin=subprocess.DEVNULL, check=False))
            await numbers.enough.wait()
            proxy.cutting = numbers.running = False
            await numbers.stopped.wait()
            reports = [await numbers.report(name) for name in range(CLIENTS)]
            clients.kill()
            nursery.cancel_scope.cancel()

    assert [report["wrong"] for _, report in reports] == [[]] * CLIENTS
    assert [report["next"] for _, report in reports] == [numbers.numbers(socket) for socket, _ in reports]
    assert sum(report["recovered"] for _, report in reports) >= RECOVERIES[mode]

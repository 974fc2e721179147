"""Recovery with several workers, and the official client: whenever it says that it was recovered it has heard everything once."""

from __future__ import annotations

from typing import Final

import pytest
import trio

from tests.conformance.cutting import CuttingProxy
from tests.conformance.test_recovery import INTERVAL, Numbers
from tests.conftest import SOAK
from tests.workers.crew import open_crew
from tests.workers.processes import BOUND
from tests.workers.rolling import CLIENTS, WORKERS, check, official_clients, roll
from trio_sio import Config, Recovery, Route, RoutingTable, Server, Socket
from trio_sio.cluster.local import LocalCluster

pytestmark = [pytest.mark.needs("node", "socket.io-client"), pytest.mark.slow]

PATIENCE: Final = 100.0
ROUNDS: Final = 1 + 50 // WORKERS if SOAK else None


class Spread(Numbers):
    """Each of the common series comes from another worker."""

    def welcome(self, socket: Socket) -> dict[str, int]:
        # What the others have emitted may be on its way.
        return {"own": socket.data["own"]}

    async def spread(self, servers: list[Server]) -> None:
        while self.running:
            for number, room in enumerate(("room 0", "room 1", "room 2")):
                await servers[number].to(room).emit("number", "room", self.next[room])
                self.next[room] += 1
            await servers[-1].emit("number", "all", self.next["all"])
            self.next["all"] += 1
            await trio.sleep(INTERVAL)
        self.stopped.set()


@pytest.mark.parametrize(("mode", "recoveries"), [("polling", 25), ("websocket", 60), ("upgrade", 40)])
async def test_nothing_is_lost_or_doubled_with_four_workers(mode: str, recoveries: int) -> None:
    numbers = Spread(recoveries)

    def make() -> Server:
        config = Config(connection_state_recovery=Recovery(), drain_timeout=0.5)
        return Server(RoutingTable(Route("/", numbers)), config=config, cluster=LocalCluster())

    with trio.fail_after(PATIENCE):
        async with open_crew(make, 4, shared=True) as crew, trio.open_nursery() as nursery:
            proxy = CuttingProxy(crew.ports[0], seed=len(mode), mean=4_000)
            await nursery.start(proxy.run)
            nursery.start_soon(numbers.spread, crew.servers)
            async with official_clients(f"http://127.0.0.1:{proxy.port}", mode):
                await numbers.enough.wait()
                proxy.cutting = numbers.running = False
                await numbers.stopped.wait()
                while True:
                    reports = [await numbers.report(name) for name in range(CLIENTS)]
                    # Who begins anew at the very end has heard of some series nothing.
                    if all(report["next"].items() <= numbers.numbers(socket).items() for socket, report in reports):
                        break
                    await trio.sleep(INTERVAL)  # the last numbers are on their way from worker to worker
            nursery.cancel_scope.cancel()
    assert [report["wrong"] for _, report in reports] == [[]] * CLIENTS
    assert sum(report["recovered"] for _, report in reports) >= recoveries


@pytest.mark.parametrize(("mode", "rounds"), [("websocket", ROUNDS or 2), ("polling", ROUNDS or 1)])
async def test_rolling_restarts_lose_nothing(mode: str, rounds: int) -> None:
    """Three processes number what they emit, and are restarted one after the other."""
    with trio.fail_after(BOUND * rounds):
        check(await roll(mode, rounds), rounds)

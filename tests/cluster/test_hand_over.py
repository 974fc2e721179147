"""Servers that end leave the sessions of clients that are away to others, so a rolling restart loses none, nor what they missed."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from random import Random
from typing import Any, Final

import pytest
import trio
import trio.testing

from tests.cluster.recovery_clients import Comer, open_comer
from trio_sio import Config, Disconnected, Recovery, Route, RoutingTable, Server, on_connection
from trio_sio.cluster.leaving import LeavingRecovery
from trio_sio.cluster.recovery import Lent
from trio_sio.testing import InMemoryServer, LoopbackCluster, LoopbackNetwork, UpgradeRefused, open_test_server

Clock = trio.testing.MockClock

CONFIG = Config(connection_state_recovery=Recovery(), drain_timeout=2)


class Application:
    @on_connection
    def joined(self) -> None:
        """Let everybody in."""


ROUTES = RoutingTable(Route("/", Application), Route(re.compile(r"/room-\d+"), Application))


class Running:
    """Servers that can be restarted, one by one."""

    def __init__(self, nursery: trio.Nursery, network: LoopbackNetwork, count: int, config: Config, routes: RoutingTable) -> None:
        self.routes = routes
        self.nursery = nursery
        self.network = network
        self.config = config
        self.hosts: list[InMemoryServer | None] = [None] * count
        self._wanted = [trio.Event() for _ in range(count)]
        self._over = [trio.Event() for _ in range(count)]

    async def run(self, number: int, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        server = Server(self.routes, config=self.config, cluster=self.network.cluster())
        self._wanted[number], self._over[number] = trio.Event(), trio.Event()
        async with open_test_server(server) as host:
            self.hosts[number] = host
            task_status.started()
            await self._wanted[number].wait()
            self.hosts[number] = None
        self._over[number].set()

    async def stop(self, number: int) -> None:
        self._wanted[number].set()
        await self._over[number].wait()

    async def restart(self, number: int) -> None:
        await self.stop(number)
        # What has said goodbye before it came needs not be heard by it, and that takes a moment.
        await trio.sleep(0.5)
        await self.nursery.start(self.run, number)

    def server(self, number: int) -> Server:
        host = self.hosts[number]
        assert host is not None
        assert isinstance(host.server, Server)
        return host.server

    def store(self, number: int) -> LeavingRecovery:
        recovery = self.server(number).of("/").adapter.recovery
        assert isinstance(recovery, LeavingRecovery)
        return recovery

    def living(self) -> list[int]:
        return [number for number, host in enumerate(self.hosts) if host is not None]


@asynccontextmanager
async def open_running(count: int = 3, config: Config = CONFIG, routes: RoutingTable = ROUTES, **network: Any) -> AsyncIterator[Running]:
    """Run some servers; one that is started later has the routes that `Running.routes` are then."""
    async with trio.open_nursery() as nursery:
        running = Running(nursery, LoopbackNetwork(**network), count, config, routes)
        for number in range(count):
            await nursery.start(running.run, number)
        await trio.sleep(1)
        yield running
        nursery.cancel_scope.cancel()


async def test_a_server_that_ends_leaves_its_sessions_to_the_newest(autojump_clock: Clock) -> None:
    async with open_running() as running, open_comer(running) as comer:
        await comer.come(0)
        socket = running.server(0).of("/").sockets[comer.client.id]
        await socket.join("a")
        socket.data["name"] = "Ann"
        await running.server(1).to("a").emit("x", "heard", b"\x00")
        await trio.testing.wait_all_tasks_blocked()
        await comer.go()
        await socket.emit("x", "to itself")
        await running.server(1).to("a").emit("x", "before")
        await running.server(1).to("b").emit("x", "not for it")
        await running.stop(0)
        assert [len(running.store(number)._ids) for number in (1, 2)] == [0, 1]
        await running.server(1).to("a").emit("x", "after")
        assert await comer.come(1)
        await trio.testing.wait_all_tasks_blocked()
        comer.listen()
        assert comer.heard == [("x", "heard", b"\x00"), ("x", "to itself"), ("x", "before"), ("x", "after")]
        assert running.server(1).of("/").sockets[socket.id].data == {"name": "Ann"}


async def test_what_was_on_its_way_when_the_connection_broke_comes_again(autojump_clock: Clock) -> None:
    """The server that ends does not know how far its client has come; the client says so to the other one."""
    async with open_running(2) as running, open_comer(running) as comer, open_comer(running) as deaf:
        await comer.come(0)
        await deaf.come(0)
        for number in range(4):
            await running.server(0).emit("x", number)
        await trio.testing.wait_all_tasks_blocked()
        comer.listen()
        await running.server(0).emit("x", 4)
        await comer.client.connection.abort()
        await deaf.client.connection.abort()
        await running.stop(0)
        assert await comer.come(1)
        assert await deaf.come(1)
        await trio.testing.wait_all_tasks_blocked()
        comer.listen()
        deaf.listen()
        assert comer.heard == deaf.heard == [("x", number) for number in range(5)]


async def test_what_the_server_that_ends_does_not_keep_any_more_is_not_left_in_part(autojump_clock: Clock) -> None:
    """A pong proves nothing about what was emitted after it, whether that is still kept or not."""
    config = Config(connection_state_recovery=Recovery(packets=3), drain_timeout=2)
    async with open_running(2, config) as running, open_comer(running) as comer:
        await comer.come(0)
        await running.server(0).emit("x", 0)
        await trio.testing.wait_all_tasks_blocked()
        await comer.go()
        await trio.sleep(1)
        for number in range(1, 5):
            await running.server(0).emit("x", number)
        await running.stop(0)
        assert not await comer.come(1)


@pytest.mark.parametrize("nowait", [False, True])
async def test_what_is_emitted_to_who_has_left_its_rooms_already_comes_once_and_in_order(nowait: bool, autojump_clock: Clock) -> None:
    """All leave their rooms before the first is ended; meanwhile the application goes on."""
    async with open_running(2) as running, open_comer(running) as comer:
        await comer.come(0)
        namespace = running.server(0).of("/")
        socket = namespace.sockets[comer.client.id]
        await socket.join("a")
        socket.client.connection.withdraw()
        await namespace.to("a").emit("x", "to the room")
        assert socket.connected
        if nowait:
            socket.emit_nowait("x", "to itself")
        else:
            await socket.emit("x", "to itself")
        await running.stop(0)
        comer.listen()
        assert await comer.come(1)
        await trio.testing.wait_all_tasks_blocked()
        comer.listen()
        assert comer.heard == [("x", "to the room"), ("x", "to itself")]


async def test_an_offset_that_was_never_given_out_recovers_nothing(autojump_clock: Clock) -> None:
    async with open_running(2) as running, open_comer(running) as comer:
        await comer.come(0)
        await running.server(0).emit("x", 1)
        await trio.testing.wait_all_tasks_blocked()
        await comer.go()
        await running.stop(0)
        comer._offset = f"{str(comer._offset)[:-1]}2"
        assert not await comer.come(1)
        assert len(running.store(1)._ids) == 1
        assert (running.store(1)._pasts, running.store(1)._past_bytes) == ({}, 0)


async def test_sessions_go_from_server_to_server_with_all_that_is_missed(autojump_clock: Clock) -> None:
    async with open_running(3, delay=0.01) as running, open_comer(running) as comer:
        await comer.come(0)
        await comer.go()
        for number in range(8):
            await running.server(number % 3).emit("x", number)
            await running.restart((number + 1) % 3)
            await trio.sleep(0.1)
        assert await comer.come(1)
        await trio.sleep(1)
        comer.listen()
        assert comer.heard == [("x", number) for number in range(8)]


async def test_sessions_that_nobody_asks_for_end_at_their_time_and_cost_nothing(autojump_clock: Clock) -> None:
    async with open_running(2, Config(connection_state_recovery=Recovery(max_disconnection=30), drain_timeout=2)) as running:
        async with open_comer(running) as comer:
            await comer.come(0)
            await running.server(0).emit("x", 1)
            await trio.testing.wait_all_tasks_blocked()
            await comer.client.connection.abort()
        await trio.sleep(10)
        await running.stop(0)
        store, expired = running.store(1), list[str]()
        running.server(1).of("/").on_session_expired(lambda session: expired.append(session.id))
        await trio.sleep(18)
        assert (len(store), len(store._pasts), store._past_bytes > 0) == (1, 1, True)
        await trio.sleep(4)
        assert (len(store), store._pasts, store._past_bytes, len(expired)) == (0, {}, 0, 1)


@pytest.mark.parametrize("how", ["its time is over", "its server is silent", "another server has it"])
async def test_with_its_last_session_a_namespace_by_pattern_ends_and_nothing_else(
    how: str, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    """What keeps the sessions of a namespace goes with it, in the middle of what it does."""
    room = "/room-1"
    config = Config(connection_state_recovery=Recovery(max_disconnection=30), drain_timeout=2)
    async with open_running(3, config) as running, open_comer(running, room) as comer, open_comer(running, room) as other:
        await comer.come(0)
        await other.come(2)
        await comer.go()
        await running.stop(0)
        await trio.sleep(0.5)
        await other.client.disconnect()
        await trio.testing.wait_all_tasks_blocked()
        cluster = running.server(2).cluster
        assert isinstance(cluster, LoopbackCluster)
        assert room in cluster._adapters
        if how == "its time is over":
            await trio.sleep(32)
        elif how == "another server has it":
            assert await comer.come(1)
        else:
            store = running.server(2).of(room).adapter.recovery
            assert isinstance(store, LeavingRecovery)
            (session,) = store._away.values()
            del store._away[session.pid]
            store._lent[1] = Lent("silent", session, trio.current_time())
            del store, session
            await trio.sleep(2)
        await trio.testing.wait_all_tasks_blocked()
        assert room not in cluster._adapters
        assert not [line for line in caplog.messages if "failed" in line]
        await comer.go()
        assert not await other.come(2)


async def test_servers_that_all_end_wait_for_nobody(autojump_clock: Clock) -> None:
    async with open_running(3) as running, open_comer(running) as comer:
        await comer.come(0)
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(running.stop, number)
        assert trio.current_time() - began <= 3


async def test_whom_one_server_refuses_another_one_takes(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_running(3) as running, open_comer(running) as comer:
        await comer.come(0)
        monkeypatch.setattr(running.store(2), "_is_leaving", True)
        await running.stop(0)
        assert [len(running.store(number)._ids) for number in (1, 2)] == [1, 0]
        await comer.client.closed()
        assert await comer.come(2)


RESTARTS: Final = 7


@pytest.mark.parametrize(
    ("network", "packets"),
    [*((one, 10_000) for one in ({}, {"delay": 0.02}, {"jitter": 0.2}, {"jitter": 0.1, "duplication": 0.3})), ({"jitter": 0.1}, 40)],
    ids=str,
)
@pytest.mark.parametrize("seed", range(2))
async def test_rolling_restarts_lose_nothing_whenever_it_is_recovered(
    network: dict[str, Any], packets: int, seed: int, autojump_clock: Clock
) -> None:
    """All servers number what they emit; clients come back somewhere, soon or late, and one server after the other is restarted."""
    random = Random(seed)
    config = replace(CONFIG, connection_state_recovery=Recovery(packets=packets))
    comings = recovered = 0
    async with open_running(3, config, seed=seed, **network) as running, trio.open_nursery() as nursery:
        counts: dict[int, int] = {}

        async def emit() -> None:
            while True:
                server = running.server(random.choice(running.living()))
                count = counts[id(server)] = counts.get(id(server), -1) + 1
                servers.append(server)
                await server.emit("x", id(server), count)
                await trio.sleep(random.uniform(0, 0.05))

        servers = list[Server]()  # so that no other one has the id of one of them

        async def come_somewhere(comer: Comer) -> None:
            while True:
                with suppress(Disconnected, UpgradeRefused):
                    await comer.come(random.choice(running.living()))
                    break
                await trio.sleep(0.05)  # that one ends

        async def live(comer: Comer) -> None:
            nonlocal comings, recovered
            await come_somewhere(comer)
            while True:
                # What it missed may be cut off as well, in the middle.
                with trio.move_on_after(random.choice([0, random.uniform(0, 2)])):
                    while comer.client.connected:
                        await trio.sleep(0.05)
                        comer.listen()
                await comer.go(random.random())
                await trio.sleep(random.uniform(0, 1))
                comings += 1
                before = len(comer.heard)
                await come_somewhere(comer)
                recovered += comer.recovered
                if random.random() < 0.7:
                    comer.listen()
                check(comer, before)

        def check(comer: Comer, before: int) -> None:
            heard: dict[int, list[int]] = {}
            for _, sender, count in comer.heard:
                heard.setdefault(sender, []).append(count)
            for sender, numbers in heard.items():
                assert numbers == list(range(numbers[0], numbers[-1] + 1)), (sender, numbers, before)

        nursery.start_soon(emit)
        async with trio.open_nursery() as lives:

            async def run() -> None:
                async with open_comer(running) as comer:
                    await live(comer)

            for _ in range(5):
                lives.start_soon(run)
            for number in range(RESTARTS):
                await trio.sleep(1)
                await running.restart(number % 3)
            await trio.sleep(1)
            lives.cancel_scope.cancel()
        nursery.cancel_scope.cancel()
    assert comings > 20
    # A log that is too small for what a client misses recovers few.
    assert recovered >= (0.75 if packets > 40 else 0.1) * comings, (recovered, comings)

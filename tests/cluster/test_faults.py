"""Servers that die, messages that are lost, repeated or late: on the loopback, where all of that can be had at will."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import Sequence
from typing import Any

import pytest
import trio
import trio.testing

from trio_sio import AckTimeout, Config, Namespace
from trio_sio.cluster.node import NodeCluster
from trio_sio.cluster.node_adapter import NodeAdapter
from trio_sio.namespaces import registry
from trio_sio.testing import LoopbackCluster, LoopbackNetwork, StrictSocket, open_fleet

Clock = trio.testing.MockClock

TIMEOUT = 10.0  # heartbeat_timeout
TICKS = 1.5  # until somebody looks

settle = trio.testing.wait_all_tasks_blocked


def clusters(network: LoopbackNetwork, count: int) -> list[LoopbackCluster]:
    return [network.cluster(heartbeat_timeout=TIMEOUT) for _ in range(count)]


def adapter(namespace: Namespace) -> NodeAdapter:
    assert isinstance(namespace.adapter, NodeAdapter)
    return namespace.adapter


async def numbers(client: StrictSocket) -> list[int]:
    """Return the numbers in the events that have come."""
    await settle()
    found = [event.args[0] for event in client.pending]
    while client.pending:
        await client.receive()
    return found


# A server that dies.


@pytest.mark.hostile("B23", "B24")
async def test_a_server_that_dies_while_it_is_asked(autojump_clock: Clock) -> None:
    network = LoopbackNetwork()
    members = clusters(network, 3)
    config = Config(ack_timeout=1_000)
    async with open_fleet(members, config) as fleet:
        here, there, silent = [await fleet.client(number) for number in range(3)]
        for client in (here, there):
            client.on("q", lambda client=client: client.id)
        dead = adapter(fleet.servers[2].of("/")).uid
        fleet.servers[1].on_server_side_emit("q")(lambda: "there")
        server, results, took = fleet.servers[0], dict[str, Any](), dict[str, float]()
        members[0].request_timeout = 1_000

        async def ask(what: str) -> None:
            start = trio.current_time()
            try:
                if what == "sockets":
                    results[what] = await server.fetch_sockets()
                elif what == "clients":
                    results[what] = await server.emit_with_ack("q")
                elif what == "one by one":
                    async with server.acks("q") as answers:
                        results[what] = [value async for _, (value,) in answers], answers.missing
                else:
                    results[what] = await server.server_side_emit_with_ack("q")
            except AckTimeout as error:
                results[what] = error
            took[what] = trio.current_time() - start

        async with trio.open_nursery() as nursery:
            # Of one kind it dies before the question has come, of the others while it is to be answered.
            for what in ("clients", "one by one", "servers"):
                nursery.start_soon(ask, what)
            await settle()
            members[2].die()
            nursery.start_soon(ask, "sockets")

        assert max(took.values()) <= TIMEOUT + TICKS
        assert ({socket.id for socket in results["sockets"]}, results["sockets"].missing) == ({here.id, there.id}, (dead,))
        assert sorted(results["clients"]) == sorted([here.id, there.id])
        assert (sorted(results["one by one"][0]), results["one by one"][1]) == (sorted([here.id, there.id]), [dead])
        assert (results["servers"].responses, results["servers"].missing) == (["there"], [dead])
        assert await server.count_sockets() == 2
        assert await members[0].server_count() == await members[1].server_count() == 2
        assert len(adapter(server.of("/"))._requests) == 0
        # Its own clients go on: it is alone now, and knows that.
        await fleet.servers[2].emit("still here")
        while (await silent.receive()).name != "still here":
            pass
        assert [socket.id for socket in await fleet.servers[2].fetch_sockets()] == [silent.id]


async def test_a_server_that_dies_owes_no_answers_and_is_owed_none(autojump_clock: Clock) -> None:
    members = clusters(LoopbackNetwork(), 2)
    async with open_fleet(members, Config(ack_timeout=1_000)) as fleet:
        client = await fleet.client(1)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fleet.servers[0].emit_with_ack, "q")
            assert await client.once("q") == ()
            relays = adapter(fleet.servers[1].of("/"))._relays
            assert len(relays) == 1
            members[0].die()
            await trio.sleep(TIMEOUT + TICKS)
            assert len(relays) == 0
            assert fleet.socket(1, client)._core.waiters._answers == {}


# Messages that are lost.


@pytest.mark.parametrize("seed", range(3))
async def test_what_is_lost_is_announced_and_the_rest_is_in_order(
    seed: int, autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    network = LoopbackNetwork(seed=seed, delay=0.05, jitter=0.1)
    members, why = clusters(network, 3), list[list[str]]()
    for member in members:
        heard = list[str]()
        member.on_gap(heard.append)
        why.append(heard)
    async with open_fleet(members) as fleet:
        clients = [await fleet.client(number) for number in range(3)]
        network.loss, network.duplication = 0.3, 0.2
        for number in range(300):
            await fleet.servers[0].emit("x", number)
            await trio.sleep(0.02)
        await trio.sleep(1)
        network.loss = 0
        await fleet.servers[0].emit("x", 300)
        await trio.sleep(1)

        assert await numbers(clients[0]) == list(range(301))
        for client, member, heard in zip(clients[1:], members[1:], why[1:], strict=True):
            got = await numbers(client)
            assert got == sorted(set(got))
            assert 150 < len(got) < 270
            lost = sum(int(match[1]) for line in heard if (match := re.match(r"(\d+) messages of server \w+ for namespace / are", line)))
            # Heartbeats are among them, too.
            assert 301 - len(got) <= lost <= 301 - len(got) + 3
            assert member.gaps == len(heard) > 30
            assert member.bad_messages["duplicate"] > 20
        assert members[0].gaps < 10
    assert sum("Gap between servers" in line for line in caplog.messages) <= 3


async def test_what_does_not_fit_is_a_gap_on_both_sides(autojump_clock: Clock) -> None:
    network = LoopbackNetwork(delay=1, capacity=5)
    members = clusters(network, 2)
    async with open_fleet(members) as fleet:
        here, there = await fleet.client(0), await fleet.client(1)
        await trio.sleep(2)
        for number in range(20):
            fleet.servers[0].emit_nowait("x", number)
        assert await numbers(here) == list(range(20))
        # One is on its way, and five wait.
        assert members[0].gaps == 14
        await trio.sleep(2)
        fleet.servers[0].emit_nowait("x", 20)
        await trio.sleep(2)
        assert await numbers(there) == [0, 1, 2, 3, 4, 5, 20]
        assert members[1].gaps == 1


async def test_who_is_told_of_a_gap_may_emit(autojump_clock: Clock) -> None:
    members = clusters(LoopbackNetwork(delay=1, capacity=2), 3)
    async with open_fleet(members) as fleet:
        here, there = await fleet.client(0), await fleet.client(1)
        await trio.sleep(2)
        before = members[0].gaps
        members[0].on_gap(lambda why: fleet.servers[0].emit_nowait("x", -1))
        for number in range(5):
            fleet.servers[0].emit_nowait("x", number)
        assert await numbers(here) == [0, 1, 2, 3, -1, 4, -1]
        await trio.sleep(2)
        assert await numbers(there) == [0, 1, 2]
        assert members[0].gaps - before == 4


@pytest.mark.hostile("B28")
async def test_what_comes_twice_is_heard_once(autojump_clock: Clock) -> None:
    network = LoopbackNetwork(duplication=1, jitter=0.5)
    members = clusters(network, 3)
    async with open_fleet(members) as fleet:
        clients, asked, served = [await fleet.client(number) for number in range(3)], list[int](), list[int]()
        for number, client in enumerate(clients):
            client.on("q", lambda number=number: asked.append(number))
            fleet.servers[number].on_server_side_emit("s")(lambda number=number: served.append(number))
        for number in range(10):
            await fleet.servers[number % 3].emit("x", number)
            await trio.sleep(1)
        assert [await numbers(client) for client in clients] == [list(range(10))] * 3
        assert await fleet.servers[0].emit_with_ack("q") == [None] * 3
        assert await fleet.servers[0].server_side_emit_with_ack("s") == [None] * 2
        assert (sorted(asked), sorted(served)) == ([0, 1, 2], [1, 2])
        assert len(await fleet.servers[0].fetch_sockets()) == await fleet.servers[0].count_sockets() == 3
        assert [member.gaps for member in members] == [0, 0, 0]


class Bridge(LoopbackCluster):
    """Lets everybody in two networks have what anybody says in one of them, himself included; another one of these makes a loop."""

    def __init__(self, networks: Sequence[LoopbackNetwork]) -> None:
        super().__init__(networks[0], heartbeat_interval=1, heartbeat_timeout=2, request_timeout=1)
        self.networks = networks
        self.hops = 0
        self.carried = 0
        for network in networks:
            network.join(self)

    def put(self, sender: LoopbackCluster, parcel: Any) -> bool:
        if self.hops < 3:
            self.hops += 1
            for network in self.networks:
                for member in list(network._running):
                    self.carried += 1
                    member.put(sender if member is not sender else self, parcel)
            self.hops -= 1
        return True


@pytest.mark.hostile("B05", "B26")
async def test_two_buses_that_are_bridged_twice_deliver_once(autojump_clock: Clock) -> None:
    networks = LoopbackNetwork(), LoopbackNetwork()
    bridges = [Bridge(networks), Bridge(networks)]
    members = [network.cluster() for network in networks]
    async with open_fleet(members) as fleet:
        clients = [await fleet.client(number) for number in range(2)]
        clients[1].on("q", lambda: "there")
        clients[0].on("q", lambda: "here")
        for number in range(5):
            await fleet.servers[number % 2].emit("x", number)
            await settle()
        assert [await numbers(client) for client in clients] == [list(range(5))] * 2
        assert sorted(map(str, await fleet.servers[0].emit_with_ack("q"))) == ["here", "there"]
        assert await fleet.servers[0].count_sockets() == 2
        assert [await member.server_count() for member in members] == [2, 2]
        assert min(bridge.carried for bridge in bridges) > 50
        assert [member.gaps for member in members] == [0, 0]


# Servers that come and go, and a slow network.


async def test_a_server_that_joins_late(autojump_clock: Clock) -> None:
    network = LoopbackNetwork(delay=0.1)
    async with open_fleet(clusters(network, 2)) as fleet:
        here = await fleet.client(0)
        here.on("q", lambda: "here")
        await fleet.servers[0].emit("x", "before it")
        async with open_fleet(clusters(network, 1), servers=3) as late:
            client = await late.client(0)
            assert len(await late.servers[0].fetch_sockets()) == 2
            await fleet.servers[0].emit("x", "with it")
            assert await client.once("x") == ("with it",)
            client.on("q", lambda: "late")
            assert sorted(map(str, await fleet.servers[1].emit_with_ack("q"))) == ["here", "late"]
            assert sorted(map(str, await late.servers[0].emit_with_ack("q"))) == ["here", "late"]
        await fleet.settle()
        assert await fleet.servers[1].emit_with_ack("q") == ["here"]


async def test_a_server_that_asks_as_soon_as_it_is_there_asks_everybody(autojump_clock: Clock) -> None:
    network = LoopbackNetwork(delay=0.1)
    async with open_fleet(clusters(network, 2)) as fleet, open_fleet(clusters(network, 1), servers=1) as late:
        for number in range(2):
            fleet.servers[number].on_server_side_emit("q")(lambda number=number: number)
        assert sorted(map(str, await late.servers[0].server_side_emit_with_ack("q"))) == ["0", "1"]


async def test_five_servers(autojump_clock: Clock) -> None:
    members = clusters(LoopbackNetwork(jitter=0.2), 5)
    async with open_fleet(members) as fleet:
        clients = [await fleet.client(number, "a" if number % 2 else "b") for number in range(5)]
        for number, client in enumerate(clients):
            client.on("q", lambda number=number: number)
            fleet.servers[number].on_server_side_emit("s")(lambda number=number: number)
        for number in range(5):
            await fleet.servers[number].to("a").emit("x", number)
            await trio.sleep(1)
        assert [await numbers(client) for client in clients] == [[], [*range(5)], [], [*range(5)], []]
        assert sorted(map(str, await fleet.servers[4].emit_with_ack("q"))) == list("01234")
        assert sorted(map(str, await fleet.servers[4].to("a").emit_with_ack("q"))) == list("13")
        assert sorted(map(str, await fleet.servers[2].server_side_emit_with_ack("s"))) == list("0134")
        assert {socket.id for socket in await fleet.servers[3].fetch_sockets()} == {client.id for client in clients}
        assert [await member.server_count() for member in members] == [5] * 5


async def test_local_clients_never_wait_for_a_slow_network(autojump_clock: Clock) -> None:
    network = LoopbackNetwork(delay=5)
    async with open_fleet(clusters(network, 2), servers=1) as fleet:
        here, there = await fleet.client(0, "a"), await fleet.client(1, "a")
        await trio.sleep(12)
        here.on("q", lambda: "answer")
        start = trio.current_time()
        for number in range(100):
            await fleet.servers[0].to("a").emit("x", number)
        assert [await here.once("x") for _ in range(100)] == [(number,) for number in range(100)]
        assert await fleet.servers[0].local.emit_with_ack("q") == ["answer"]
        assert len(await fleet.servers[0].local.fetch_sockets()) == 1
        await fleet.servers[0].to("a").sockets_join("b")
        assert fleet.socket(0, here).rooms == {here.id, "a", "b"}
        with pytest.raises(AckTimeout):
            await fleet.servers[0].timeout(0).emit_with_ack("q")
        assert trio.current_time() == start
        assert [(await there.once("x"))[0] for _ in range(100)] == list(range(100))
        assert trio.current_time() == start + 5
        assert fleet.socket(1, there).rooms >= {"b"}
        # It needs ten seconds, and has five.
        assert (await fleet.servers[0].fetch_sockets()).missing == (adapter(fleet.servers[1].of("/")).uid,)


async def test_a_server_that_drains_while_others_emit(autojump_clock: Clock) -> None:
    members = clusters(LoopbackNetwork(delay=0.05), 2)
    async with open_fleet(members, Config(ack_timeout=1_000)) as fleet:
        clients, failed = [await fleet.client(number) for number in range(2)], list[object]()
        for client in clients:
            client.on("q", lambda: "here")
        done = trio.Event()
        emitted = 0

        async def emit() -> None:
            nonlocal emitted
            while not done.is_set():
                await fleet.servers[emitted % 2].emit("x", emitted)
                emitted += 1
                await trio.sleep(0.01)

        async def ask() -> None:
            while not done.is_set():
                if await fleet.servers[0].emit_with_ack("q") not in (["here"] * 2, ["here"] * 3):
                    failed.append("an answer is missing")
                if (await fleet.servers[1].fetch_sockets()).missing:
                    failed.append("a server is missing")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(emit)
            nursery.start_soon(ask)
            async with open_fleet(clusters(fleet_network(members), 1), Config(ack_timeout=1_000), servers=3) as third:
                gone = await third.client(0)
                gone.on("q", lambda: "here")
                await trio.sleep(1)
            start = trio.current_time()
            await trio.sleep(1)
            done.set()
        await trio.sleep(1)
        assert trio.current_time() - start < 5
        assert not failed
        for client in clients:
            assert sorted(await numbers_of(client)) == list(range(emitted))
        assert [member.gaps for member in members] == [0, 0]


def fleet_network(members: Sequence[LoopbackCluster]) -> LoopbackNetwork:
    return members[0]._network


async def numbers_of(client: StrictSocket) -> list[int]:
    await settle()
    return [event.args[0] for event in client.pending if event.name == "x"]


# Namespaces.


async def test_namespaces_that_come_and_go_leave_nothing(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "IDLE_NAMESPACES", 10)
    members = clusters(LoopbackNetwork(), 2)
    async with open_fleet(members) as fleet:
        connections = [(await fleet.client(number)).connection for number in range(2)]

        async def cycle(name: str) -> None:
            here, there = [await connection.join(name) for connection in connections]
            await fleet.servers[0].of(name).emit("x", name)
            assert await there.once("x") == (name,)
            await here.disconnect()
            await there.disconnect()
            await settle()
            for connection in connections:
                del connection.sockets[name]

        async def held() -> int:
            await trio.sleep(1_000)  # past all that Trio keeps until its time has come
            gc.collect()
            for member, server in zip(members, fleet.servers, strict=True):
                assert [len(one.peers) for one in member._adapters.values()] == [1, 1]
                assert len(list(server.namespaces)) == 2
            return len(gc.get_objects())

        for number in range(200):
            await cycle(f"/room-{number}")
        before = await held()
        for number in range(200, 2_000):
            await cycle(f"/room-{number}")
        assert await held() - before < 500


async def test_a_namespace_that_is_used_again_finds_the_others_again(autojump_clock: Clock) -> None:
    members: Sequence[NodeCluster] = clusters(LoopbackNetwork(delay=0.01), 2)
    async with open_fleet(members) as fleet:
        held = fleet.servers[0].of("/room-1")
        other = await fleet.client(1, namespace="/room-1")
        uids = set[str]()
        for number in range(3):
            client = await fleet.client(0, namespace="/room-1")
            uids.add(adapter(held).uid)
            await held.emit("x", number)
            assert await other.once("x") == (number,)
            await fleet.servers[1].of("/room-1").emit("y", number)
            assert await client.once("y") == (number,)
            assert len(await held.fetch_sockets()) == 2
            await client.disconnect()
            await trio.sleep(1)
            assert [len(one.peers) for one in members[1]._adapters.values() if one.name == "/room-1"] == [0]
        assert len(uids) == 3
        assert await held.count_sockets() == 1
        await held.emit("x", 3)
        assert await other.once("x") == (3,)


async def test_a_bus_that_fails_a_goodbye_keeps_nothing(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.ERROR)
    members = clusters(LoopbackNetwork(), 2)
    async with open_fleet(members) as fleet:
        client = await fleet.client(0, namespace="/room-1")

        def fail(*args: object) -> None:
            raise LookupError("planted")

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(members[0], "publish", fail)
            await client.disconnect()
            await settle()
        assert [line for line in caplog.messages if "failed to close" in line] == ["The adapter of namespace '/room-1' failed to close."]
        assert "/room-1" not in members[0]._adapters
        again = await fleet.client(0, namespace="/room-1")
        await fleet.servers[1].of("/room-1").emit("x", 1)
        assert await again.once("x") == (1,)

"""Clients that come back to another server: recovered from the one that knows them, with all that they missed, once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from random import Random
from typing import Any, Final

import pytest
import trio
import trio.testing

from tests.cluster.recovery_clients import Comer, open_comer
from trio_sio import Config, Recovery
from trio_sio.cluster.recovery import SharedRecovery
from trio_sio.testing import Fleet, LoopbackCluster, LoopbackNetwork, open_fleet

Clock = trio.testing.MockClock

CONFIG = Config(connection_state_recovery=Recovery())


@asynccontextmanager
async def open_servers(count: int = 3, config: Config = CONFIG, **network: Any) -> AsyncIterator[tuple[Fleet, list[LoopbackCluster]]]:
    """Run some servers."""
    loopback = LoopbackNetwork(**network)
    clusters = [loopback.cluster() for _ in range(count)]
    async with open_fleet(clusters, config) as fleet:
        yield fleet, clusters


def store(fleet: Fleet, number: int, namespace: str = "/") -> SharedRecovery:
    """Return what keeps the sessions of a server."""
    recovery = fleet.servers[number].of(namespace).adapter.recovery
    assert isinstance(recovery, SharedRecovery)
    return recovery


def places(fleet: Fleet) -> list[int]:
    """Return how many sessions each server has."""
    return [len(store(fleet, number)._ids) for number in range(len(fleet.servers))]


settle = trio.testing.wait_all_tasks_blocked


async def test_who_comes_to_another_server_is_the_same_and_gets_what_was_missed() -> None:
    async with open_servers() as (fleet, _), open_comer(fleet) as comer:
        assert not await comer.come(0)
        socket = fleet.socket(0, comer.client)
        await socket.join("a", "b")
        socket.data["name"] = "Ann"
        await fleet.servers[1].to("a").emit("x", "before", b"\x00")
        await settle()
        await comer.go()
        for server in fleet.servers:
            await server.to("a").emit("x", 1, {"deep": [b"\x01"]})
            await server.to(socket.id).emit("x", 2)
            await server.to("elsewhere").emit("x", "not for it")
            await server.to("a").except_("b").emit("x", "not for it")
            await server.volatile().emit("x", "volatile")
            await server.emit("x", 3)
            await settle()
        assert await comer.come(1)
        await settle()
        comer.listen()
        assert comer.heard == [("x", "before", b"\x00"), *(("x", 1, {"deep": [b"\x01"]}), ("x", 2), ("x", 3)) * 3]
        again = fleet.socket(1, comer.client)
        assert (again.id, again.data, again.recovered) == (socket.id, {"name": "Ann"}, True)
        assert again.rooms == {socket.id, "a", "b"}
        # It is at one place.
        assert places(fleet) == [0, 1, 0]
        await fleet.servers[0].to("a").emit("x", "after")
        await fleet.servers[1].to(socket.id).emit("x", "after")
        await settle()
        comer.listen()
        assert comer.heard[-2:] == [("x", "after")] * 2
        # And on.
        assert await comer.move(2)
        assert await comer.move(0)
        assert await comer.move(0)
        await settle()
        comer.listen()
        assert len(comer.heard) == 12


HOPS: Final = 8
NETWORKS: Final[list[dict[str, Any]]] = [
    {},
    {"delay": 0.02},
    {"delay": 0.01, "jitter": 0.2},
    {"jitter": 0.5, "duplication": 0.3},
    {"jitter": 0.1, "loss": 0.02},
    {"jitter": 0.3, "loss": 0.05, "duplication": 0.1},
]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("namespace", "network"), [*(("/", one) for one in NETWORKS), *(("/room-1", one) for one in NETWORKS[1::2])], ids=str
)
@pytest.mark.parametrize("seed", range(2))
async def test_nothing_is_lost_or_doubled_whenever_it_is_recovered(
    network: dict[str, Any], seed: int, namespace: str, autojump_clock: Clock
) -> None:
    """Three servers number what they emit; clients wander among them, with their connections cut at any time."""
    random = Random(seed)
    async with open_servers(3, seed=seed, **network) as (fleet, _), trio.open_nursery() as nursery:

        async def emit(number: int) -> None:
            of, count = fleet.servers[number].of(namespace), 0
            while True:
                await random.choice([of.to("room"), of.to("room", "elsewhere").except_("nowhere")]).emit("x", number, count)
                count += 1
                await trio.sleep(random.uniform(0, 0.1))

        comings = recovered = 0

        async def wander() -> None:
            async with open_comer(fleet, namespace) as comer:
                await wander_with(comer)

        async def come(comer: Comer, number: int) -> None:
            if not await comer.come(number):
                await fleet.socket(number, comer.client).join("room")

        async def wander_with(comer: Comer) -> None:
            nonlocal comings, recovered
            await come(comer, 0)
            for _ in range(HOPS):
                # What it missed may be cut off as well, in the middle.
                await trio.sleep(random.choice([0, random.uniform(0, 0.5)]))
                await comer.go(random.random())
                await trio.sleep(random.uniform(0, 1))
                comings += 1
                before = len(comer.heard)
                await come(comer, random.randrange(3))
                recovered += comer.recovered
                if random.random() < 0.7:
                    comer.listen()
                if before and comer.recovered:
                    check(comer, is_complete="loss" not in network)

        def check(comer: Comer, *, is_complete: bool) -> None:
            for number in range(3):
                numbers = [count for _, sender, count in comer.heard if sender == number]
                assert numbers == sorted(set(numbers)), (number, numbers)
                if is_complete and numbers:
                    assert numbers == list(range(numbers[0], numbers[-1] + 1)), (number, numbers)

        for number in range(3):
            nursery.start_soon(emit, number)
        await trio.sleep(1)
        async with trio.open_nursery() as wanderers:
            for _ in range(4):
                wanderers.start_soon(wander)
        nursery.cancel_scope.cancel()
        if "loss" in network:
            assert recovered
        elif namespace == "/":
            assert recovered == comings == 4 * HOPS
        else:
            # Its adapters come and go, so a server may begin to listen while the goodbye of another one is on its way.
            assert recovered >= 2 * HOPS
        await trio.sleep(3)
        assert not any(store(fleet, number)._lent for number in range(3)) or "loss" in network


async def test_what_a_server_said_in_an_earlier_life_is_not_heard_behind_what_it_says_now(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its namespace ends and begins anew, and one server hears of both later than another one, which began between the two."""
    async with open_servers(delay=0.005) as (fleet, clusters), AsyncExitStack() as stack:
        stays, *speakers, comer = [await stack.enter_async_context(open_comer(fleet, "/room-1")) for _ in range(4)]
        put = clusters[0].put
        monkeypatch.setattr(
            clusters[0],
            "put",
            lambda sender, parcel: put(sender, parcel._replace(due=parcel.due + 0.5) if sender is clusters[2] else parcel),
        )
        await stays.come(0)

        async def emit(number: int) -> None:
            await speakers[number].come(2)
            await fleet.servers[2].of("/room-1").emit("x", number)
            await trio.sleep(0.1)

        await emit(0)
        await fleet.servers[2].of("/room-1").local.disconnect_sockets()
        await trio.sleep(0.1)
        await comer.come(1)
        await emit(1)
        await comer.go()
        await comer.come(0)
        await settle()
        comer.listen()
        assert (comer.recovered, comer.heard) == (False, [])


async def test_an_event_to_itself_and_one_for_this_server_alone_are_recovered_too(autojump_clock: Clock) -> None:
    async with open_servers() as (fleet, _), open_comer(fleet) as comer:
        await comer.come(0)
        socket = fleet.socket(0, comer.client)
        await socket.emit("x", "to itself")
        await fleet.servers[0].local.emit("x", "here")
        await fleet.servers[1].local.emit("x", "not here")
        assert await comer.move(1)
        await settle()
        comer.listen()
        assert comer.heard == [("x", "to itself"), ("x", "here")]


@pytest.mark.hostile("B22")
@pytest.mark.parametrize("delay", [0.0, 0.05])
async def test_of_two_servers_that_want_a_session_one_gets_it(delay: float, autojump_clock: Clock) -> None:
    async with open_servers(delay=delay) as (fleet, _), open_comer(fleet) as comer, open_comer(fleet) as thief:
        await comer.come(0)
        await fleet.socket(0, comer.client).join("a")
        await comer.go()
        thief._pid, thief._offset = comer._pid, comer._offset
        async with trio.open_nursery() as nursery:
            nursery.start_soon(comer.come, 1)
            nursery.start_soon(thief.come, 2)
        assert sorted((comer.recovered, thief.recovered)) == [False, True]
        assert comer.client.id != thief.client.id
        await trio.sleep(1)
        assert places(fleet) == [0, 1, 1]


@pytest.mark.hostile("B22")
async def test_whoever_presents_the_secret_last_has_the_session_alone(autojump_clock: Clock) -> None:
    """As a client does whose server has not noticed yet that the connection is gone."""
    async with open_servers(delay=0.01) as (fleet, _), open_comer(fleet) as comer, open_comer(fleet) as again:
        await comer.come(0)
        await fleet.servers[0].emit("x", 1)
        await settle()
        comer.listen()
        again._pid, again._offset = comer._pid, comer._offset
        assert await again.come(1)
        await comer.client.closed()
        await trio.sleep(1)
        assert places(fleet) == [0, 1, 0]


@pytest.mark.hostile("B22")
@pytest.mark.parametrize("moment", [0.01, 0.05, 0.07, 0.09, 0.11])
async def test_a_server_that_dies_while_it_takes_a_session_takes_it_with_it(moment: float, autojump_clock: Clock) -> None:
    """What it may have told the client nobody knows, so nobody else goes on with it."""
    async with open_servers(delay=0.05) as (fleet, clusters), open_comer(fleet) as comer:
        await comer.come(0)
        await fleet.servers[0].emit("x", 1)
        await settle()
        await comer.go()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(comer.come, 1)
            await trio.sleep(moment)
            clusters[1].die()
        survived = comer.recovered
        await trio.sleep(25)
        assert places(fleet)[0] == 0
        await comer.client.connection.abort()
        assert await comer.come(2) is False
        assert survived is (moment > 0.1)


@pytest.mark.hostile("B22")
@pytest.mark.parametrize("moment", [0.01, 0.07])
async def test_a_server_that_dies_before_it_lets_a_session_go_costs_the_client_a_fresh_start(moment: float, autojump_clock: Clock) -> None:
    async with open_servers(delay=0.05) as (fleet, clusters), open_comer(fleet) as comer:
        await comer.come(0)
        await comer.go()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(comer.come, 1)
            await trio.sleep(moment)
            clusters[0].die()
        # What had left it arrives.
        assert comer.recovered is (moment > 0.05)
        await trio.sleep(25)
        assert places(fleet)[1] == 1

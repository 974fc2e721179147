"""A server that ends, and is the only one that uses a namespace by pattern: another one begins to, for the sessions that are there."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from tests.cluster.recovery_clients import open_comer
from tests.cluster.stub import Peer, open_node
from tests.cluster.test_hand_over import Application, Running, open_running
from trio_sio import Config, Limits, Recovery, Route, RoutingTable
from trio_sio.cluster import messages
from trio_sio.cluster.moving import Knowledge, Past, SessionDetails
from trio_sio.cluster.node import NodeCluster
from trio_sio.namespaces.registry import IDLE_NAMESPACES

Clock = trio.testing.MockClock

CONFIG = Config(connection_state_recovery=Recovery(max_disconnection=30), drain_timeout=2)
ROOM = "/room-1"

settle = trio.testing.wait_all_tasks_blocked


@dataclass
class Place:
    name: str = ""


ROOT = Route("/", Application)
ROUTES = RoutingTable(ROOT, Route(re.compile(r"/room-\d+"), Application, data=Place))


def names(running: Running, number: int) -> set[str]:
    """Return the namespaces that a server tells the others of."""
    cluster = running.server(number).cluster
    assert isinstance(cluster, NodeCluster)
    return set(cluster._adapters)


async def test_the_newest_server_begins_to_use_the_namespace(autojump_clock: Clock) -> None:
    async with open_running(3, CONFIG, ROUTES) as running, open_comer(running, ROOM) as comer:
        await comer.come(0)
        there = running.server(0).of(ROOM)
        socket = there.sockets[comer.client.id]
        await socket.join("a")
        socket.data = Place("desk")
        await there.emit("x", "heard")
        await settle()
        await comer.go()
        await there.to("a").emit("x", "missed", b"\x00")
        expired = list[str]()
        await running.stop(0)
        await trio.sleep(0.1)  # who begins to listen while somebody says goodbye cannot know what that has said
        assert [names(running, number) for number in (1, 2)] == [{"/"}, {"/", ROOM}]
        running.server(2).of(ROOM).on_session_expired(lambda session: expired.append(session.id))
        await running.server(1).of(ROOM).to("a").emit("x", "later")
        assert await comer.come(1)
        await settle()
        comer.listen()
        assert comer.heard == [("x", "heard"), ("x", "missed", b"\x00"), ("x", "later")]
        assert running.server(1).of(ROOM).sockets[socket.id].data == Place("desk")
        assert expired == []


async def test_it_ends_there_when_its_last_session_is_given_up(autojump_clock: Clock) -> None:
    async with open_running(2, CONFIG, ROUTES) as running, open_comer(running, ROOM) as comer:
        await comer.come(0)
        await comer.go()
        await running.stop(0)
        assert names(running, 1) == {"/", ROOM}
        await trio.sleep(32)
        assert names(running, 1) == {"/"}
        registry = running.server(1).namespaces
        assert (len(registry._in_use), len(registry._idle)) == (0, 0)


@pytest.mark.parametrize("why", ["it has no such route", "it has as many as it may", "it has no room"])
async def test_whom_one_server_cannot_have_the_next_one_is_asked_to_take(why: str, autojump_clock: Clock) -> None:
    async with open_running(3, CONFIG, ROUTES) as running, open_comer(running, ROOM) as comer, open_comer(running, "/room-2") as other:
        if why == "it has no such route":
            running.routes = RoutingTable(ROOT)
        elif why == "it has as many as it may":
            running.config = replace(CONFIG, limits=Limits(dynamic_namespaces=1))
        else:
            running.config = replace(CONFIG, connection_state_recovery=Recovery(bytes=1))
        await running.restart(2)
        if why == "it has as many as it may":
            await other.come(2)
        await comer.come(0)
        await running.server(0).of(ROOM).emit("x", "text")
        await settle()
        await comer.client.connection.abort()
        began = trio.current_time()
        await running.stop(0)
        assert trio.current_time() - began < 1
        assert [ROOM in names(running, number) for number in (1, 2)] == [True, False]
        assert await comer.come(1)


async def test_nobody_is_asked_where_there_is_nothing_to_leave(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    async with (
        open_running(2, CONFIG, ROUTES) as running,
        open_comer(running, ROOM) as comer,
        open_comer(running) as other,
        open_comer(running, "/room-2") as silent,
    ):
        await comer.come(0)
        await comer.client.disconnect()
        await other.come(0)
        await other.go()
        await silent.come(0)
        running.server(0).of("/room-2").sockets[silent.client.id].data = object()  # of which nobody can be told
        await silent.go()
        invited = list[str]()
        monkeypatch.setattr(type(running.store(1)), "invited", lambda self, message: invited.append(message.name))
        await running.stop(0)
        assert invited == []
        assert await other.come(1)


async def test_servers_that_all_end_wait_for_nobody(autojump_clock: Clock) -> None:
    async with open_running(3, CONFIG, ROUTES) as running, open_comer(running, ROOM) as comer:
        await comer.come(0)
        await comer.go()
        began = trio.current_time()
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(running.stop, number)
        assert trio.current_time() - began <= 3


async def test_a_namespace_that_was_only_asked_for_knows_the_type_of_its_route(autojump_clock: Clock) -> None:
    """A server that emits to clients of others has an adapter there, and no client that would have opened it."""
    async with open_running(2, CONFIG, ROUTES) as running, open_comer(running, ROOM) as comer:
        await comer.come(0)
        running.server(0).of(ROOM).sockets[comer.client.id].data = Place("desk")
        await running.server(1).of(ROOM).emit("x")
        await comer.go()
        await running.stop(0)
        assert await comer.come(1)
        assert running.server(1).of(ROOM).sockets[comer.client.id].data == Place("desk")


@pytest.mark.hostile("D21")
async def test_invitations_without_end_cost_a_bounded_number_of_namespaces() -> None:
    async with open_node(CONFIG) as (fleet, cluster):
        peer, registry = Peer(cluster), fleet.servers[0].namespaces
        peer.publish(messages.InitialHeartbeat)
        for number in range(IDLE_NAMESPACES + 100):
            peer.send(messages.OpenNamespace, name=f"/room-{number}")
            peer.send(messages.OpenNamespace, name=f"/elsewhere-{number}")
        assert (len(registry._idle), len(registry._in_use)) == (IDLE_NAMESPACES, 0)
        assert len(cluster._adapters) <= IDLE_NAMESPACES + 2
        assert not cluster.bad_messages


@pytest.mark.hostile("D21")
async def test_offers_without_end_cost_no_more_than_clients_may(autojump_clock: Clock) -> None:
    """Of sessions that will never be complete, so each is waited for."""
    config = replace(CONFIG, limits=Limits(dynamic_namespaces=10))
    session = SessionDetails(sid="id", pid="secret", rooms=frozenset(), data={}, seconds=60.0)
    past, knowledge = Past(prefix="x", newest=0, offset=None, events=()), Knowledge(heard={"somebody": 5})
    async with open_node(config) as (fleet, cluster):
        peer, registry = Peer(cluster), fleet.servers[0].namespaces
        peer.publish(messages.InitialHeartbeat)
        for number in range(50):
            peer.send(messages.OpenNamespace, name=f"/room-{number}")
            peer.send(messages.HandOver, namespace=f"/room-{number}", number=1, session=session, past=past, knowledge=knowledge)
        await settle()
        assert len(registry._in_use) == 10
        for number in range(IDLE_NAMESPACES + 1):
            fleet.servers[0].of(f"/asked-{number}")
        await trio.sleep(6)
        assert [answer.taken for answer in cluster.all_said(messages.Taken, peer.uid)] == [False] * 10
        assert len(registry._in_use) == 0
        assert not [name for name in cluster._adapters if name.startswith("/room")]


@pytest.mark.hostile("D21")
@pytest.mark.parametrize("data", [{}, {"name": 1}, {"name": "room-1"}, {"name": "/" + "x" * 1_000}, None, []], ids=repr)
async def test_an_invitation_to_nowhere_is_counted(data: Any) -> None:
    async with open_node(CONFIG) as (_, cluster):
        before: Sequence[str] = list(cluster._adapters)
        wire = {"type": messages.OpenNamespace.TYPE, "uid": "peer", "nsp": "/", "data": data}
        cluster.received("/", msgspec.json.encode(wire))
        assert cluster.bad_messages == {"schema": 1}
        assert list(cluster._adapters) == before

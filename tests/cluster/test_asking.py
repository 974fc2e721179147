"""What one server asks the others, who answer late, wrongly, twice, or not at all."""

from __future__ import annotations

import logging
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.cluster.stub import Peer, open_node
from trio_sio import AckTimeout, Config, Namespace
from trio_sio.cluster import messages
from trio_sio.cluster.fields import SocketDetails
from trio_sio.cluster.node_adapter import SETTLING, NodeAdapter

Clock = trio.testing.MockClock

settle = trio.testing.wait_all_tasks_blocked


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "trio_sio")
    return caplog


async def test_answers_to_what_nobody_asked_are_counted_and_dropped(lines: pytest.LogCaptureFixture) -> None:
    async with open_node() as (_, cluster):
        peer = Peer(cluster)
        peer.send(messages.FetchSocketsResponse, request_id="x", sockets=())
        peer.send(messages.BroadcastClientCount, request_id="x", count=2**53 - 1)
        peer.send(messages.BroadcastAck, request_id="x", value=1, number=1)
        peer.send(messages.AnswerLost, request_id="x")
        peer.send(messages.ServerSideEmitResponse, request_id="x", value=1)
        assert cluster.bad_messages == {"late": 5}
        assert (len(cluster.adapter().peers), cluster.gaps) == (0, 0)
        assert not lines.messages


async def test_answers_that_come_when_the_time_is_over_are_counted_and_dropped(autojump_clock: Clock) -> None:
    async with open_node(Config(ack_timeout=1)) as (fleet, cluster):
        peer = Peer(cluster)
        peer.publish(messages.Heartbeat)
        with pytest.raises(AckTimeout) as raised:
            await fleet.servers[0].emit_with_ack("q")
        assert raised.value.missing == ["peer"]
        with pytest.raises(AckTimeout) as raised:
            await fleet.servers[0].server_side_emit_with_ack("q")
        assert raised.value.missing == ["peer"]
        number = cluster.last_said(messages.Broadcast).request_id
        peer.send(messages.BroadcastClientCount, request_id=number, count=1)
        peer.send(messages.BroadcastAck, request_id=number, value="late", number=1)
        peer.send(messages.ServerSideEmitResponse, request_id=cluster.last_said(messages.ServerSideEmit).request_id, value="late")
        assert cluster.bad_messages == {"late": 3}
        assert len(cluster.adapter()._requests) == 0


class Asking:
    """A question that waits, and what came of it."""

    def __init__(self, nursery: trio.Nursery, ask: Any) -> None:
        self.answer: Any = None
        self.took = 0.0
        nursery.start_soon(self._ask, ask)

    async def _ask(self, ask: Any) -> None:
        start = trio.current_time()
        try:
            self.answer = await ask()
        except AckTimeout as error:
            self.answer = error
        self.took = trio.current_time() - start


def details(id: str, **fields: Any) -> SocketDetails:
    return SocketDetails(id=id, handshake=fields, rooms=frozenset({id}))


@pytest.mark.hostile("B06", "B24")
async def test_the_wrong_answer_is_no_answer(autojump_clock: Clock) -> None:
    async with open_node() as (fleet, cluster), trio.open_nursery() as nursery:
        peer, other = Peer(cluster), Peer(cluster, "other")
        peer.publish(messages.Heartbeat)
        other.publish(messages.Heartbeat)
        asking = Asking(nursery, fleet.servers[0].fetch_sockets)
        await trio.sleep(SETTLING)
        number = cluster.last_said(messages.FetchSockets).request_id
        peer.send(messages.BroadcastClientCount, request_id=number, count=3)
        peer.send(messages.BroadcastAck, request_id=number, value=3)
        peer.send(messages.AnswerLost, request_id=number)
        peer.send(messages.ServerSideEmitResponse, request_id=number, value=3)
        peer.send(messages.FetchSocketsResponse, request_id="another", sockets=(details("no"),))
        assert cluster.bad_messages == {"late": 5}
        wrong = details("wrong", headers="none at all")
        peer.send(messages.FetchSocketsResponse, request_id=number, sockets=(details("a"), wrong, details("b")))
        peer.send(messages.FetchSocketsResponse, request_id=number, sockets=(details("twice"),))
        await trio.sleep(6)
        assert ([socket.id for socket in asking.answer], asking.answer.missing) == (["a", "b"], ("other",))
        assert 5 <= asking.took < 5.5
        assert cluster.bad_messages == {"late": 5, "schema": 1}
        assert len(cluster.adapter()._requests) == 0
        other.send(messages.FetchSocketsResponse, request_id=number, sockets=())
        assert cluster.bad_messages["late"] == 6


@pytest.mark.parametrize("operator", [False, True])
async def test_one_waits_for_other_servers_as_long_as_one_says(operator: bool, autojump_clock: Clock) -> None:
    async with open_node() as (fleet, cluster):
        server, peer = fleet.servers[0], Peer(cluster)
        peer.publish(messages.Heartbeat)
        await trio.sleep(SETTLING)
        start = trio.current_time()
        found = await (server.timeout(1).fetch_sockets() if operator else server.to("a").fetch_sockets(timeout=1))
        assert (list(found), found.missing) == ([], ("peer",))
        assert await (server.to("a").timeout(2).count_sockets() if operator else server.count_sockets(timeout=2)) == 0
        assert trio.current_time() == pytest.approx(start + 3)
        # What the call says goes before what the operator says.
        await server.timeout(4).count_sockets(timeout=0.5)
        assert trio.current_time() == pytest.approx(start + 3.5)
        assert len(cluster.adapter()._requests) == 0


@pytest.mark.hostile("B23")
@pytest.mark.parametrize("first", ["nothing", "the number", "one answer"])
@pytest.mark.parametrize("goodbye", [False, True])
async def test_nobody_waits_for_a_server_that_goes(goodbye: bool, first: str, autojump_clock: Clock) -> None:
    config = Config(ack_timeout=100)
    async with open_node(config, request_timeout=100) as (fleet, cluster), trio.open_nursery() as nursery:
        server, peer = fleet.servers[0], Peer(cluster)
        peer.publish(messages.Heartbeat)
        await trio.sleep(SETTLING)
        answers: Any = None

        async def acks() -> list[object]:
            nonlocal answers
            async with server.acks("q") as answers:
                return [value async for _, value in answers]

        sockets = Asking(nursery, server.fetch_sockets)
        clients = Asking(nursery, acks)
        servers = Asking(nursery, lambda: server.server_side_emit_with_ack("q"))
        await settle()
        number = cluster.last_said(messages.Broadcast).request_id
        if first != "nothing":
            peer.send(messages.BroadcastClientCount, request_id=number, count=2)
        if first == "one answer":
            peer.send(messages.BroadcastAck, request_id=number, value="yes", number=1)
        if goodbye:
            peer.publish(messages.AdapterClose)
        await trio.sleep(12)
        assert max(sockets.took, clients.took, servers.took) <= 12
        missing = [] if goodbye else ["peer"]
        assert (sockets.answer, list(sockets.answer.missing)) == ([], missing)
        assert (clients.answer, answers.missing) == ([("yes",)] if first == "one answer" else [], missing)
        if goodbye:
            assert servers.answer == []
        else:
            assert (servers.answer.responses, servers.answer.missing) == ([], ["peer"])
        assert len(cluster.adapter()._requests) == 0


def adapter_of(namespace: Namespace) -> NodeAdapter:
    assert isinstance(namespace.adapter, NodeAdapter)
    return namespace.adapter


async def test_whoever_asks_in_a_namespace_that_retires_has_what_came(autojump_clock: Clock) -> None:
    async with open_node() as (fleet, cluster):
        client, namespace = await fleet.client(0, namespace="/room-1"), fleet.servers[0].of("/room-1")
        for uid in ("a", "b"):
            Peer(cluster, uid).publish(messages.Heartbeat, namespace="/room-1")
        async with trio.open_nursery() as nursery:
            sockets = Asking(nursery, namespace.fetch_sockets)
            servers = Asking(nursery, lambda: namespace.server_side_emit_with_ack("q"))
            await trio.sleep(SETTLING)
            Peer(cluster, "a").send(
                messages.FetchSocketsResponse,
                namespace="/room-1",
                request_id=cluster.last_said(messages.FetchSockets).request_id,
                sockets=(details("there"),),
            )
            await client.disconnect()
        assert ([socket.id for socket in sockets.answer], sockets.answer.missing) == ([client.id, "there"], ("b",))
        assert servers.answer.missing == ["a", "b"]
        assert max(sockets.took, servers.took) < 1
        assert "/room-1" not in cluster._adapters


@pytest.mark.parametrize("ask", ["fetch_sockets", "count_sockets", "emit_with_ack", "server_side_emit_with_ack"])
async def test_who_asks_in_a_namespace_that_retires_before_it_can_asks_with_its_next_adapter(ask: str, autojump_clock: Clock) -> None:
    async with open_node() as (fleet, cluster):
        client, namespace = await fleet.client(0, namespace="/room-1"), fleet.servers[0].of("/room-1")
        async with trio.open_nursery() as nursery:
            asking = Asking(nursery, getattr(namespace, ask) if ask.endswith("sockets") else partial(getattr(namespace, ask), "q"))
            await settle()
            await client.disconnect()
            await settle()
            peer = Peer(cluster)
            await trio.sleep(SETTLING / 2)
            peer.publish(messages.Heartbeat, namespace="/room-1")
            peer.publish(messages.Heartbeat)
            peer.publish(messages.Heartbeat, namespace="/chat")
            await trio.sleep(SETTLING)
            kinds = messages.FetchSockets, messages.Broadcast, messages.ServerSideEmit
            (question,) = [message for _, message in cluster.said if isinstance(message, kinds)]
            assert question.uid == adapter_of(namespace).uid
            assert "peer" in adapter_of(namespace).peers
            peer.publish(messages.AdapterClose, namespace="/room-1")
        assert asking.took < 1

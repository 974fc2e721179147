"""One server among others, which come and go: what it hears, and the order in which it is heard."""

from __future__ import annotations

import logging
from contextlib import suppress

import pytest
import trio
import trio.testing

from tests.cluster.recordings import load
from tests.cluster.stub import Peer, StubCluster, open_node
from trio_sio import AckTimeout, Config, ConfigurationError, EncodeError, Server
from trio_sio.cluster import messages
from trio_sio.cluster.payload import MAX_BYTES

Clock = trio.testing.MockClock

settle = trio.testing.wait_all_tasks_blocked


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "trio_sio")
    return caplog


# Others come and go.


async def test_whoever_says_something_is_there_until_it_is_silent(autojump_clock: Clock) -> None:
    async with open_node() as (_, cluster):
        adapter, quiet, chatty = cluster.adapter(), Peer(cluster, "quiet"), Peer(cluster, "chatty", counts=False)
        quiet.publish(messages.InitialHeartbeat)
        assert len(cluster.all_said(messages.Heartbeat)) == 1
        for _ in range(12):
            chatty.publish(messages.Heartbeat)
            await trio.sleep(1)
        assert list(adapter.peers) == ["chatty"]
        assert await cluster.server_count() == 2
        chatty.publish(messages.AdapterClose)
        assert list(adapter.peers) == []
        # Both answers were on another way than the goodbye.
        chatty.send(messages.BroadcastAck, request_id="over")
        chatty.send(messages.FetchSocketsResponse, request_id="over", sockets=())
        assert list(adapter.peers) == []
        assert cluster.bad_messages == {"late": 2}


async def test_it_says_that_it_lives_when_it_has_said_nothing_for_a_while(autojump_clock: Clock) -> None:
    async with open_node() as (fleet, cluster):
        assert len(cluster.all_said(messages.InitialHeartbeat)) == 2
        cluster.said.clear()
        for _ in range(12):
            await trio.sleep(1)
            await fleet.servers[0].emit("x")
        assert [message.namespace for message in cluster.all_said(messages.Heartbeat)] == ["/chat", "/chat"]
        await trio.sleep(11)
        assert len(cluster.all_said(messages.Heartbeat)) == 6
        numbers = [message.number for _, message in cluster.said if message.namespace == "/"]
        assert numbers == list(range(2, 2 + len(numbers)))
    assert sorted(message.namespace for message in cluster.all_said(messages.AdapterClose)) == ["/", "/chat"]


@pytest.mark.hostile("B24")
async def test_whoever_invents_servers_costs_no_memory(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_sio.cluster")
    async with open_node() as (fleet, cluster):
        client = await fleet.client(0)
        for number in range(2_500):
            Peer(cluster, f"invented {number}").emit("x", number)
        assert len(cluster.adapter().peers) == 1_000
        assert sum("has found server" in line for line in caplog.messages) == 1_000
        assert [(await client.receive()).args[0] for _ in range(2_500)] == list(range(2_500))


@pytest.mark.hostile("B28")
async def test_what_comes_twice_counts_once_and_what_is_lost_is_a_gap() -> None:
    async with open_node() as (fleet, cluster):
        client, why = await fleet.client(0), list[str]()
        cluster.on_gap(why.append)
        peer, node = Peer(cluster), Peer(cluster, "node", counts=False)
        peer.emit("x", 1)
        peer.number = 0
        peer.emit("x", 1)
        node.emit("node", 1)
        peer.number = 4
        peer.emit("x", 5)
        peer.number = 2
        peer.emit("x", "which has come too late")
        node.emit("node", 2)
        peer.number = 5
        peer.emit("x", 6)
        assert [(await client.receive()).args[0] for _ in range(5)] == [1, 1, 5, 2, 6]
        assert cluster.bad_messages == {"duplicate": 2}
        assert (cluster.gaps, why) == (1, ["3 messages of server peer for namespace / are lost."])


async def test_what_was_not_heard_of_somebody_who_seemed_dead_is_a_gap(autojump_clock: Clock) -> None:
    async with open_node() as (_, cluster):
        peer = Peer(cluster)
        peer.publish(messages.InitialHeartbeat)
        await trio.sleep(12)
        assert await cluster.server_count() == 1
        assert peer.number is not None
        peer.number += 5
        peer.publish(messages.Heartbeat)
        assert (await cluster.server_count(), cluster.gaps) == (2, 1)


# What Node's servers send, who do not count.


async def test_what_nodes_servers_send_is_done() -> None:
    recording, date = load("sharded"), "2026-11-29T12:34:56.789Z"
    async with open_node() as (fleet, cluster):
        clients = [await fleet.client(0, namespace=namespace) for namespace in ("/", "/chat")]
        for recorded in recording.messages:
            for namespace in ("/", "/chat"):
                cluster.received(namespace, recorded.payload)
        await settle()
        assert cluster.bad_messages.keys() <= {"late"}
        assert cluster.gaps == 0
        heard = [event for client in clients for event in client.pending]
        assert [event.args for event in heard if event.name == "date"] == [
            (date,),
            (b"\x00\x01\xfe\xff", date, "1970-01-01T00:00:00.000Z", "1969-12-31T23:59:59.999Z"),
        ]


# What leaves.


async def test_what_the_application_says_meanwhile_comes_behind_it_for_others_too() -> None:
    async with open_node() as (fleet, cluster):
        server, client = fleet.servers[0], await fleet.client(0)
        adapter = server.of("/").adapter
        adapter.on_join_room(lambda room, sid: server.emit_nowait("joined", room))
        adapter.on_leave_room(lambda room, sid: server.to("a").emit_nowait("left", room))
        numbers = [message.number for _, message in cluster.said if message.namespace == "/"]
        cluster.said.clear()

        await server.sockets_join("b")
        await server.sockets_leave("b")
        client.on("q", lambda: "answer")
        assert await server.emit_with_ack("q") == ["answer"]
        await server.sockets_join("b")
        await server.disconnect_sockets()

        said = [type(message).__name__ + "".join(map(str, getattr(message, "event", ()))) for _, message in cluster.said]
        assert said == [
            "SocketsJoin",
            "Broadcastjoinedb",
            "SocketsLeave",
            "Broadcastleftb",
            "Broadcastq",
            "SocketsJoin",
            "Broadcastjoinedb",
            "DisconnectSockets",
            "Broadcastleftb",
        ]
        numbers += [message.number for _, message in cluster.said]
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("ask", [False, True])
async def test_what_is_said_because_a_broadcast_throws_somebody_out_comes_behind_it(ask: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_node(Config(ack_timeout=0.0)) as (fleet, cluster):
        server, slow = fleet.servers[0], await fleet.client(0, "a")
        await fleet.client(0)
        server.of("/").adapter.on_leave_room(lambda room, sid: server.emit_nowait("has left", room))
        cluster.said.clear()
        monkeypatch.setattr(type(fleet.socket(0, slow).outbox), "offer", lambda outbox, packet: False)
        with suppress(AckTimeout):
            await (server.to("a").emit_with_ack("x") if ask else server.to("a").emit("x"))
        said = [(message.number, message.event[0]) for message in cluster.all_said(messages.Broadcast)]
        assert [event for _, event in said] == ["x", "has left"]
        assert said[1][0] == (said[0][0] or 0) + 1


async def test_what_cannot_be_sent_is_refused_before_anything_is_done() -> None:
    async with open_node() as (fleet, cluster):
        server, client, other = fleet.servers[0], await fleet.client(0), await fleet.client(0)
        cluster.said.clear()
        with pytest.raises(EncodeError):
            await server.sockets_join("x" * MAX_BYTES)
        assert fleet.socket(0, client).rooms == {client.id}
        with pytest.raises(ValueError, match="private room"):
            await server.sockets_join("a", other.id)
        assert cluster.said == []
        await server.sockets_join("a")
        assert len(cluster.said) == 1
        assert fleet.socket(0, client).rooms == {client.id, "a"}


# What is wrong with a cluster.


def test_a_cluster_connects_one_server() -> None:
    cluster = StubCluster()
    Server(cluster=cluster)
    with pytest.raises(ConfigurationError, match="a cluster object of its own"):
        Server(cluster=cluster)


@pytest.mark.parametrize(
    "wrong",
    [
        {"heartbeat_interval": 0.0},
        {"heartbeat_interval": 10.0},
        {"heartbeat_timeout": float("nan")},
        {"request_timeout": 0.0},
        {"request_timeout": -1.0},
    ],
)
def test_times_that_cannot_be_right_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigurationError, match="seconds above zero"):
        StubCluster(**wrong)

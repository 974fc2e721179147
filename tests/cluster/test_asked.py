"""What others ask of the clients and functions of one server, and do with its sockets."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

from tests.cluster.stub import Peer, open_node
from trio_sio import Config
from trio_sio.cluster import messages, relay
from trio_sio.cluster.fields import Flags, Options
from trio_sio.testing import StrictSocket

Clock = trio.testing.MockClock

settle = trio.testing.wait_all_tasks_blocked


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "trio_sio")
    return caplog


def answer_with(client: StrictSocket, event: str, value: object) -> None:
    client.on(event, lambda: value)


async def test_clients_are_asked_for_others_once(autojump_clock: Clock) -> None:
    async with open_node() as (fleet, cluster):
        clients, peer = [await fleet.client(0), await fleet.client(0)], Peer(cluster, counts=False)
        answer_with(clients[0], "q", "yes")
        clients[1].on("q", lambda: fleet.socket(0, clients[1]).disconnect_nowait())
        peer.emit("q", request_id="1")
        peer.emit("q", request_id="1")
        await settle()
        assert cluster.all_said(messages.BroadcastClientCount, "peer")[-1].count == 2
        assert [message.value for message in cluster.all_said(messages.BroadcastAck, "peer")] == ["yes"]
        assert sorted(
            message.number or 0 for _, message in cluster.said if isinstance(message, messages.BroadcastAck | messages.AnswerLost)
        ) == [1, 2]
        assert cluster.bad_messages == {"duplicate": 1}
        await trio.sleep(1.5)
        assert len(cluster.adapter()._relays) == 0


async def test_who_asks_too_much_is_told_that_nobody_was_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MOST", 3)
    async with open_node() as (fleet, cluster):
        client, peer = await fleet.client(0), Peer(cluster)
        for number in range(5):
            peer.emit("q", request_id=f"{number}")
        assert [message.count for message in cluster.all_said(messages.BroadcastClientCount, "peer")] == [1, 1, 1, 0, 0]
        assert cluster.gaps == 2
        peer.publish(messages.AdapterClose)
        assert len(cluster.adapter()._relays) == 0
        assert fleet.socket(0, client)._core.waiters._answers == {}


async def test_a_question_of_others_is_over_in_time(autojump_clock: Clock) -> None:
    async with open_node() as (fleet, cluster):
        client, peer = await fleet.client(0), Peer(cluster)
        peer.publish(messages.Broadcast, event=("q",), options=Options(flags=Flags(timeout=3.0)), request_id="short")
        peer.emit("q", request_id="as here")
        for seconds, left in ((2, 2), (3, 1), (Config().ack_timeout, 0)):
            for _ in range(int(seconds)):
                peer.publish(messages.Heartbeat)
                await trio.sleep(1)
            assert len(cluster.adapter()._relays) == left
        assert fleet.socket(0, client)._core.waiters._answers == {}


async def test_servers_are_asked_and_what_they_raise_is_one_line(lines: pytest.LogCaptureFixture) -> None:
    async with open_node() as (fleet, cluster):
        client, peer = await fleet.client(0), Peer(cluster)

        @fleet.servers[0].on_server_side_emit("fails")
        def fails(*args: object) -> None:
            raise LookupError("planted")

        @fleet.servers[0].on_server_side_emit("fails later")
        async def fails_later(*args: object) -> None:
            await trio.lowlevel.checkpoint()
            raise LookupError("planted")

        fleet.servers[0].on_server_side_emit("unsendable")(object)
        fleet.servers[0].on_server_side_emit("count")(lambda number: (number, b"\x00"))
        for number, event in enumerate((("fails", 1), ("fails later",), ("unsendable",), ("nobody",), ("connection",), ("count", 5))):
            peer.publish(messages.ServerSideEmit, event=event, request_id=f"{number}")
        peer.publish(messages.ServerSideEmit, event=("count", 6))
        await settle()
        answers = cluster.all_said(messages.ServerSideEmitResponse, "peer")
        assert [(answer.request_id, answer.value) for answer in answers] == [("5", [5, b"\x00"])]
        assert len(lines.messages) == 3
        peer.emit("end")
        assert (await client.receive()).name == "end"


async def test_functions_that_do_not_end_are_bounded_also_when_all_is_asked_at_once(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: Clock, lines: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("trio_sio.namespaces.server_side.MOST_RUNNING", 3)
    async with open_node() as (fleet, cluster):
        peer, running = Peer(cluster), list[int]()

        @fleet.servers[0].on_server_side_emit("slow", timeout=2)
        async def slow(number: int) -> None:
            running.append(number)
            await trio.sleep_forever()

        for number in range(5):
            peer.publish(messages.ServerSideEmit, event=("slow", number), request_id=f"{number}")
        await settle()
        assert sorted(running) == [0, 1, 2]
        await trio.sleep(3)
        peer.publish(messages.ServerSideEmit, event=("slow", 9), request_id="9")
        await settle()
        assert running[-1] == 9


async def test_sockets_are_told_of_as_often_as_somebody_asks() -> None:
    async with open_node() as (fleet, cluster):
        client, peer = await fleet.client(0, "a"), Peer(cluster, counts=False)
        fleet.socket(0, client).data.update({"name": "Ann", "lock": object()})
        for _ in range(2):
            peer.publish(messages.FetchSockets, options=Options(rooms=frozenset("a")), request_id="1")
        peer.publish(messages.FetchSockets, options=Options(rooms=frozenset("b")), request_id="2")
        first, second, third = cluster.all_said(messages.FetchSocketsResponse, "peer")
        assert first == second
        assert [(socket.id, socket.rooms, socket.data) for socket in first.sockets] == [
            (client.id, frozenset({"a", client.id}), {"name": "Ann"})
        ]
        assert third.sockets == ()


@pytest.mark.hostile("B27")
async def test_what_others_do_with_sockets_that_are_not_here_is_nothing(lines: pytest.LogCaptureFixture) -> None:
    async with open_node() as (fleet, cluster):
        clients, peer = [await fleet.client(0, "a"), await fleet.client(0)], Peer(cluster)
        for room in ("unknown", "*", "?", "[a]", "a*", "", "\x00"):
            options = Options(rooms=frozenset({room}))
            peer.publish(messages.SocketsJoin, options=options, rooms=frozenset("b"))
            peer.publish(messages.SocketsLeave, options=options, rooms=frozenset("a"))
            peer.publish(messages.DisconnectSockets, options=options, close=True)
        assert [fleet.socket(0, client).rooms - {client.id} for client in clients] == [{"a"}, set()]
        # Nobody joins the private room of another socket.
        peer.publish(messages.SocketsJoin, options=Options(rooms=frozenset("a")), rooms=frozenset({"c", clients[1].id}))
        assert fleet.socket(0, clients[0]).rooms == {clients[0].id, "a"}
        assert cluster.bad_messages == {"undeliverable": 1}
        assert len(lines.messages) == 1
        peer.publish(messages.SocketsJoin, options=Options(rooms=frozenset({clients[1].id})), rooms=frozenset("*"))
        peer.publish(messages.DisconnectSockets, options=Options(rooms=frozenset("*")))
        assert (await clients[1].closed()).disconnected
        assert fleet.socket(0, clients[0]).connected

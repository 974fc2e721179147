"""What one server says to another that wants a session, or has one; what goes wrong there costs a recovery, never more."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

from tests.cluster.stub import LIMITS, Peer, StubCluster, open_node
from trio_sio import Config, Recovery
from trio_sio.cluster import codec, messages
from trio_sio.cluster.fields import EVERYBODY
from trio_sio.cluster.moving import Knowledge, SessionDetails
from trio_sio.cluster.recovery import SharedRecovery
from trio_sio.namespaces.adapter import Target
from trio_sio.testing import Fleet, StrictSocket

Clock = trio.testing.MockClock

CONFIG = Config(connection_state_recovery=Recovery())
RECORD = SessionDetails(sid="the id", pid="the secret", rooms=frozenset({"room"}), data={"name": "Ann"}, seconds=60.0)

settle = trio.testing.wait_all_tasks_blocked


@dataclass
class Node:
    """One server, and another one that says what the test lets it say."""

    fleet: Fleet
    cluster: StubCluster
    peer: Peer

    @property
    def store(self) -> SharedRecovery:
        recovery = self.fleet.servers[0].of("/").adapter.recovery
        assert isinstance(recovery, SharedRecovery)
        return recovery

    def knowledge(self, **heard: int) -> Knowledge:
        """Return what the peer says that it has heard: all that it has said itself, and has been told."""
        adapter = self.cluster.adapter()
        return Knowledge(heard={adapter.uid: adapter._number, self.peer.uid: self.peer.number or 0} | heard)

    def let_go(self, question: messages.FindSession, number: int = 1, **fields: Any) -> None:
        """Answer with a session."""
        answer: dict[str, Any] = {"session": RECORD, "knowledge": self.knowledge()}
        self.peer.send(messages.FoundSession, request_id=question.request_id, number=number, **(answer | fields))

    def has_none(self, question: messages.FindSession, **fields: Any) -> None:
        self.peer.send(messages.FoundSession, request_id=question.request_id, **fields)

    def asked(self) -> messages.FindSession:
        return self.cluster.last_said(messages.FindSession, self.peer.uid)

    def told(self) -> list[bool]:
        """Return what the peer was told about its sessions."""
        return [answer.taken for answer in self.cluster.all_said(messages.Taken, self.peer.uid)]

    async def left(self) -> StrictSocket:
        """Return a client that was here, and is away now."""
        client = await self.fleet.client(0, "room")
        await self.fleet.servers[0].emit("x", 1)
        await client.once("x")
        await client.connection.abort()
        await settle()
        return client

    def ask(self, client: StrictSocket, **fields: Any) -> messages.FoundSession:
        """Let the peer ask for the session of a client that has heard nothing; return the answer."""
        question: dict[str, Any] = {"request_id": "q", "pid": client.pid, "offset": None}
        self.peer.send(messages.FindSession, **(question | fields))
        return self.cluster.last_said(messages.FoundSession, self.peer.uid)


@asynccontextmanager
async def open_pair(config: Config = CONFIG, **parameters: float) -> AsyncIterator[Node]:
    async with open_node(config, **parameters) as (fleet, cluster):
        peer = Peer(cluster)
        peer.publish(messages.InitialHeartbeat)
        yield Node(fleet, cluster, peer)


@asynccontextmanager
async def coming(node: Node, auth: dict[str, Any] | None = None) -> AsyncIterator[list[StrictSocket]]:
    """Let a client come that was on the other server; the list has it as soon as it is connected."""
    clients, over = list[StrictSocket](), trio.Event()

    async def come() -> None:
        async with node.fleet.hosts[0].strict_client(auth=auth or {"pid": RECORD.pid, "offset": "theirs.5"}) as client:
            clients.append(client)
            await over.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(come)
        await settle()
        yield clients
        over.set()


# A client comes here.


async def test_the_session_comes_with_all_that_was_missed_there_and_what_came_here_since(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        assert (node.asked().pid, node.asked().offset, clients) == (RECORD.pid, "theirs.5", [])
        node.peer.emit("x", "both have it")
        knowledge = node.knowledge()
        node.peer.emit("x", "only here")
        node.peer.publish(messages.Broadcast, event=("x", "not for it"), options=msgspec.structs.replace(EVERYBODY, rooms=frozenset({"b"})))
        node.let_go(node.asked(), events=(("x", "missed"), ("x", "both have it", b"\x00")), knowledge=knowledge)
        await settle()
        (client,) = clients
        socket = node.fleet.socket(0, client)
        assert (socket.id, socket.data, socket.recovered) == ("the id", {"name": "Ann"}, True)
        assert socket.rooms == {"the id", "room"}
        assert [event.args[:-1] for event in client.pending] == [("missed",), ("both have it", b"\x00"), ("only here",)]
        assert (client.pid, node.told()) == (RECORD.pid, [True])


async def test_it_waits_until_it_has_heard_what_the_other_has_heard(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        third = Peer(node.cluster, "third")
        node.let_go(node.asked(), knowledge=node.knowledge(third=2))
        await settle()
        assert clients == []
        third.publish(messages.InitialHeartbeat)
        await settle()
        assert (clients, node.told()) == ([], [])
        third.emit("x", "they had it")
        third.emit("x", "they had not")
        await settle()
        assert [event.args[0] for event in clients[0].pending] == ["they had not"]
        assert node.told() == [True]


async def begins_anew(node: Node, clients: list[StrictSocket], told: list[bool]) -> None:
    await trio.sleep(6)
    assert [node.fleet.socket(0, client).recovered for client in clients] == [False]
    assert node.told() == told
    assert len(node.store._ids) == 1
    assert not len(node.store._adapter.requests)


@pytest.mark.parametrize(
    ("heard", "gone"),
    [
        ({"third": 9}, {}),  # of which there is nothing here, and there never will be
        ({"peer": 100}, {}),
        ({}, {"third": (9, 0.0)}),
    ],
)
async def test_where_something_may_be_missing_between_the_two_it_begins_anew(
    heard: dict[str, int], gone: dict[str, tuple[int, float]], autojump_clock: Clock
) -> None:
    async with open_pair() as node, coming(node) as clients:
        knowledge = node.knowledge(**heard)
        node.let_go(node.asked(), knowledge=Knowledge(heard=knowledge.heard, gone=gone))
        await begins_anew(node, clients, [False])


async def test_who_had_gone_before_this_server_came_is_nobody_to_wait_for(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        node.let_go(node.asked(), knowledge=Knowledge(heard=node.knowledge().heard, gone={"old": (9, 1e6)}))
        await settle()
        assert (len(clients), node.told()) == (1, [True])


async def test_what_node_has_emitted_is_in_no_order_with_the_rest(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        Peer(node.cluster, "node", counts=False).emit("x", 1)
        node.let_go(node.asked())
        await begins_anew(node, clients, [False])


@pytest.mark.parametrize("is_gone", [False, True])
async def test_what_a_third_server_has_said_before_the_other_one_came_is_not_heard_now(is_gone: bool, autojump_clock: Clock) -> None:
    """It comes here behind the other one, as it was on its way; the other one may never have heard it, so its client would hear it late."""
    async with open_pair() as node, coming(node) as clients:
        third = Peer(node.cluster, "third")
        third.publish(messages.InitialHeartbeat)
        third.emit("x", "before its time")
        if is_gone:
            third.publish(messages.AdapterClose)
        node.let_go(node.asked())
        await begins_anew(node, clients, [False])
        assert clients[0].pending == ()


async def test_what_a_third_server_has_said_before_the_other_one_came_is_nothing_to_wait_for(autojump_clock: Clock) -> None:
    """Where it had come and gone here before that."""
    async with open_node(CONFIG) as (fleet, cluster):
        third, peer = Peer(cluster, "third"), Peer(cluster)
        third.publish(messages.InitialHeartbeat)
        third.emit("x", "before its time")
        third.publish(messages.AdapterClose)
        peer.publish(messages.InitialHeartbeat)
        node = Node(fleet, cluster, peer)
        async with coming(node) as clients:
            node.let_go(node.asked())
            await settle()
            assert (len(clients), node.told()) == (1, [True])
            assert clients[0].pending == ()


async def test_what_was_emitted_here_before_anybody_else_was_known_is_kept_for_who_had_not_heard_it(autojump_clock: Clock) -> None:
    async with open_node(CONFIG) as (fleet, cluster):
        peer, number = Peer(cluster), cluster.adapter()._number  # which has heard that
        await fleet.servers[0].emit("x", "on its way")
        peer.publish(messages.InitialHeartbeat)
        node = Node(fleet, cluster, peer)
        async with coming(node) as clients:
            node.let_go(node.asked(), knowledge=node.knowledge(**{cluster.adapter().uid: number}))
            await settle()
            assert [event.args[0] for event in clients[0].pending] == ["on its way"]
        await clients[0].closed()
        node.store.give_up(Target())
        await trio.sleep(7)
        assert len(node.store.log) == 0


async def test_what_was_lost_here_is_not_recovered(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        knowledge = node.knowledge()
        node.peer.number = 10
        node.peer.emit("x", "behind a gap")
        node.let_go(node.asked(), knowledge=knowledge)
        await begins_anew(node, clients, [False])


async def test_where_nobody_has_it_the_client_begins_anew_at_once(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        began = trio.current_time()
        node.has_none(node.asked())
        await settle()
        assert (len(clients), trio.current_time()) == (1, began)
        await begins_anew(node, clients, [])


async def test_node_is_not_asked(autojump_clock: Clock) -> None:
    async with open_node(CONFIG) as (fleet, cluster):
        Peer(cluster, "node", counts=False).publish(messages.InitialHeartbeat)
        client = await fleet.client(0, auth={"pid": "p", "offset": "o"})
        assert not fleet.socket(0, client).recovered
        assert cluster.all_said(messages.FindSession, "node") == []


@pytest.mark.hostile("B22")
@pytest.mark.parametrize("is_dead", [False, True])
async def test_who_goes_before_it_answers_is_not_waited_for(is_dead: bool, autojump_clock: Clock) -> None:
    async with open_pair(heartbeat_timeout=6) as node, coming(node) as clients:
        if not is_dead:
            node.peer.publish(messages.AdapterClose)
        await begins_anew(node, clients, [])


async def test_an_answer_that_comes_too_late_goes_back(autojump_clock: Clock) -> None:
    async with open_pair(request_timeout=2) as node, coming(node) as clients:
        question = node.asked()
        await trio.sleep(3)
        node.let_go(question)
        await begins_anew(node, clients, [False])


async def test_a_client_that_goes_meanwhile_leaves_the_session_where_it_was(autojump_clock: Clock) -> None:
    async with open_pair() as node:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(node.fleet.hosts[0].strict_client(auth={"pid": RECORD.pid}).__aenter__)
            await settle()
            question = node.asked()
            node.let_go(question, knowledge=node.knowledge(third=2))  # for which it waits
            await settle()
            assert node.told() == []
            nursery.cancel_scope.cancel()
        await trio.sleep(1)
        assert node.told() == [False]
        assert len(node.store._ids) == 0


async def test_an_answer_that_comes_twice_is_one(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        question = node.asked()
        node.let_go(question)
        node.let_go(question)
        await settle()
        node.let_go(question)
        assert (len(clients), node.told()) == (1, [True])


async def test_where_it_is_on_its_way_it_is_asked_for_again(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        first = node.asked()
        node.has_none(first, is_moving=True)
        await trio.sleep(0.1)
        assert node.asked().request_id != first.request_id
        node.let_go(node.asked())
        await settle()
        assert (len(clients), node.told()) == (1, [True])


async def test_a_session_of_which_there_is_one_is_not_taken(autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.fleet.client(0)
        async with coming(node) as clients:
            node.let_go(node.asked(), session=msgspec.structs.replace(RECORD, sid=client.id))
            await settle()
            assert node.told() == [False]
            assert clients[0].id != client.id


async def test_who_has_missed_more_than_an_outbox_holds_begins_anew(autojump_clock: Clock) -> None:
    config = replace(CONFIG, limits=replace(CONFIG.limits, outbox_packets=10))
    async with open_pair(config) as node, coming(node) as clients:
        node.let_go(node.asked(), events=tuple(("x", number) for number in range(11)))
        await begins_anew(node, clients, [False])


async def test_a_session_that_came_in_vain_is_kept_here_for_the_rest_of_its_time(autojump_clock: Clock) -> None:
    """As where middleware refuses its client, or that goes before it is connected."""
    async with open_pair() as node:
        expired = list[str]()
        node.fleet.servers[0].of("/").on_session_expired(lambda session: expired.append(session.id))

        async def come() -> None:
            session = await node.store.restore_session(RECORD.pid, None)
            assert session is not None
            node.store.return_session(session)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(come)
            await settle()
            node.let_go(node.asked())
        assert (node.told(), node.store._ids) == ([True], {"the id"})
        await trio.sleep(58)
        assert (node.store._ids, expired) == ({"the id"}, [])
        await trio.sleep(4)
        assert (node.store._ids, expired) == (set(), ["the id"])


@pytest.mark.hostile("B21")
@pytest.mark.parametrize(
    "wrong",
    [
        {"session": {"sid": 1, "pid": "p", "rooms": [], "data": {}, "seconds": 1}},
        {"session": {"sid": "s", "pid": "p", "rooms": "room", "data": {}, "seconds": 1}},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": [], "seconds": 1}},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": {}, "seconds": -1}},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": {}, "seconds": 1, "expires_at": "never"}},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": {}, "seconds": 1, "expires_at": -1}},
        {"session": {"sid": "s", "pid": "p", "rooms": []}},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": {}, "seconds": 1}, "events": [[None]]},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": {}, "seconds": 1}, "events": [["connect"]]},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": {}, "seconds": 1}, "events": [[]]},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": {}, "seconds": 1}, "heard": {"a": -1}},
        {"session": {"sid": "s", "pid": "p", "rooms": [], "data": {}, "seconds": 1}, "gone": {"a": [1, -1]}},
        {"session": "s"},
        {},
    ],
)
async def test_a_session_that_is_none_is_counted_and_the_client_begins_anew(wrong: dict[str, Any], autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        wire = {"type": messages.FoundSession.TYPE, "uid": node.peer.uid, "nsp": "/", "number": 1}
        data = {"requestId": node.asked().request_id} | wrong if wrong else wrong
        node.cluster.received("/", msgspec.json.encode(wire | {"data": data}))
        assert node.cluster.bad_messages == {"schema": 1}
        await begins_anew(node, clients, [])


@pytest.mark.hostile("B21")
async def test_a_session_that_is_cut_off_is_counted(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        found = messages.FoundSession(
            uid="peer", namespace="/", number=1, request_id=node.asked().request_id, session=RECORD, knowledge=node.knowledge()
        )
        node.cluster.received("/", codec.encode(found, LIMITS)[:-10])
        assert node.cluster.bad_messages == {"format": 1}
        await begins_anew(node, clients, [])


# Another server asks for one that is here.


async def test_a_session_goes_with_what_was_missed_here(autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.left()
        await node.fleet.servers[0].to("room").emit("x", 2)
        await node.fleet.servers[0].to("elsewhere").emit("x", 3)
        node.peer.emit("x", 4)
        found = node.ask(client)
        assert found.session == SessionDetails(sid=client.id, pid=str(client.pid), rooms=frozenset({"room"}), data={}, seconds=120.0)
        assert found.events == (("x", 1), ("x", 2), ("x", 4))
        assert found.knowledge == node.knowledge()
        # Nobody else gets it, and it does not come back by itself.
        assert node.ask(client).session is None
        node.peer.send(messages.Taken, number=found.number, taken=True)
        assert (node.store._ids, len(node.store)) == (set(), 0)


async def test_it_is_kept_if_it_was_not_taken(autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.left()
        found = node.ask(client)
        for answer in ({"number": 99, "taken": True}, {"taken": True}):
            node.peer.send(messages.Taken, **answer)
        Peer(node.cluster, "liar").send(messages.Taken, number=found.number, taken=True)
        assert node.store._lent
        node.peer.send(messages.Taken, number=found.number, taken=False)
        node.peer.send(messages.Taken, number=found.number, taken=True)
        assert (node.store._ids, len(node.store)) == ({client.id}, 1)
        assert node.ask(client).session is not None


@pytest.mark.parametrize(("when", "end"), [(4e9, 4e9), (math.inf, None), (None, None)])
async def test_authentication_that_ends_goes_with_it(when: float | None, end: float | None, autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.fleet.client(0)
        socket = node.fleet.socket(0, client)
        socket.data["picture"] = b"\x00"  # with bytes it goes in MessagePack, which has infinity
        socket.expires_at(when)
        await client.connection.abort()
        await settle()
        found = node.ask(client)
        assert found.session is not None
        assert found.session.expires_at == end


async def test_authentication_that_has_ended_there_has_ended_here(autojump_clock: Clock) -> None:
    async with open_pair() as node, coming(node) as clients:
        node.let_go(node.asked(), session=msgspec.structs.replace(RECORD, expires_at=time.time() - 1))
        await settle()
        # It begins anew, as whoever comes with a new token must not be refused because of the old one.
        assert clients[0].id != RECORD.sid
        assert node.store._ids == {clients[0].id}


async def test_who_is_thrown_out_on_its_way_is_thrown_out_there(autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.left()
        found = node.ask(client)
        await node.fleet.servers[0].in_("room").disconnect_sockets()
        assert node.cluster.all_said(messages.DisconnectSockets, node.peer.uid) == []
        node.peer.send(messages.Taken, number=found.number, taken=True)
        assert node.store._ids == set()
        (order,) = node.cluster.all_said(messages.DisconnectSockets, node.peer.uid)
        assert (order.options.rooms, order.close) == (frozenset({client.id}), False)


@pytest.mark.hostile("B22")
@pytest.mark.parametrize("how", ["dead", "silent"])
async def test_it_is_given_up_where_nobody_knows_whether_it_was_taken(how: str, autojump_clock: Clock) -> None:
    async with open_pair(heartbeat_timeout=6) as node:
        client = await node.left()
        expired = list[str]()
        node.fleet.servers[0].of("/").on_session_expired(lambda session: expired.append(session.id))
        found = node.ask(client)
        for _ in range(12):
            if how == "silent":
                node.peer.publish(messages.Heartbeat)
            await trio.sleep(1)
        assert (expired, node.store._ids, node.store._lent) == ([client.id], set(), {})
        node.peer.send(messages.Taken, number=found.number, taken=False)
        assert len(node.store) == 0


async def test_who_says_goodbye_without_having_taken_it_has_not(autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.left()
        found = node.ask(client)
        node.peer.publish(messages.AdapterClose)
        node.peer.send(messages.Taken, number=found.number, taken=True)  # which is no answer to anything
        assert (node.store._ids, len(node.store), node.store._lent) == ({client.id}, 1, {})


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_what_may_have_been_lost_while_its_client_was_away_is_not_recovered(elsewhere: bool, autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.left()
        node.peer.number = 10
        node.peer.emit("x", "behind a gap")
        if elsewhere:
            assert node.ask(client).session is None
        else:
            again = await node.fleet.client(0, auth={"pid": client.pid})
            assert not node.fleet.socket(0, again).recovered


async def test_a_wrong_secret_gets_nothing(autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.left()
        for pid in ("wrong", client.id, "x" * 100):
            assert node.ask(client, pid=pid).session is None
        assert len(node.store) == 1
        # An offset that nobody has given out is no reason to send everything again.
        assert node.ask(client, offset="invented").session is None


@pytest.mark.hostile("B20")
async def test_what_is_not_kept_any_more_is_not_recovered_in_part(autojump_clock: Clock) -> None:
    config = Config(connection_state_recovery=Recovery(packets=3))
    async with open_pair(config) as node:
        client = await node.left()
        for number in range(4):
            await node.fleet.servers[0].to("room").emit("x", number)
        assert node.ask(client).session is None
        assert len(node.store) == 0


async def test_data_that_is_not_plain_stays_with_its_session(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    caplog.set_level(logging.WARNING, "trio_sio.cluster")
    async with open_pair() as node:
        clients = [await node.fleet.client(0) for _ in range(2)]
        for client in clients:
            node.fleet.socket(0, client).data["object"] = object()
            await client.connection.abort()
        await settle()
        for client in clients:
            assert node.ask(client).session is None
        assert len(node.store) == 2
        assert sum("is not a dict of plain data" in line for line in caplog.messages) == 1
        again = await node.fleet.client(0, auth={"pid": clients[0].pid})
        assert node.fleet.socket(0, again).recovered


async def test_a_connection_that_the_client_has_given_up_is_ended(autojump_clock: Clock) -> None:
    async with open_pair() as node:
        client = await node.fleet.client(0, "room")
        assert node.cluster.all_said(messages.FoundSession, "peer") == []
        node.peer.send(messages.FindSession, request_id="q", pid=client.pid)
        await settle()
        found = node.cluster.last_said(messages.FoundSession, "peer")
        assert found.session is not None
        assert found.session.rooms == {"room"}
        assert not client.connected

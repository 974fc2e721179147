"""`socket.data` of a type goes along with its client to another server, which knows the type from its own routes."""

from __future__ import annotations

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import msgspec
import pytest
import trio
import trio.testing

from tests.cluster.recovery_clients import Comer, open_comer
from tests.cluster.stub import Peer, StubCluster
from tests.cluster.test_hand_over import Application, Running, open_running
from trio_sio import Config, Recovery, Route, RoutingTable, Server, Socket
from trio_sio.cluster import messages
from trio_sio.cluster.moving import Knowledge
from trio_sio.testing import StrictSocket, open_test_server

Clock = trio.testing.MockClock

CONFIG = Config(connection_state_recovery=Recovery(), drain_timeout=2)
NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)

settle = trio.testing.wait_all_tasks_blocked


@dataclass
class Visit:
    when: datetime
    page: str


@dataclass
class SessionData:
    user: str = ""
    token: bytes = b""
    visits: list[Visit] = field(default_factory=list)


class Other(msgspec.Struct):
    """What another version of the application has."""

    user: str
    needed: int


def make_data(socket: Socket) -> SessionData:
    return SessionData("Ann")


def make_other(socket: Socket) -> Other:
    return Other("Ann", 1)


def table(data: Any) -> RoutingTable:
    return RoutingTable(Route("/", Application, data=data), Route(re.compile(r"/room-\d+"), Application, data=data))


ROUTES, OTHER, NONE = table(SessionData), table(make_other), table(None)


@pytest.fixture(autouse=True)
def lines(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    caplog.set_level(logging.WARNING, "trio_sio")
    return caplog


def socket_of(running: Running, comer: Comer) -> Socket[Any]:
    return running.server(comer.number).of(comer.namespace).sockets[comer.client.id]


async def fill(running: Running, comer: Comer, token: bytes = b"\x00\xff") -> SessionData:
    """Let a client come to the first server, be somebody there, and go."""
    assert not await comer.come(0)
    data = socket_of(running, comer).data = SessionData("Ann", token, [Visit(NOON, "/home")])
    await comer.go()
    return data


@pytest.mark.parametrize("namespace", ["/", "/room-1"])
@pytest.mark.parametrize("token", [b"", b"\xff"], ids=["in JSON, but for the bytes", "bytes"])
@pytest.mark.parametrize("given", [SessionData, make_data], ids=["a class", "a function that says what it returns"])
async def test_it_goes_along(namespace: str, token: bytes, given: object, autojump_clock: Clock) -> None:
    async with open_running(2, CONFIG, table(given)) as running, open_comer(running, namespace) as comer:
        data = await fill(running, comer, token)
        assert await comer.come(1)
        there = socket_of(running, comer).data
        assert there == data
        # It is a copy, and goes on from there.
        there.visits.append(Visit(NOON, "/more"))
        assert len(data.visits) == 1
        await trio.sleep(0.1)  # a namespace by pattern that has ended there says goodbye
        assert await comer.move(0)
        assert socket_of(running, comer).data == there


async def test_it_is_left_to_another_server(autojump_clock: Clock, lines: pytest.LogCaptureFixture) -> None:
    async with open_running(3, CONFIG, ROUTES) as running, open_comer(running) as comer:
        data = await fill(running, comer)
        await running.stop(0)
        await running.stop(2)
        assert await comer.come(1)
        assert socket_of(running, comer).data == data
        assert not lines.messages


@pytest.mark.parametrize(("other", "why"), [(OTHER, "missing required field `needed`"), (NONE, "has a type there and none here")])
async def test_where_another_version_runs_the_client_begins_anew(
    other: RoutingTable, why: str, autojump_clock: Clock, lines: pytest.LogCaptureFixture
) -> None:
    async with open_running(2, CONFIG, ROUTES) as running, open_comer(running) as comer, open_comer(running) as faithful:
        running.routes = other
        await running.restart(1)
        data = await fill(running, comer)
        await fill(running, faithful)
        assert not await comer.come(1)
        assert not await faithful.come(1)
        (line,) = lines.messages
        assert why in line
        assert "begins anew" in line
        assert "let all servers have the same Route(..., data=...)" in line
        # Who comes back to where it was finds all there.
        assert [session.data for session in running.store(0)._away.values()] == [data, data]


async def test_a_session_goes_to_the_server_that_can_read_it(autojump_clock: Clock, lines: pytest.LogCaptureFixture) -> None:
    """In the middle of a rolling restart, from one version to another and back."""
    async with open_running(3, CONFIG, ROUTES) as running, open_comer(running) as comer:
        running.routes = OTHER
        await running.restart(2)
        data = await fill(running, comer)
        await running.stop(0)
        assert [len(running.store(number)._ids) for number in (1, 2)] == [1, 0]
        assert await comer.come(1)
        assert socket_of(running, comer).data == data
        assert len(lines.messages) == 1


class Bound:
    """Data that is of this process."""

    def __init__(self) -> None:
        self.scope = trio.CancelScope()


async def test_what_cannot_be_written_stays_where_it_is(autojump_clock: Clock, lines: pytest.LogCaptureFixture) -> None:
    async with open_running(2, CONFIG, table(Bound)) as running, open_comer(running) as comer, open_comer(running) as leaver:
        await comer.come(0)
        data = socket_of(running, comer).data
        await leaver.come(0)
        await comer.go()
        await leaver.go()
        assert not await leaver.come(1)
        assert await comer.come(0)
        assert socket_of(running, comer).data is data
        await comer.go()
        await running.stop(0)
        assert len(running.store(1)._ids) == 1
        (line,) = lines.messages
        assert "only when they come back to the server that they were on" in line
        assert "socket.data is Bound, which msgspec does not know: make it a dataclass" in line


# What comes may be anything.


@asynccontextmanager
async def coming_from(wire: dict[str, Any]) -> AsyncIterator[tuple[StubCluster, Server, StrictSocket]]:
    """Let a client come whose session another server has, and says that it is ``wire``."""
    cluster = StubCluster()
    async with open_test_server(Server(ROUTES, config=CONFIG, cluster=cluster)) as host:
        peer = Peer(cluster)
        peer.publish(messages.InitialHeartbeat)
        clients = list[StrictSocket]()

        async def come() -> None:
            clients.append(await stack.start(_stay, host.strict_client("/", {"pid": "secret"})))

        async with trio.open_nursery() as stack:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(come)
                await settle()
                question = cluster.last_said(messages.FindSession, peer.uid)
                adapter = cluster.adapter()
                knowledge = Knowledge(heard={adapter.uid: adapter._number, peer.uid: peer.number or 0}).data()
                session = {"sid": "id", "pid": "secret", "rooms": [], "seconds": 60} | wire
                answer = {"requestId": question.request_id, "session": session, "events": []} | knowledge
                message = {"type": messages.FoundSession.TYPE, "uid": peer.uid, "nsp": "/", "number": 1, "data": answer}
                cluster.received("/", msgspec.msgpack.encode(message))
                await trio.sleep(10)
            yield cluster, cast("Server", host.server), clients[0]
            stack.cancel_scope.cancel()


async def _stay(client: Any, task_status: trio.TaskStatus[StrictSocket]) -> None:
    async with client as connected:
        task_status.started(connected)
        await trio.sleep_forever()


async def test_plain_data_becomes_what_the_type_is_here(autojump_clock: Clock) -> None:
    """As from a version that had none."""
    async with coming_from({"data": {"user": "Ann"}}) as (cluster, server, client):
        socket = server.of("/").sockets[client.id]
        assert (socket.recovered, socket.data) == (True, SessionData("Ann"))
        assert not cluster.bad_messages


HOSTILE: dict[str, object] = {
    "nothing": None,
    "a list": [],
    "a number": 1,
    "other fields": {"user": {"user": "Ann"}},
    "a time that is none": {"visits": [{"when": "now", "page": ""}]},
    "text for bytes": {"token": "AAAA"},
    "very deep": {"visits": [msgspec.Raw(b"\x91" * 400 + b"\x90")]},
    "very long": {"visits": [{}] * 50_000},
}


@pytest.mark.hostile("D20")
@pytest.mark.parametrize("what", HOSTILE)
async def test_typed_data_that_is_none_costs_a_recovery_and_a_line(
    what: str, autojump_clock: Clock, lines: pytest.LogCaptureFixture
) -> None:
    async with coming_from({"typed": HOSTILE[what]}) as (cluster, server, client):
        socket = server.of("/").sockets[client.id]
        assert (socket.recovered, socket.data) == (False, SessionData())
        assert [answer.taken for answer in cluster.all_said(messages.Taken, "peer")] == [False]
        assert not cluster.bad_messages
        (line,) = lines.messages
        assert "socket.data is no SessionData here" in line
        assert len(line) < 500


@pytest.mark.hostile("D20")
@pytest.mark.parametrize("wire", [{}, {"data": {}, "typed": {}}, {"data": []}, {"data": None}], ids=repr)
async def test_a_session_with_no_data_or_two_is_none(wire: dict[str, Any], autojump_clock: Clock) -> None:
    async with coming_from(wire) as (cluster, server, client):
        assert not server.of("/").sockets[client.id].recovered
        assert cluster.bad_messages == {"schema": 1}

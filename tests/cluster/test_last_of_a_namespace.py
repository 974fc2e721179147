"""Sessions that go from one server to another, in namespaces that may come to be used no more meanwhile."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import trio
import trio.testing

from tests.cluster.stub import Peer, open_node
from tests.cluster.test_takes import CONFIG, RECORD, Node, settle
from trio_sio import ConnectionRefused
from trio_sio.cluster import messages
from trio_sio.cluster.moving import Knowledge, Past
from trio_sio.testing import StrictSocket

Clock = trio.testing.MockClock

ROOM: Final = "/room-1"


@asynccontextmanager
async def used_for_a_while(**parameters: float) -> AsyncIterator[tuple[Node, StrictSocket]]:
    """Open one server with a namespace that is used by one client, and another one that knows of it."""
    async with open_node(CONFIG, **parameters) as (fleet, cluster):
        client = await fleet.client(0, namespace=ROOM)
        peer = Peer(cluster)
        peer.send(messages.InitialHeartbeat, namespace=ROOM, number=1)
        yield Node(fleet, cluster, peer), client


def assert_it_is_used_no_more(node: Node, caplog: pytest.LogCaptureFixture) -> None:
    assert ROOM not in node.cluster._adapters
    *_, last = [message for uid, message in node.cluster.said if message.namespace == ROOM and uid is None]
    assert type(last) is messages.AdapterClose
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.hostile("B22")
@pytest.mark.parametrize("how", ["dead", "silent"])
async def test_a_session_that_is_given_up_on_its_way_may_be_the_last_of_its_namespace(
    how: str, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    async with used_for_a_while(heartbeat_timeout=6) as (node, client):
        await client.connection.abort()
        await settle()
        node.peer.send(messages.FindSession, namespace=ROOM, request_id="q", pid=client.pid, offset=None)
        assert node.cluster.last_said(messages.FoundSession, "peer").session is not None
        for number in range(2, 14):
            if how == "silent":
                node.peer.send(messages.Heartbeat, namespace=ROOM, number=number)
            await trio.sleep(1)
        assert_it_is_used_no_more(node, caplog)


@pytest.mark.parametrize("found", [False, True])
async def test_whoever_waits_for_others_may_be_the_last_of_its_namespace(
    found: bool, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    async with used_for_a_while() as (node, _), trio.open_nursery() as nursery:

        async def come() -> None:
            with pytest.raises(ConnectionRefused):
                await node.fleet.client(0, namespace=ROOM, auth={"pid": RECORD.pid})

        nursery.start_soon(come)
        await settle()
        question = node.asked()
        answer: dict[str, Any] = {"session": RECORD, "knowledge": Knowledge(heard={"third": 9}, gone={})}  # for which it waits
        if found:
            node.peer.send(messages.FoundSession, namespace=ROOM, request_id=question.request_id, number=1, **answer)
        await settle()
        await node.fleet.servers[0].of(ROOM).disconnect_sockets()
        await trio.sleep(6)
        assert node.told() == [False] * found
        assert_it_is_used_no_more(node, caplog)


async def test_a_session_that_is_left_here_and_not_taken_may_be_the_last_of_its_namespace(
    caplog: pytest.LogCaptureFixture, autojump_clock: Clock
) -> None:
    async with used_for_a_while() as (node, _):
        offer: dict[str, Any] = {"session": RECORD, "past": Past(prefix="p.", newest=1, offset=None, events=())}
        node.peer.send(messages.HandOver, namespace=ROOM, number=1, knowledge=Knowledge(heard={"third": 9}, gone={}), **offer)
        await settle()
        await node.fleet.servers[0].of(ROOM).disconnect_sockets()
        await trio.sleep(6)  # so long it is held for what may come
        assert node.told() == [False]
        assert_it_is_used_no_more(node, caplog)

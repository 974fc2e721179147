"""Hostile events, acknowledgements and rooms: section S of the catalogue."""

from __future__ import annotations

import json
import re

import pytest
import trio

from tests.hostile.http import hang_up
from tests.hostile.journal import Journal
from tests.hostile.socketio.speaking import ENDED, PLACEHOLDER, Holder, assert_forced_close, enter, receive, send
from tests.hostile.test_websocket import TEXT, frame
from tests.hostile.victim import (
    BOUND,
    Victim,
)
from trio_sio import Limits
from trio_sio.namespaces.client import Client

# Events and acknowledgements.


@pytest.mark.hostile("S20", "S21", "S25", "S26", "S62")
async def test_odd_names_are_only_names(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    names = ["", "error", "connection", "message", "ping", "__proto__", "toString", "__class__", "on_disconnect", "gone", "victim"]
    names += [f"event {number}" for number in range(1_000)]
    await send(session, "425[5]", *(f"42{json.dumps([name, 1])}" for name in names), '426["gone"]')
    unknown = '[{"status":"error","message":"Unknown event"}]'
    assert await receive(session, 2) == [f"435{unknown}", f"436{unknown}"]
    await session.assert_lives()


@pytest.mark.hostile("S30")
async def test_odd_values_come_back(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, r'427["echo",{"a":"\ud800\u0000","b":1,"b":-0}]')
    assert await receive(session) == [r'437[{"a":"\ud800\u0000","b":0}]']
    await session.assert_lives()


@pytest.mark.hostile("S34")
@pytest.mark.parametrize("item", ['"' + "x" * 990_000 + '",', "[]," * 190_000, "[[]]," * 95_000], ids=["string", "lists", "nested"])
async def test_a_million_bytes_of_one_value(victim: Victim, transport: str, item: str) -> None:
    session = await victim.join(transport)
    await send(session, f'42["note",[{item}1]]')
    value = await victim.note()
    assert isinstance(value, list)
    assert len(value) == item.count(",") + 1
    await session.assert_lives()


@pytest.mark.hostile("S63")
@pytest.mark.parametrize(("event", "most"), [("one by one", 1), ("all at once", Limits().concurrent_handlers)])
async def test_a_million_events_that_nobody_finishes(victim: Victim, holder: Holder, event: str, most: int) -> None:
    session = await victim.websocket()
    await enter(session, "/hold")
    connection = victim.server.engine.sessions.by_id[session.sid]
    client = connection.receiver
    assert isinstance(client, Client)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.websocket.stream.send_all, frame(TEXT, f'42/hold,["{event}"]'.encode()) * 1_000_000)
        with trio.fail_after(BOUND):
            while connection.accepting or holder.held < most:  # noqa: ASYNC110  # nothing tells
                await trio.sleep(0.005)
        await victim.settle()
        waiting = client.inbox.events
        await victim.settle()
        # Whatever else it sends stays in the kernel's buffers, and then with the client.
        assert (client.inbox.events, holder.held) == (waiting, most)
        assert waiting < 10_000
        nursery.cancel_scope.cancel()

    await hang_up(session.websocket.stream, reset=True)
    holder.go_on.set()


@pytest.mark.hostile("S38")
async def test_same_ack_id_twice(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, '421["echo","a"]', '421["echo","b"]')
    assert await receive(session, 2) == ['431["a"]', '431["b"]']


@pytest.mark.hostile("S39", "S61")
async def test_acks_that_nobody_waits_for(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "439[]", "43[]", "43", "430[1]", "430[1]", f"461-5[{PLACEHOLDER}]", b"swallowed")
    await session.assert_lives()


@pytest.mark.hostile("S39")
async def test_too_many_acks_that_nobody_waits_for(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    await send(session, *["439[]"] * 1_000)
    await session.assert_lives()
    await assert_forced_close(session, "439[]")
    journal.expect(ENDED + "too many acknowledgements")


@pytest.mark.hostile("S39", "S40", "S42")
async def test_the_first_ack_wins(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session)
    await send(session, '42/app,1["ask",5]')
    (question,) = await receive(session)
    match = re.fullmatch(r'42/app,(\d+)\["question"\]', question)
    assert match is not None
    # The same id in another namespace is another question; so is another id.
    await send(session, f'43{match[1]}["wrong"]', f'43/app,{match[1]}9["wrong"]', f"43/app,{match[1]}", f'43/app,{match[1]}["late"]')
    assert await receive(session) == ["43/app,1[null]"]


@pytest.mark.hostile("S42")
async def test_an_ack_for_somebody_else(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    other = await victim.websocket()
    await enter(session)
    await send(session, '42/app,1["ask",5]')
    (question,) = await receive(session)
    answer = question.removeprefix("42/app,").removesuffix('["question"]')
    await enter(other)
    await other.send(f'43/app,{answer}["forged"]', '42/app,2["echo",1]')
    assert await other.receive() == "43/app,2[1]"
    await send(session, f'43/app,{answer}["true"]')
    assert await receive(session) == ['43/app,1["true"]']


@pytest.mark.hostile("S44")
@pytest.mark.parametrize("settings", [{"ack_timeout": 0.1}], ids=["brisk"])
async def test_ack_that_never_comes(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session)
    await send(session, '42/app,1["ask",null]')
    assert (await receive(session, 2))[1] == '43/app,1["too slow"]'
    await send(session, '42/app,2["pending"]')
    assert await receive(session) == ["43/app,2[0]"]


@pytest.mark.hostile("S43")
async def test_ack_after_the_timeout(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session)
    await send(session, '42/app,1["ask",0.01]')
    question, answer = await receive(session, 2)
    assert answer == '43/app,1["too slow"]'
    late = question.removeprefix("42/app,").removesuffix('["question"]')
    await send(session, f"43/app,{late}[1]", '42/app,2["pending"]')
    assert await receive(session) == ["43/app,2[0]"]


# Rooms.


@pytest.mark.hostile("S64")
@pytest.mark.parametrize("settings", [{"limits": Limits(rooms_per_socket=50)}])
async def test_too_many_rooms(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    rooms = [f"room {number}" for number in range(51)]
    await enter(session)
    await send(session, f"42/app,1{json.dumps(['join', *rooms])}", f"42/app,2{json.dumps(['join', *rooms[:50]])}")
    refused, joined = await receive(session, 2)
    assert "Limits.rooms_per_socket" in refused
    assert joined == '43/app,2["in 51 rooms"]'  # and its own


@pytest.mark.hostile("S65")
async def test_the_room_of_somebody_else(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    other = await victim.websocket()
    other_id = json.loads((await enter(other)).removeprefix("40/app,"))["sid"]
    await enter(session)
    await send(session, f"42/app,1{json.dumps(['join', other_id])}")
    (refused,) = await receive(session)
    assert "is the id of another socket" in refused
    assert not victim.server.of("/app").adapter.rooms_of(victim.server.of("/app").sockets[other_id])

"""Hostile Socket.IO packets before, beside and after the CONNECT of a namespace: section S of the catalogue."""

from __future__ import annotations

import gc
import json

import pytest
import trio

from tests.hostile.journal import Journal
from tests.hostile.socketio.speaking import (
    BINARY,
    ENDED,
    PLACEHOLDER,
    Gate,
    assert_forced_close,
    enter,
    receive,
    send,
    send_fatal,
    unjoined,
)
from tests.hostile.victim import (
    BOUND,
    Victim,
)
from trio_sio import Limits


@pytest.mark.hostile("S03", "S04")
@pytest.mark.parametrize("packet", ['42["note",1]', "431[]", "41", '44{"message":"no"}', BINARY, f"461-1[{PLACEHOLDER}]"])
async def test_packet_before_connect(victim: Victim, transport: str, journal: Journal, packet: str) -> None:
    # Of the binary packets only the header is sent: they are refused before anything is kept for them.
    await send_fatal(await unjoined(victim, transport), packet)
    victim.no_note()
    journal.expect(ENDED + ".*not joined|" + ENDED + "a client does not send CONNECT_ERROR")


@pytest.mark.hostile("S06")
async def test_connect_again_while_middleware_runs(victim: Victim, transport: str, gate: Gate, journal: Journal) -> None:
    session = await victim.join(transport)
    await assert_forced_close(session, "40/gate,", "40/gate,", "40/gate,")
    await gate.wait_for(0)
    assert gate.arrived <= 1
    assert not victim.server.of("/gate").sockets
    journal.expect(ENDED + "a second CONNECT for namespace '/gate'")


@pytest.mark.hostile("S06")
async def test_connect_again_later(victim: Victim, transport: str, gate: Gate, journal: Journal) -> None:
    session = await victim.join(transport)
    await send(session, "40/gate,")
    await gate.wait_for(1)
    await assert_forced_close(session, "40/gate,")
    await gate.wait_for(0)
    assert gate.arrived == 1
    journal.expect(ENDED + "a second CONNECT for namespace '/gate'")


@pytest.mark.hostile("S07")
@pytest.mark.parametrize("packet", ['42/gate,["note",1]', "43/gate,1[]", "41/gate,", f'451-/gate,["note",{PLACEHOLDER}]'])
async def test_packet_while_connect_is_pending(victim: Victim, transport: str, gate: Gate, journal: Journal, packet: str) -> None:
    session = await victim.join(transport)
    await assert_forced_close(session, "40/gate,", packet)
    await gate.wait_for(0)
    assert gate.arrived <= 1
    journal.expect(ENDED + ".*not joined")


@pytest.mark.hostile("S08")
async def test_unknown_namespace(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "40/nope,")
    assert await receive(session) == ['44/nope,{"message":"Invalid namespace"}']
    await session.assert_lives()


@pytest.mark.hostile("S11")
async def test_ack_id_on_connect(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "40/app,5", '40/app-1,12{"token":1}')
    first, second = sorted(await receive(session, 2))
    assert first.startswith('40/app,{"sid":')
    assert second.startswith('40/app-1,{"sid":')


@pytest.mark.hostile("S13")
async def test_too_many_namespaces(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    names = [f"/app-{number}" for number in range(99)]
    namespaces = victim.server.namespaces
    before = len(list(namespaces))
    await send(session, *(f"40{name}," for name in names))
    assert len(await receive(session, 99)) == 99
    assert len(list(namespaces)) == before + 99
    await assert_forced_close(session, "40/app-99,")
    journal.expect(ENDED + "too many namespaces")
    with trio.fail_after(BOUND):
        while len(list(namespaces)) > before:
            gc.collect()
            await trio.lowlevel.checkpoint()


@pytest.mark.hostile("S13")
@pytest.mark.parametrize("settings", [{"limits": Limits(dynamic_namespaces=2)}])
async def test_too_many_dynamic_namespaces(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "40/app-1,", "40/app-2,", "40/app-3,")
    # A refusal needs no middleware, so it comes first.
    answers = sorted(await receive(session, 3))
    assert answers[2] == '44/app-3,{"message":"Invalid namespace"}'
    await send(session, "41/app-1,")
    await enter(session, "/app-3")


@pytest.mark.hostile("S14")
async def test_packets_that_cross_our_disconnect(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    connected = await enter(session)
    await send(session, '42/app,["leave"]')
    assert await receive(session) == ["41/app,"]
    # What a client may have sent before it heard of that.
    await send(session, '42/app,["echo",1]', '42/app,7["echo",1]', "43/app,1[]", f'451-/app,["echo",{PLACEHOLDER}]', b"x", "41/app,")
    await session.assert_lives()
    assert victim.server.engine.counters.crossed_packets == 5
    assert await enter(session) != connected
    await send(session, '42/app,8["echo",2]')
    assert await receive(session) == ["43/app,8[2]"]


@pytest.mark.hostile("S14")
async def test_packets_after_our_disconnect_was_heard(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    await enter(session)
    await send(session, '42/app,["leave"]')
    assert await receive(session) == ["41/app,"]
    # From its next CONNECT on the client has no excuse any more.
    await enter(session)
    await send(session, "41/app,")
    await assert_forced_close(session, '42/app,["echo",1]')
    journal.expect(ENDED + "EVENT for namespace '/app', which is not joined")


@pytest.mark.hostile("S15")
@pytest.mark.parametrize("packet", ['42["note",1]', "41", "431[]", BINARY])
async def test_packet_after_disconnect(victim: Victim, transport: str, journal: Journal, packet: str) -> None:
    session = await victim.join(transport)
    await send_fatal(session, '42["note","before"]', "41", packet)
    assert await victim.note() == "before"
    assert await victim.reason(session.socket_id) == "client namespace disconnect"
    victim.no_note()
    journal.expect(ENDED + ".*not joined")


@pytest.mark.hostile("S17")
async def test_connect_after_disconnect(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "41", "40")
    (connected,) = await receive(session)
    assert json.loads(connected[2:])["sid"] != session.socket_id
    assert await victim.reason(session.socket_id) == "client namespace disconnect"
    await session.assert_lives()

"""Hostile attachments: section S of the catalogue."""

from __future__ import annotations

import json

import pytest

from tests.hostile.journal import Journal
from tests.hostile.socketio.speaking import BINARY, ENDED, FORCED_CLOSE, PLACEHOLDER, assert_forced_close, send
from tests.hostile.victim import (
    Victim,
    WebSocketSession,
)
from trio_sio.testing import WebSocketClosed


@pytest.mark.hostile("S49")
@pytest.mark.parametrize("settings", [{"attachment_stall_timeout": 0.2, "ping_interval": 0.05}])
async def test_attachments_that_never_come(victim: Victim, journal: Journal) -> None:
    session = await victim.websocket()
    pings = 0
    await session.send(BINARY)
    with pytest.raises(WebSocketClosed):
        while await session.receive() == "2":
            pings += 1
            await session.send("3")
    assert pings
    assert await victim.reason(session.socket_id) == FORCED_CLOSE
    journal.expect(ENDED + "an announced attachment did not come")


@pytest.mark.hostile("S49")
async def test_attachments_that_are_too_large_together(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    half = bytes(500_000)
    header = f'452-["note",{PLACEHOLDER}]'
    if isinstance(session, WebSocketSession):
        await assert_forced_close(session, header, half, half)
    else:
        await send(session, header, half)
        await assert_forced_close(session, half)
    journal.expect(ENDED + "A packet with its attachments is larger than 1000000 bytes")


@pytest.mark.hostile("S50")
@pytest.mark.parametrize("packet", ['42["note",1]', "41", "40/app,", "41/app,", BINARY, "430[]"])
async def test_text_where_an_attachment_is_missing(victim: Victim, transport: str, journal: Journal, packet: str) -> None:
    session = await victim.join(transport)
    await assert_forced_close(session, BINARY, packet)
    victim.no_note()
    journal.expect(ENDED + "A text message arrived before the attachments")


@pytest.mark.hostile("S51")
async def test_one_attachment_too_many(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    await assert_forced_close(session, BINARY, b"announced", b"not announced")
    assert await victim.note() == b"announced"
    journal.expect(ENDED + "A binary message arrived that no packet announced")


@pytest.mark.hostile("S52")
async def test_disconnect_amid_a_packet(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, f'453-["note",{PLACEHOLDER}]', bytes(1_000))
    if isinstance(session, WebSocketSession):
        await session.websocket.stream.aclose()
    else:
        await send(session, "1")
    # `victim` checks that no timer waits for the rest.
    assert await victim.reason(session.socket_id) == "transport close"
    victim.no_note()


@pytest.mark.hostile("S56", "S57", "S58", "S60")
async def test_odd_attachments_are_accepted(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "451-" + json.dumps(["note", [{"_placeholder": True, "num": 0}] * 1_000]), b"shared")
    shared = await victim.note()
    assert isinstance(shared, list)
    assert shared == [b"shared"] * 1_000
    assert {id(item) for item in shared} == {id(shared[0])}
    await send(session, '452-["note",1]', b"unused", b"")
    assert await victim.note() == 1
    await send(session, BINARY, b"")
    assert await victim.note() == b""
    await send(session, '42["note",{"_placeholder":"yes","num":0}]')
    assert await victim.note() == {"_placeholder": "yes", "num": 0}

"""Hostile Engine.IO packets: section E of the catalogue."""

from __future__ import annotations

import base64
import json

import pytest
import trio

import trio_sio.engine.connection
from tests.hostile.journal import Journal
from tests.hostile.victim import BOUND, RECORD_SEPARATOR, PollingSession, Victim
from trio_sio import Limits

NOTE = '42["note",%s]'
ATTACHED_NOTE = '451-["note",{"_placeholder":true,"num":0}]'


@pytest.mark.hostile("E01")
@pytest.mark.parametrize("packet", ["", "7", "x", " ", "\0", "\N{WATER BUFFALO}"])
async def test_websocket_unknown_packet(victim: Victim, journal: Journal, packet: str) -> None:
    session = await victim.websocket()

    await session.send(packet)

    await session.assert_over("parse error")
    journal.expect(r"INFO .* ended: parse error \(unknown packet ")


@pytest.mark.hostile("E02")
@pytest.mark.parametrize("packet", ["2", "2probe"])
async def test_websocket_ping_from_the_client(victim: Victim, journal: Journal, packet: str) -> None:
    session = await victim.websocket()

    await session.send(packet)

    await session.assert_over("transport error")
    journal.expect("INFO .* ended: transport error .*ping")


@pytest.mark.hostile("E03")
@pytest.mark.parametrize("settings", [{"ping_interval": 2, "ping_timeout": 1}], ids=["brisk"])
async def test_websocket_unsolicited_pongs(victim: Victim) -> None:
    session = await victim.websocket()

    await session.send("3", "3xyz")
    await session.websocket.send_bytes(b"\x81\x81\0\0\0\x003" * 5_000)
    await session.assert_lives()

    # Had they counted, the ping would not come, or its time-out would not.
    assert await session.receive() == "2"
    await session.assert_over("ping timeout")


@pytest.mark.hostile("E04")
@pytest.mark.parametrize("packet", ["0{}", "0", "5", "6", "6data"])
async def test_packets_that_mean_nothing_on_an_open_session(victim: Victim, transport: str, packet: str) -> None:
    session = await victim.join(transport)

    await session.send(packet)

    await session.assert_lives()


@pytest.mark.hostile("E05")
async def test_websocket_close_packet(victim: Victim) -> None:
    session = await victim.websocket()

    await session.send("1")

    await session.assert_over("transport close")


@pytest.mark.hostile("E06")
async def test_websocket_does_not_split(victim: Victim, journal: Journal) -> None:
    session = await victim.websocket()

    await session.send(NOTE % 1 + "\x1e" + NOTE % 2)

    await session.assert_over("forced close")
    victim.no_note()
    journal.expect("INFO .* ended: forced close")


@pytest.mark.hostile("E07")
async def test_websocket_base64_is_an_attachment(victim: Victim) -> None:
    session = await victim.websocket()

    await session.send(ATTACHED_NOTE)
    await session.send("bAAEC")

    assert await victim.note() == b"\x00\x01\x02"
    await session.assert_lives()


@pytest.mark.hostile("E07")
@pytest.mark.parametrize("packet", ["b!!!!", "bAB", "bA=B", "bAAEC\x1ebAAEC", "bÄÄÄÄ"])
async def test_websocket_bad_base64(victim: Victim, journal: Journal, packet: str) -> None:
    session = await victim.websocket()

    await session.send(ATTACHED_NOTE)
    await session.send(packet)

    await session.assert_over("parse error")
    victim.no_note()
    journal.expect("INFO .* ended: parse error")


@pytest.mark.hostile("E07")
async def test_websocket_base64_that_nobody_announced(victim: Victim, journal: Journal) -> None:
    session = await victim.websocket()

    await session.send("bAAEC")

    await session.assert_over("forced close")
    journal.expect("INFO .* ended: forced close")


@pytest.mark.hostile("E08")
@pytest.mark.parametrize("data", [b"", b"\x00\x01\x02"])
async def test_binary_without_an_event(victim: Victim, transport: str, journal: Journal, data: bytes) -> None:
    session = await victim.join(transport)

    if isinstance(session, PollingSession):
        assert (await session.post(b"b" + base64.b64encode(data))).status == 400
    else:
        await session.send(data)

    await session.assert_over("forced close")
    journal.expect("INFO .* ended: forced close")


@pytest.mark.hostile("E09")
@pytest.mark.http
@pytest.mark.parametrize(
    ("payload", "delivered"),
    [("\x1e" + NOTE % 1, []), (NOTE % 1 + "\x1e", [1]), (NOTE % 1 + "\x1e\x1e" + NOTE % 2, [1]), ("\x1e", [])],
    ids=["before", "after", "between", "alone"],
)
async def test_polling_empty_packet(victim: Victim, journal: Journal, payload: str, delivered: list[int]) -> None:
    session = await victim.polling()

    response = await session.post(payload)

    assert response.status == 400
    await session.assert_over("parse error")
    for value in delivered:
        assert await victim.note() == value
    victim.no_note()
    journal.expect("INFO .* ended: parse error")


@pytest.mark.hostile("E10", "E12", "E14")
@pytest.mark.http
async def test_polling_bad_packet_behind_a_good_one(victim: Victim, journal: Journal) -> None:
    for bad in ["x", "7", "abc", "\N{WATER BUFFALO}", "b!!!!", "bAB", "bA=B", "bAA=A", "bAAEC\n", "bAA EC"]:
        session = await victim.polling()

        response = await session.post(NOTE % 1 + "\x1e" + bad + "\x1e" + NOTE % 2)

        assert response.status == 400
        await session.assert_over("parse error")
        assert await victim.note() == 1
        victim.no_note()
        journal.expect("INFO .* ended: parse error")


@pytest.mark.hostile("E11")
@pytest.mark.http
@pytest.mark.parametrize("packet", ["2", "2probe"])
async def test_polling_ping_from_the_client(victim: Victim, journal: Journal, packet: str) -> None:
    session = await victim.polling()
    poll = await session.start_poll()

    response = await session.post(packet)

    assert response.status == 400
    with trio.fail_after(BOUND):
        assert (await poll.receive()).body == b"1"
    await session.assert_over("transport error")
    journal.expect("INFO .* ended: transport error .*ping")


@pytest.mark.hostile("E13")
@pytest.mark.http
async def test_polling_event_behind_a_close_packet(victim: Victim) -> None:
    session = await victim.polling()
    poll = await session.start_poll()

    await session.send("1\x1e" + NOTE % 1)

    with trio.fail_after(BOUND):
        assert (await poll.receive()).body == b"6"
    await session.assert_over("transport close")
    victim.no_note()


@pytest.mark.hostile("E15")
@pytest.mark.http
async def test_polling_half_a_million_packets(victim: Victim) -> None:
    session = await victim.polling()

    await session.send("\x1e".join(["6"] * 499_999))

    await session.assert_lives()


@pytest.mark.hostile("E16", "E17", "S63")
@pytest.mark.http
async def test_polling_more_events_than_are_handled(victim: Victim) -> None:
    session = await victim.polling()
    payload = "\x1e".join(NOTE % number for number in range(2_000))
    answered = trio.Event()

    async def post() -> None:
        await session.send(payload)
        answered.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(post)
        assert await victim.note() == 0
        await victim.settle()
        # Nobody took the notes, so handlers and inbox are full, and with them the POST waits.
        assert not answered.is_set()
        assert [await victim.note() for _ in range(1_999)] == list(range(1, 2_000))

    await session.assert_lives()


@pytest.mark.hostile("E18")
@pytest.mark.http
@pytest.mark.parametrize("settings", [{"max_http_buffer_size": 1_000}], ids=["limit-1000"])
@pytest.mark.parametrize("value", ["x" * 300, b"x" * 200, "x", "\N{WATER BUFFALO}" * 100], ids=["text", "binary", "short", "utf8"])
async def test_polling_answers_are_split(victim: Victim, value: str | bytes) -> None:
    session = await victim.polling()
    count = 10 if len(value) > 1 else 500
    for _ in range(count):
        await victim.server.to(session.socket_id).emit("x", value)

    received: list[bytes] = []
    while sum(packet[:1] == b"4" for packet in received) < count or len(received) % count:
        body = await session.poll()
        assert len(body) <= 1_000
        received += body.split(RECORD_SEPARATOR)

    assert len(received) == (2 * count if isinstance(value, bytes) else count)


@pytest.mark.hostile("E19")
@pytest.mark.parametrize("settings", [{}, {"max_http_buffer_size": 12_345}], ids=["default", "changed"])
async def test_max_payload_is_the_limit(victim: Victim, transport: str) -> None:
    limit = victim.server.config.max_http_buffer_size
    session = await victim.join(transport)
    largest = NOTE % json.dumps("x" * (limit - len(NOTE % '""')))
    assert len(largest) == limit

    assert session.opened["maxPayload"] == limit
    await session.send(largest)
    await victim.note()
    await session.assert_lives()


@pytest.mark.hostile("E20")
@pytest.mark.http
@pytest.mark.parametrize("settings", [{"limits": Limits(outbox_packets=20)}], ids=["outbox-20"])
async def test_polling_client_that_never_polls(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    for number in range(21):
        await victim.server.to(session.socket_id).emit("x", number)

    await session.assert_over("slow consumer")
    journal.expect("INFO .* ended: slow consumer")


@pytest.mark.hostile("E21")
@pytest.mark.http
async def test_polling_goodbye_waits_for_a_poll(victim: Victim) -> None:
    session = await victim.polling()

    await victim.server.to(session.socket_id).emit("x")
    await victim.server.in_(session.socket_id).disconnect_sockets(close=True)

    assert await session.fetch_goodbye() == [b'42["x"]', b"41", b"1"]
    await session.assert_over("server namespace disconnect")


@pytest.mark.hostile("E21")
@pytest.mark.http
async def test_polling_goodbye_does_not_wait_for_ever(victim: Victim, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trio_sio.engine.connection, "LINGER", 0.05)
    session = await victim.polling()

    await victim.server.in_(session.socket_id).disconnect_sockets(close=True)

    with trio.fail_after(BOUND):
        while session.sid in victim.server.engine.sessions.by_id:  # noqa: ASYNC110  # nothing tells: a poll would fetch it
            await trio.sleep(0.01)
    await session.assert_over("server namespace disconnect")

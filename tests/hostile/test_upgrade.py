"""Hostile upgrades from polling to a WebSocket: section U of the catalogue."""

from __future__ import annotations

import pytest
import trio

from tests.hostile.journal import Journal
from tests.hostile.test_websocket import TEXT, frame
from tests.hostile.victim import BOUND, CLEAN_CODES, Victim, assert_refused
from trio_sio.testing.raw import RawWebSocket, WebSocketClosed

pytestmark = pytest.mark.http

NOTE = '42["note",%s]'


async def receive(websocket: RawWebSocket) -> str | bytes:
    with trio.fail_after(BOUND):
        return await websocket.receive()


async def assert_closed(websocket: RawWebSocket) -> None:
    """Assert that the server closes ``websocket`` without a word."""
    with pytest.raises(WebSocketClosed) as closed:
        await receive(websocket)
    assert closed.value.code in CLEAN_CODES


async def assert_carries(victim: Victim, websocket: RawWebSocket) -> None:
    """Assert that ``websocket`` carries the session, in both directions."""
    await websocket.send('427["echo","new wire"]')
    assert await receive(websocket) == '437["new wire"]'


@pytest.mark.hostile("U01")
async def test_upgrade_with_a_poll_pending(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()
    poll = await session.start_poll()

    websocket = await session.probe()
    with trio.fail_after(BOUND):
        assert (await poll.receive()).body == b"6"
    await websocket.send("5")

    await assert_carries(victim, websocket)
    assert_refused(await session.get(), 3)
    assert_refused(await session.post(NOTE % 1), 3)
    victim.no_note()
    journal.expect("INFO Refused GET .*another transport", "INFO Refused POST .*another transport")


@pytest.mark.hostile("U01")
async def test_upgrade_while_a_poll_is_still_pending(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.open_probe()
    poll = await session.start_poll()

    await websocket.send("5")

    with trio.fail_after(BOUND):
        assert (await poll.receive()).body == b"6"
    await assert_carries(victim, websocket)


@pytest.mark.hostile("U02")
@pytest.mark.parametrize("settings", [{"upgrade_timeout": 2}], ids=["brisk"])
async def test_probe_that_goes_no_further(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()

    # Each poll is released, so that the client could go on.
    assert [await session.poll() for _ in range(2)] == [b"6", b"6"]

    await assert_closed(websocket)
    await session.assert_lives()
    assert (await session.probe()) is not websocket


@pytest.mark.hostile("U03")
@pytest.mark.parametrize("messages", [["5"], ["2probe", "5"]], ids=["unprobed", "at-once"])
@pytest.mark.parametrize("segments", ["many", "one"])
async def test_upgrade_without_waiting(victim: Victim, messages: list[str], segments: str) -> None:
    session = await victim.polling()
    websocket = await session.open_probe()
    frames = [frame(TEXT, message.encode()) for message in [*messages, NOTE % 1]]

    for segment in frames if segments == "many" else [b"".join(frames)]:
        await websocket.send_bytes(segment)

    if len(messages) > 1:
        assert await receive(websocket) == "3probe"
    assert await victim.note() == 1
    await assert_carries(victim, websocket)


@pytest.mark.hostile("U04")
@pytest.mark.parametrize("message", ["x", "", "7", "2", "2probex", "3probe", "6", "40", NOTE % 1, b"", b"\x01\x02"])
async def test_probe_with_something_else(victim: Victim, message: str | bytes) -> None:
    session = await victim.polling()
    websocket = await session.open_probe()

    await websocket.send(message)

    await assert_closed(websocket)
    victim.no_note()
    await session.assert_lives()


@pytest.mark.hostile("U05")
async def test_two_probes_on_one_wire(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()

    await websocket.send("2probe")

    assert await receive(websocket) == "3probe"
    await websocket.send("5")
    await assert_carries(victim, websocket)


@pytest.mark.hostile("U06")
async def test_second_wire_while_upgrading(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()

    await assert_closed(await session.open_probe())

    await websocket.send("5")
    await assert_carries(victim, websocket)


@pytest.mark.hostile("U06")
async def test_second_wire_when_upgraded(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()
    await websocket.send("5")

    await assert_closed(await session.open_probe())

    await assert_carries(victim, websocket)


@pytest.mark.hostile("U06")
async def test_second_wire_of_a_session_born_on_a_websocket(victim: Victim) -> None:
    session = await victim.websocket()

    await assert_closed(await victim.open_websocket(f"EIO=4&transport=websocket&sid={session.sid}"))

    await session.assert_lives()


@pytest.mark.hostile("U07")
async def test_upgrade_while_a_post_is_taken(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()
    count = 2_000

    async with trio.open_nursery() as nursery:
        # More than handlers and inbox take while nobody reads the notes, so the POST is under way when "5" arrives.
        nursery.start_soon(session.send, "\x1e".join(NOTE % number for number in range(count)))
        assert await victim.note() == 0
        await victim.settle()
        await websocket.send("5")
        await websocket.send(NOTE % count)
        await victim.settle()
        assert [await victim.note() for _ in range(count)] == list(range(1, count + 1))

    await assert_carries(victim, websocket)


@pytest.mark.hostile("U08")
async def test_wire_dies_while_probing(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()

    await trio.aclose_forcefully(websocket.stream)
    await victim.settle()

    await session.assert_lives()


@pytest.mark.hostile("U08")
async def test_wire_dies_when_upgraded(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()
    websocket = await session.probe()
    for number in range(3):
        await victim.server.to(session.socket_id).emit("x", number)
    await websocket.send("5")

    assert [await receive(websocket) for _ in range(3)] == [f'42["x",{number}]' for number in range(3)]
    await trio.aclose_forcefully(websocket.stream)

    assert await victim.reason(session.socket_id) == "transport close"
    assert_refused(await session.get(), 1)
    journal.expect("INFO Refused GET .*: session id")


@pytest.mark.hostile("U09")
async def test_session_ends_while_probing(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()

    await session.send("1")

    await assert_closed(websocket)
    await session.assert_over("transport close")


@pytest.mark.hostile("U09")
async def test_server_closes_while_probing(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()

    await victim.server.in_(session.socket_id).disconnect_sockets(close=True)

    # Noops let the client go on with the upgrade, as far as that could still happen.
    assert [packet for packet in await session.fetch_goodbye() if packet != b"6"] == [b"41", b"1"]
    await assert_closed(websocket)
    await session.assert_over("server namespace disconnect")


@pytest.mark.hostile("U09")
async def test_server_closes_before_the_upgrade_is_over(victim: Victim) -> None:
    session = await victim.polling()
    websocket = await session.probe()

    await victim.server.in_(session.socket_id).disconnect_sockets(close=True)
    await websocket.send("5")

    assert await websocket.receive() == "41"
    await assert_closed(websocket)
    await session.assert_over("server namespace disconnect")


@pytest.mark.hostile("U10")
async def test_probes_without_end(victim: Victim) -> None:
    session = await victim.polling()
    limit = victim.server.config.limits.failed_upgrades

    for _ in range(limit):
        await assert_closed_after_garbage(await session.open_probe())
    await session.assert_lives()
    await assert_closed_after_garbage(await session.open_probe())

    await session.assert_over("forced close")


async def assert_closed_after_garbage(websocket: RawWebSocket) -> None:
    await websocket.send("garbage")
    await assert_closed(websocket)

"""The Engine.IO 4 suite, against a server that echoes every message."""

from __future__ import annotations

import json

import pytest
import trio

from tests.conformance.raw.cases import BRISK, case
from tests.conformance.raw.peer import BOUND, CLEAN_CODES, PollingSession, RawDoor, assert_error, assert_unknown
from trio_sio.testing.raw import WebSocketClosed

SID = r"[A-Za-z0-9_-]{20}"


@case("eio-01")
async def test_polling_opens_a_session(raw_door: RawDoor) -> None:
    response = await raw_door.request("GET", "EIO=4&transport=polling")

    assert response.status == 200
    assert response.headers["content-type"].lower() == "text/plain; charset=utf-8"
    sid = json.loads(response.body[1:])["sid"]
    assert response.body.decode() == raw_door.open_packet(sid, ["websocket"])


@case("eio-02")
async def test_polling_refuses_another_protocol_version(raw_door: RawDoor) -> None:
    for query in ("transport=polling", "EIO=abc&transport=polling"):
        assert_error(await raw_door.request("GET", query), 5, "Unsupported protocol version")


@case("eio-03")
async def test_polling_refuses_an_unknown_transport(raw_door: RawDoor) -> None:
    for query in ("EIO=4", "EIO=4&transport=abc"):
        assert_error(await raw_door.request("GET", query), 0, "Transport unknown")


@case("eio-04")
async def test_polling_refuses_another_method(raw_door: RawDoor) -> None:
    for method in ("POST", "PUT"):
        assert_error(await raw_door.request(method, "EIO=4&transport=polling", body=""), 2, "Bad handshake method")


@case("eio-05")
async def test_websocket_opens_a_session(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_websocket()

    opened = await raw_door.receive(websocket)

    assert isinstance(opened, str)
    assert opened == raw_door.open_packet(json.loads(opened[1:])["sid"], [])


@case("eio-06")
async def test_websocket_refuses_another_protocol_version(raw_door: RawDoor) -> None:
    for query in ("transport=websocket", "EIO=abc&transport=websocket"):
        assert (await raw_door.refusal(query)).status == 400


@case("eio-07")
async def test_websocket_refuses_an_unknown_transport(raw_door: RawDoor) -> None:
    for query in ("EIO=4", "EIO=4&transport=abc"):
        assert (await raw_door.refusal(query)).status == 400


@case("eio-08")
async def test_polling_echoes_text(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()

    await session.send("4hello")

    assert await session.poll() == b"4hello"


@case("eio-09")
async def test_polling_echoes_several_packets_in_one_payload(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()

    await session.send("4test1\x1e4test2\x1e4test3")

    assert await session.poll() == b"4test1\x1e4test2\x1e4test3"


@case("eio-10")
async def test_polling_echoes_text_and_binary(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()

    await session.send("4hello\x1ebAQIDBA==")

    assert await session.poll() == b"4hello\x1ebAQIDBA=="


@case("eio-11")
async def test_polling_closes_upon_an_invalid_packet(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()

    assert (await session.post("abc")).status == 400

    assert_unknown(await session.get())


@case("eio-12")
async def test_polling_closes_upon_a_second_poll(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    first = await session.start_poll()

    second = await session.get()

    assert second.status == 400
    with trio.fail_after(BOUND):
        ended = await first.receive()
    assert (ended.status, ended.body) == (200, b"1")
    assert_unknown(await session.get())


@case("eio-13")
async def test_websocket_echoes_text(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send("4hello")

    assert await raw_door.receive(websocket) == "4hello"


@case("eio-14")
async def test_websocket_echoes_binary(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send(b"\x01\x02\x03\x04")

    assert await raw_door.receive(websocket) == b"\x01\x02\x03\x04"


@case("eio-15")
async def test_websocket_closes_upon_an_invalid_packet(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send("abc")

    await raw_door.wait_closed(websocket)


@case("eio-16", timing=BRISK)
async def test_polling_pings_and_takes_pongs(raw_door: RawDoor) -> None:
    await exchange_pings_by_polling(await raw_door.open_polling())


async def exchange_pings_by_polling(session: PollingSession) -> None:
    for _ in range(3):
        response = await session.get()
        assert (response.status, response.body) == (200, b"2")
        await session.send("3")


@case("eio-17", timing=BRISK)
async def test_polling_closes_without_pongs(raw_door: RawDoor) -> None:
    await let_polling_time_out(raw_door)


async def let_polling_time_out(raw_door: RawDoor) -> None:
    start = trio.current_time()
    session = await raw_door.open_polling()

    assert (await session.get()).body == b"2"
    ended = await session.get()

    assert (ended.status, ended.body) == (200, b"1")
    assert_lasted(raw_door, start)
    assert_unknown(await session.get())


def assert_lasted(raw_door: RawDoor, start: float) -> None:
    """Assert that no other reason than the ping time-out ended what began after ``start``."""
    # A little less: clients and servers round their timers differently.
    assert trio.current_time() - start > (raw_door.timing.ping_interval + raw_door.timing.ping_timeout) * 0.95


@case("eio-18", timing=BRISK)
async def test_websocket_pings_and_takes_pongs(raw_door: RawDoor) -> None:
    await exchange_pings_by_websocket(raw_door)


async def exchange_pings_by_websocket(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    for _ in range(3):
        with trio.fail_after(BOUND):
            assert await websocket.receive() == "2"
        await websocket.send("3")


@case("eio-19", timing=BRISK)
async def test_websocket_closes_without_pongs(raw_door: RawDoor) -> None:
    await let_websocket_time_out(raw_door)


async def let_websocket_time_out(raw_door: RawDoor) -> None:
    start = trio.current_time()
    websocket = await raw_door.open_session()

    with trio.fail_after(BOUND):
        assert await websocket.receive() == "2"
        with pytest.raises(WebSocketClosed) as closed:
            await websocket.receive()

    assert closed.value.code in CLEAN_CODES
    assert_lasted(raw_door, start)


@case("eio-20")
async def test_polling_takes_a_close_packet(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    polling = await session.start_poll()

    await session.send("1")

    with trio.fail_after(BOUND):
        ended = await polling.receive()
    assert (ended.status, ended.body) == (200, b"6")
    assert_unknown(await session.get())


@case("eio-21")
async def test_websocket_takes_a_close_packet(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send("1")

    await raw_door.wait_closed(websocket)


@case("eio-22")
async def test_upgrade(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    websocket = await session.probe()

    assert await session.poll() == b"6"
    await websocket.send("5")
    await websocket.send("4hello")

    assert await raw_door.receive(websocket) == "4hello"


@case("eio-23")
async def test_upgrade_ends_polling(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    websocket = await session.upgrade()
    await websocket.send("4before")
    assert await raw_door.receive(websocket) == "4before"

    assert_error(await session.get(), 3, "Bad request")

    await websocket.send("4after")
    assert await raw_door.receive(websocket) == "4after"


@case("eio-24")
async def test_upgrade_happens_once(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    websocket = await session.upgrade()
    await websocket.send("4before")
    assert await raw_door.receive(websocket) == "4before"

    # Accepted and then closed: the official suite's client would take another answer for an unhandled error.
    second = await raw_door.open_websocket(f"EIO=4&transport=websocket&sid={session.sid}")
    await raw_door.wait_closed(second)

    await websocket.send("4after")
    assert await raw_door.receive(websocket) == "4after"


@case("eio-25")
async def test_polling_closes_upon_an_aborted_poll(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    polling = await session.start_poll()

    await trio.aclose_forcefully(polling.stream)
    await raw_door.settle()

    assert_unknown(await session.get())

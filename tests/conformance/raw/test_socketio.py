"""The Socket.IO 5 suite, against the application in `apps.socket_server`."""

from __future__ import annotations

import json

import trio

from tests.conformance.raw.cases import BRISK, case
from tests.conformance.raw.peer import BOUND, RawDoor, assert_error, assert_unknown
from tests.conformance.raw.test_engineio import (
    exchange_pings_by_polling,
    exchange_pings_by_websocket,
    let_polling_time_out,
    let_websocket_time_out,
)
from trio_sio.testing.raw import RawWebSocket


async def open_main(raw_door: RawDoor) -> RawWebSocket:
    """Return a WebSocket that has joined the main namespace and received what that sends."""
    websocket = await raw_door.open_session()
    await websocket.send("40")
    await assert_joined(raw_door, websocket, "40", '42["auth",{}]')
    return websocket


async def assert_joined(raw_door: RawDoor, websocket: RawWebSocket, prefix: str, event: str) -> None:
    """Assert that CONNECT with nothing but the socket's id comes, and then ``event``."""
    connected = await raw_door.receive(websocket)
    assert isinstance(connected, str)
    assert connected.startswith(prefix)
    handshake = json.loads(connected.removeprefix(prefix))
    assert list(handshake) == ["sid"]
    assert isinstance(handshake["sid"], str)
    assert await raw_door.receive(websocket) == event


@case("sio-01")
async def test_polling_opens_a_session(raw_door: RawDoor) -> None:
    response = await raw_door.request("GET", "EIO=4&transport=polling")

    assert response.status == 200
    sid = json.loads(response.body[1:])["sid"]
    assert response.body.decode() == raw_door.open_packet(sid, ["websocket"])


@case("sio-02")
async def test_polling_refuses_another_protocol_version(raw_door: RawDoor) -> None:
    for query in ("transport=polling", "EIO=abc&transport=polling"):
        assert_error(await raw_door.request("GET", query), 5, "Unsupported protocol version")


@case("sio-03")
async def test_polling_refuses_an_unknown_transport(raw_door: RawDoor) -> None:
    for query in ("EIO=4", "EIO=4&transport=abc"):
        assert_error(await raw_door.request("GET", query), 0, "Transport unknown")


@case("sio-04")
async def test_polling_refuses_another_method(raw_door: RawDoor) -> None:
    for method in ("POST", "PUT"):
        assert_error(await raw_door.request(method, "EIO=4&transport=polling", body=""), 2, "Bad handshake method")


@case("sio-05")
async def test_websocket_opens_a_session(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_websocket()

    opened = await raw_door.receive(websocket)

    assert isinstance(opened, str)
    assert opened == raw_door.open_packet(json.loads(opened[1:])["sid"], [])


@case("sio-06")
async def test_websocket_refuses_another_protocol_version(raw_door: RawDoor) -> None:
    for query in ("transport=websocket", "EIO=abc&transport=websocket"):
        assert (await raw_door.refusal(query)).status == 400


@case("sio-07")
async def test_websocket_refuses_an_unknown_transport(raw_door: RawDoor) -> None:
    for query in ("EIO=4", "EIO=4&transport=abc"):
        assert (await raw_door.refusal(query)).status == 400


@case("sio-08", timing=BRISK)
async def test_polling_pings_and_takes_pongs(raw_door: RawDoor) -> None:
    await exchange_pings_by_polling(await raw_door.open_polling())


@case("sio-09", timing=BRISK)
async def test_polling_closes_without_pongs(raw_door: RawDoor) -> None:
    await let_polling_time_out(raw_door)


@case("sio-10", timing=BRISK)
async def test_websocket_pings_and_takes_pongs(raw_door: RawDoor) -> None:
    await exchange_pings_by_websocket(raw_door)


@case("sio-11", timing=BRISK)
async def test_websocket_closes_without_pongs(raw_door: RawDoor) -> None:
    await let_websocket_time_out(raw_door)


@case("sio-12")
async def test_polling_takes_a_close_packet(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    polling = await session.start_poll()

    await session.send("1")

    with trio.fail_after(BOUND):
        ended = await polling.receive()
    assert (ended.status, ended.body) == (200, b"6")
    assert_unknown(await session.get())


@case("sio-13")
async def test_websocket_takes_a_close_packet(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send("1")

    await raw_door.wait_closed(websocket)


@case("sio-14")
async def test_upgrade(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()

    websocket = await session.upgrade()

    await websocket.send("40")
    await assert_joined(raw_door, websocket, "40", '42["auth",{}]')


@case("sio-15")
async def test_upgrade_ends_polling(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    websocket = await session.upgrade()
    await websocket.send("40")
    await assert_joined(raw_door, websocket, "40", '42["auth",{}]')

    assert_error(await session.get(), 3, "Bad request")


@case("sio-16")
async def test_upgrade_happens_once(raw_door: RawDoor) -> None:
    session = await raw_door.open_polling()
    await session.upgrade()

    second = await raw_door.open_websocket(f"EIO=4&transport=websocket&sid={session.sid}")

    await raw_door.wait_closed(second)


@case("sio-17")
async def test_connect_to_the_main_namespace(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send("40")

    await assert_joined(raw_door, websocket, "40", '42["auth",{}]')


@case("sio-18")
async def test_connect_to_the_main_namespace_with_a_payload(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send('40{"token":"123"}')

    await assert_joined(raw_door, websocket, "40", '42["auth",{"token":"123"}]')


@case("sio-19")
async def test_connect_to_a_custom_namespace(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send("40/custom,")

    await assert_joined(raw_door, websocket, "40/custom,", '42/custom,["auth",{}]')


@case("sio-20")
async def test_connect_to_a_custom_namespace_with_a_payload(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send('40/custom,{"token":"abc"}')

    await assert_joined(raw_door, websocket, "40/custom,", '42/custom,["auth",{"token":"abc"}]')


@case("sio-21")
async def test_connect_to_an_unknown_namespace(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send("40/random")

    assert await raw_door.receive(websocket) == '44/random,{"message":"Invalid namespace"}'


@case("sio-22")
async def test_closes_upon_an_invalid_handshake(raw_door: RawDoor) -> None:
    websocket = await raw_door.open_session()

    await websocket.send("4abc")

    await raw_door.wait_closed(websocket)


@case("sio-23", connect_timeout=0.4)
async def test_closes_without_a_handshake(raw_door: RawDoor) -> None:
    start = trio.current_time()
    websocket = await raw_door.open_session()

    await raw_door.wait_closed(websocket)

    assert trio.current_time() - start > 0.38


@case("sio-24")
async def test_disconnect_from_the_main_namespace(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)

    await websocket.send("41")

    # The connection stays: the next thing that is heard of it is a ping.
    with trio.fail_after(BOUND):
        assert await websocket.receive() == "2"


@case("sio-25")
async def test_disconnect_from_a_custom_namespace(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)
    await websocket.send("40/custom")
    await assert_joined(raw_door, websocket, "40/custom,", '42/custom,["auth",{}]')

    await websocket.send("41/custom")
    await websocket.send('42["message","message to main namespace"]')

    assert await raw_door.receive(websocket) == '42["message-back","message to main namespace"]'


@case("sio-26")
async def test_message_of_text(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)

    await websocket.send('42["message",1,"2",{"3":[true]}]')

    assert await raw_door.receive(websocket) == '42["message-back",1,"2",{"3":[true]}]'


@case("sio-27")
async def test_message_with_attachments(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)

    await websocket.send('452-["message",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    await websocket.send(b"\x01\x02\x03")
    await websocket.send(b"\x04\x05\x06")

    assert [await raw_door.receive(websocket) for _ in range(3)] == [
        '452-["message-back",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        b"\x01\x02\x03",
        b"\x04\x05\x06",
    ]


@case("sio-28")
async def test_message_of_text_with_ack(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)

    await websocket.send('42456["message-with-ack",1,"2",{"3":[false]}]')

    assert await raw_door.receive(websocket) == '43456[1,"2",{"3":[false]}]'


@case("sio-29")
async def test_message_with_attachments_and_ack(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)

    await websocket.send('452-789["message-with-ack",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
    await websocket.send(b"\x01\x02\x03")
    await websocket.send(b"\x04\x05\x06")

    assert [await raw_door.receive(websocket) for _ in range(3)] == [
        '462-789[{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]',
        b"\x01\x02\x03",
        b"\x04\x05\x06",
    ]


@case("sio-30")
async def test_closes_upon_an_unknown_packet_type(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)

    await websocket.send("4abc")

    await raw_door.wait_closed(websocket)


@case("sio-31")
async def test_closes_upon_an_invalid_payload(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)

    await websocket.send("42{}")

    await raw_door.wait_closed(websocket)


@case("sio-32")
async def test_closes_upon_an_invalid_ack_id(raw_door: RawDoor) -> None:
    websocket = await open_main(raw_door)

    await websocket.send('42abc["message-with-ack",1,"2",{"3":[false]}]')

    await raw_door.wait_closed(websocket)

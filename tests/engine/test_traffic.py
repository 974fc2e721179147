"""The lines about packets: what they tell, and what they keep to themselves."""

from __future__ import annotations

import logging
import re

import pytest

from trio_sio import EngineServer, Route, RoutingTable, Session, on_message
from trio_sio.engine.traffic import Traffic
from trio_sio.testing import open_test_server

LOGGER = "trio_sio.packets"
SECRET = "s3cret"


class Echo:
    @on_message("echo")
    def echo(self, *values: object) -> tuple[object, ...]:
        return values


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the lines, without the session id that is in each of them."""
    texts = [record.getMessage() for record in caplog.records if record.name == LOGGER]
    return [re.sub(r"^Connection \S{6}… ", "", text) for text in texts]


async def test_a_line_per_packet_in_each_direction(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    async with open_test_server(RoutingTable(Route("/", Echo()), Route("/chat", Echo()))) as server:
        async with server.strict_client() as client:
            assert await client.emit_with_ack("echo", SECRET) == SECRET
            assert await client.emit_with_ack("echo", SECRET.encode()) == SECRET.encode()
            await server.server.emit("news", {"of": SECRET})  # type: ignore[union-attr]
            assert await client.once("news") == ({"of": SECRET},)
        over_websocket = lines(caplog)
        async with server.client(namespace="/chat", auth={"token": SECRET}, transports=["polling"]) as polling:
            assert await polling.emit_with_ack("echo", SECRET) == SECRET
    assert over_websocket == [
        "sends '0…' (107 B)",
        "received '40' (2 B)",
        "sends '40…' (32 B)",
        "received '420[\"echo\"…' (20 B)",
        "sends '430…' (13 B)",
        "received '451-1[\"echo\"…' (43 B)",
        "received a binary message (6 B)",
        "sends '461-1…' (42 B)",
        "sends '42[\"news\"…' (26 B)",
    ]
    over_polling = lines(caplog)[len(over_websocket) :]
    assert over_polling[1:5] == [
        "received '40/chat,…' (26 B)",
        "sends '40/chat,…' (38 B)",
        "received '42/chat,0[\"echo\"…' (26 B)",
        "sends '43/chat,0…' (19 B)",
    ]
    assert SECRET not in caplog.text


@pytest.mark.parametrize(
    ("packet", "shown"),
    [
        (b"2", "2"),
        (b"2probe", "2…"),
        (b"40", "40"),
        (b'40{"token":"s3cret"}', "40…"),
        (b'40/chat,{"token":"s3cret"}', "40/chat,…"),
        (b'40/chat{"token":"s3cret"}', "40/chat…"),
        (b"41/chat,", "41/chat,"),
        (b'42["say","s3cret"]', '42["say"…'),
        (b'42/chat,13["say","s3cret"]', '42/chat,13["say"…'),
        (b'42["\\"s\\\\","s3cret"]', '42["\\\\"s\\\\\\\\"…'),
        (b'42[13,"s3cret"]', "42…"),
        (b'431["s3cret"]', "431…"),
        (b'44{"message":"s3cret"}', "44…"),
        (b'452-/chat,7["say",{"_placeholder":true,"num":0}]', '452-/chat,7["say"…'),
        (b'461-7[{"_placeholder":true,"num":0}]', "461-7…"),
        (b"4s3cret", "4…"),
        (b"s3cret", "…"),
        (b"", ""),
        (b'42["\x1b[2J\xff"]', '42["\\x1b[2J�"…'),
        (b'42["' + b"x" * 1_000 + b'"]', "42…"),
    ],
)
def test_what_a_line_shows_of_a_packet(packet: bytes, shown: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)
    Traffic(is_socketio=True).received("0123456789", packet)
    assert caplog.messages == [f"Connection 012345… received '{shown}' ({len(packet)} B)"]


async def test_what_messages_say_is_the_applications(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, LOGGER)

    async def echo(session: Session) -> None:
        async for message in session:
            await session.send(message)

    async with open_test_server(EngineServer(echo)) as server, await server.websocket() as client:
        assert str(await client.receive()).startswith("0{")
        for message in ('42["s3cret"]', "4123456"):
            await client.send(message)
            assert await client.receive() == message
    assert lines(caplog)[1:5] == ["received '4…' (12 B)", "sends '4…' (12 B)", "received '4…' (7 B)", "sends '4…' (7 B)"]


async def test_nobody_pays_for_lines_that_nobody_wants(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, LOGGER)
    async with open_test_server(RoutingTable(Route("/", Echo()))) as server, server.strict_client() as client:
        assert await client.emit_with_ack("echo", 1) == 1
    assert lines(caplog) == []

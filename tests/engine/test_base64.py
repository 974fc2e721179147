"""Clients that have no binary messages (Node: ``forceBase64``): what they write, and what they ask for with ``b64=1``."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_sio import Config, EngineServer, Server, Session, Socket
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.testing import InMemoryServer, RawWebSocket, open_test_server

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"
CONFIG = Config(path="/socket.io")


async def serve(session: Session) -> None:
    async for message in session:
        await session.send(message)


async def open_websocket(server: InMemoryServer, query: str) -> RawWebSocket:
    client = await RawWebSocket.open(await server.connect_stream(), WEBSOCKET + query)
    await client.receive()
    return client


@pytest.mark.parametrize(
    ("query", "answer"),
    [("", b"\x00\xff"), ("&b64=", b"\x00\xff"), ("&b64=1", "bAP8="), ("&b64=true", "bAP8=")],
)
@pytest.mark.parametrize("message", [b"\x00\xff", "bAP8="], ids=["binary", "text"])
async def test_a_binary_message_is_taken_in_both_forms_and_sent_as_was_asked(
    message: str | bytes, query: str, answer: str | bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_test_server(EngineServer(serve, config=CONFIG)) as server:
        client = await open_websocket(server, query)
        await client.send(message)
        assert await client.receive() == answer
        await client.send("4text")
        assert await client.receive() == "4text"
        await trio.aclose_forcefully(client.stream)


async def test_an_event_with_attachments_is_text_only_and_in_order(autojump_clock: trio.testing.MockClock) -> None:
    server = Server(config=CONFIG)

    @server.on("mirror")
    async def mirror(socket: Socket, *args: object) -> tuple[object, ...]:
        await socket.emit("mirrored", *args)
        await server.emit("all", *args)
        return args

    async with open_test_server(server) as in_memory:
        client = await open_websocket(in_memory, "&b64=1")
        await client.send("40")
        await client.receive()
        for packet in ('452-7["mirror",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]', "bAAEC", "bAw=="):
            await client.send(packet)
        received = [await client.receive() for _ in range(9)]

        places = '{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}'
        assert received == [
            *(f'452-["mirrored",{places}]', "bAAEC", "bAw=="),
            *(f'452-["all",{places}]', "bAAEC", "bAw=="),
            *(f"462-7[{places}]", "bAAEC", "bAw=="),
        ]
        await trio.aclose_forcefully(client.stream)


def test_what_has_no_attachments_is_framed_once_for_all() -> None:
    packet = EncodedPacket(b"4text")

    assert packet.without_binary() == [packet]


@pytest.mark.parametrize("compress", [None, True, False])
def test_each_message_is_a_packet_with_the_same_wish_for_compression(compress: bool | None) -> None:
    parts = EncodedPacket(b"451-[]", (b"\x00", b""), compress=compress).without_binary()

    assert [list(part.messages()) for part in parts] == [["451-[]"], ["bAA=="], ["b"]]
    assert {part.compress for part in parts} == {compress}

"""What peers would refuse raises where it is emitted, and nothing is sent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, Join, open_namespaces
from trio_sio import Ack, Config, ConnectionRefused, EncodeError, Limits
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import ATTACHMENTS

Clock = trio.testing.MockClock  # every time-out passes at once


async def emit_nowait(socket: Socket, *args: object) -> None:
    socket.emit_nowait("x", *args)


async def broadcast_nowait(socket: Socket, *args: object) -> None:
    socket.namespace.emit_nowait("x", *args)


SENDERS: list[Callable[..., Awaitable[Any]]] = [
    lambda socket, *args: socket.emit("x", *args),
    emit_nowait,
    lambda socket, *args: socket.emit_with_ack("x", *args),
    lambda socket, *args: Ack(socket._core, 7)(*args),
    lambda socket, *args: socket.namespace.emit("x", *args),
    broadcast_nowait,
    lambda socket, *args: socket.volatile("key").emit("x", *args),
    lambda socket, *args: socket.namespace.emit_with_ack("x", *args),
]


def test_the_default_is_what_peers_accept() -> None:
    assert Limits().attachments == ATTACHMENTS == 10


@pytest.mark.hostile("R43")
@pytest.mark.parametrize("send", SENDERS)
@pytest.mark.parametrize("limit", [2, 10, 12])
async def test_one_attachment_too_many_raises_and_nothing_is_sent(
    send: Callable[..., Awaitable[Any]], limit: int, autojump_clock: Clock
) -> None:
    handler = Handler()
    async with open_namespaces(handler, Config(limits=Limits(attachments=limit))) as server, server.strict_client() as client:
        with pytest.raises(EncodeError, match=rf"{limit + 1} attachments, .* accepts {limit} .* Limits\.attachments"):
            await send(handler.socket, [b"x"] * (limit + 1))
        await handler.socket.emit("x", [b"x"] * limit)

        assert (await client.receive()).args == ([b"x"] * limit,)
        assert client.pending == ()


async def test_msgpack_has_no_attachments(autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler, Config(parser="msgpack")) as server, server.strict_client() as client:
        await handler.socket.emit("x", [b"x"] * 100)

        assert (await client.receive()).args == ([b"x"] * 100,)


@pytest.mark.parametrize(("limit", "attachments", "fits"), [(10, 10, True), (10, 11, False), (12, 12, True)])
async def test_our_client_raises_likewise(limit: int, attachments: int, fits: bool, autojump_clock: Clock) -> None:
    handler = Handler()
    async with open_namespaces(handler, Config(limits=Limits(attachments=limit))) as server, server.client() as client:
        if fits:
            await client.emit("x", [b"x"] * attachments)
        else:
            with pytest.raises(EncodeError, match="in our client: max_attachments"):
                await client.emit("x", [b"x"] * attachments)
        await client.emit("end")
        await trio.testing.wait_all_tasks_blocked()

        assert [len(event) for event in handler.events] == ([2, 1] if fits else [1])
        assert client.connected


async def test_a_refusal_is_no_larger_than_an_outbox(autojump_clock: Clock, caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(socket: Socket, join: Join) -> None:
        raise ConnectionRefused("no", data="x" * 1_000)

    async with open_namespaces(Handler(connect=refuse), Config(limits=Limits(outbox_bytes=500))) as server:
        with pytest.raises(ConnectionRefused) as caught:
            async with server.client():
                pass
    assert caught.value.data is None
    assert "The data of a refusal cannot be sent" in caplog.text


async def test_nor_is_what_is_held_back_until_connect(autojump_clock: Clock) -> None:
    async def greet(socket: Socket, join: Join) -> None:
        large = "x" * 500
        with pytest.raises(EncodeError, match="an outbox holds 500"):
            await socket.emit("x", large)
        with pytest.raises(EncodeError, match="an outbox holds 500"):
            socket.emit_nowait("x", large)
        join()

    handler = Handler(connect=greet)
    async with open_namespaces(handler, Config(limits=Limits(outbox_bytes=500))) as server, server.strict_client() as client:
        await handler.socket.emit("end")
        assert (await client.receive()).name == "end"

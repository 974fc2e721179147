"""Frames in both directions, as the WebSocket transport sees them."""

from __future__ import annotations

import os
from collections.abc import Awaitable, Callable
from functools import partial

import pytest
import trio
import trio.testing
from websockets.frames import Opcode

from tests.client.fake_server import Connection, open_fake_server, open_packet
from tests.client.sessions import open_session
from trio_sio.client.session import SessionClosed
from trio_sio.protocol.engineio import text_message
from trio_sio.protocol.frames import EncodedPacket


async def serve(connection: Connection, say: Callable[[Connection], Awaitable[None]]) -> None:
    await connection.accept(await connection.request())
    await connection.send_message(open_packet().decode())
    await say(connection)
    await connection.wait_ended()


async def received(say: Callable[[Connection], Awaitable[None]], count: int) -> list[str | bytes]:
    """Return the messages that arrive when the server has said something."""
    async with (
        open_fake_server(lambda connection: serve(connection, say)) as target,
        open_session(target, transports=["websocket"], close_timeout=1) as session,
    ):
        return [await session.receive() for _ in range(count)]


async def test_what_comes_with_the_handshake_is_not_lost(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        opened = open_packet()
        behind = bytes((0x81, 126)) + len(opened).to_bytes(2, "big") + opened + b"\x81\x02" + b"4a" + b"\x82\x01\x07"
        await connection.accept(await connection.request(), behind=behind)
        await connection.wait_ended()

    async with open_fake_server(script) as target, open_session(target, transports=["websocket"], close_timeout=1) as session:
        assert [await session.receive(), await session.receive()] == ["a", b"\7"]


async def test_messages_in_fragments_and_in_pieces(autojump_clock: trio.testing.MockClock) -> None:
    async def say(connection: Connection) -> None:
        frames = b"\x01\x02" + b"4\xc3" + b"\x89\x01p" + b"\x80\x01" + b"\xbc" + b"\x02\x01a" + b"\x00\x00" + b"\x80\x01b"
        for position in range(len(frames)):
            await connection.send(frames[position : position + 1])

    assert await received(say, 2) == ["ü", b"ab"]


async def test_pings_of_the_websocket_are_answered_with_the_last_ones_data(autojump_clock: trio.testing.MockClock) -> None:
    pongs: list[bytes] = []

    async def say(connection: Connection) -> None:
        for data in (b"\x89\x01a", b"\x89\x01b\x89\x01c"):
            await connection.send(data)
            frame = await connection.frame()
            assert frame.opcode is Opcode.PONG
            pongs.append(bytes(frame.data))
        await connection.send(b"\x8a\x01z")  # and pongs are not
        await connection.send_message("4end")

    assert await received(say, 1) == ["end"]
    assert pongs == [b"a", b"c"]


@pytest.mark.parametrize("amid", [b"", b"\x01\x01" + b"4"], ids=["between messages", "amid a message"])
@pytest.mark.parametrize(("frame", "code"), [(b"\x88\x00", 1005), (b"\x88\x02\x03\xe8", 1000), (b"\x88\x05\x03\xe9bye", 1001)])
async def test_a_close_frame_is_answered(amid: bytes, frame: bytes, code: int, autojump_clock: trio.testing.MockClock) -> None:
    answers: list[tuple[int, bytes]] = []

    async def say(connection: Connection) -> None:
        await connection.send_message("4before")
        await connection.send(amid + frame)
        answer = await connection.frame()
        answers.append((answer.opcode, bytes(answer.data)))

    async with (
        open_fake_server(lambda connection: serve(connection, say)) as target,
        open_session(target, transports=["websocket"]) as session,
    ):
        assert await session.receive() == "before"
        with pytest.raises(SessionClosed) as caught:
            await session.receive()
        assert caught.value.reason == "transport close"
        assert caught.value.detail == f"the server closed the WebSocket with code {code}"
        await trio.sleep(1.5)
    assert [opcode for opcode, _ in answers] == [8]


async def test_our_close_frame_has_a_code_and_the_answer_is_awaited(autojump_clock: trio.testing.MockClock) -> None:
    frames: list[tuple[int, bytes]] = []

    async def say(connection: Connection) -> None:
        frame = await connection.frame()
        frames.append((frame.opcode, bytes(frame.data)))
        await trio.sleep(2)
        # What is under way may still come, and a ping is not answered behind the close frame.
        await connection.send(b"\x81\x02" + b"4x" + b"\x89\x00" + b"\x88\x02\x03\xe8")
        with pytest.raises(trio.EndOfChannel):
            await connection.frame()

    async with open_fake_server(lambda connection: serve(connection, say)) as target:
        async with open_session(target, transports=["websocket"], close_timeout=5):
            await trio.sleep(1)
            start = trio.current_time()
        assert trio.current_time() - start == pytest.approx(2)
    assert frames == [(Opcode.CLOSE, b"\x03\xe8")]


async def test_cancelling_waits_a_moment_for_the_answer(autojump_clock: trio.testing.MockClock) -> None:
    async def say(connection: Connection) -> None:
        assert (await connection.frame()).opcode is Opcode.CLOSE
        await trio.sleep(0.5)
        await connection.send(b"\x88\x02\x03\xe8")

    async with open_fake_server(lambda connection: serve(connection, say)) as target:
        with trio.move_on_after(10) as scope:
            async with open_session(target, transports=["websocket"]):
                start = trio.current_time()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert trio.current_time() - start == pytest.approx(10.5)


async def test_a_dropped_connection(autojump_clock: trio.testing.MockClock) -> None:
    async def say(connection: Connection) -> None:
        await connection.send(b"\x81\x02" + b"4a" + b"\x81\x05" + b"4")
        await connection.stream.aclose()

    async with (
        open_fake_server(lambda connection: serve(connection, say)) as target,
        open_session(target, transports=["websocket"]) as session,
    ):
        assert await session.receive() == "a"
        with pytest.raises(SessionClosed) as caught:
            await session.receive()
        assert caught.value.reason == "transport close"


async def test_a_packet_and_its_attachments_leave_together_and_masked(autojump_clock: trio.testing.MockClock) -> None:
    raw = bytearray()

    async def say(connection: Connection) -> None:
        while b"\x88" not in raw[-8:]:
            raw.extend(await connection.stream.receive_some())

    payload = os.urandom(50)
    async with (
        open_fake_server(lambda connection: serve(connection, say)) as target,
        open_session(target, transports=["websocket"], close_timeout=1) as session,
    ):
        await session.send(EncodedPacket(b"451-", [payload, b""]))
        await session.send(text_message("x"))
    assert [raw[0], raw[1]] == [0x81, 0x80 | 4]
    assert [raw[10], raw[11]] == [0x82, 0x80 | 50]
    assert payload not in raw


async def test_others_get_a_turn_while_many_packets_leave(autojump_clock: trio.testing.MockClock) -> None:
    count = 2_000
    taken: list[str | bytes] = []
    turns = 0

    async def say(connection: Connection) -> None:
        while len(taken) < count:
            taken.append(await connection.message())

    async def others() -> None:
        nonlocal turns
        while not done.is_set():
            turns += 1
            await trio.lowlevel.checkpoint()

    done = trio.Event()
    async with (
        open_fake_server(lambda connection: serve(connection, say), lambda stream: stream) as target,
        open_session(target, transports=["websocket"], close_timeout=1) as session,
    ):
        await trio.testing.wait_all_tasks_blocked()
        send_many = partial(session.session._transport.send, [text_message(str(number)) for number in range(count)])
        async with trio.open_nursery() as nursery:
            nursery.start_soon(others)
            await send_many()
            done.set()
        await trio.sleep(1)
    assert taken == [f"4{number}" for number in range(count)]
    assert turns > count // 256


async def test_a_write_that_was_cut_short_is_the_last(autojump_clock: trio.testing.MockClock) -> None:
    taken = bytearray()

    async def say(connection: Connection) -> None:
        taken.extend(await connection.stream.receive_some(10))
        # Neither these pongs nor a close frame may follow the ten bytes of a frame, also when the session is cancelled.
        await connection.send(b"\x81\x012" + b"\x89\x01a")
        await trio.sleep(20)
        while data := await connection.stream.receive_some():
            taken.extend(data)

    async with open_fake_server(lambda connection: serve(connection, say)) as target:
        with trio.move_on_after(10) as scope:
            async with open_session(target, transports=["websocket"]) as session:
                await session.send(text_message("x" * 15_000))
                await trio.sleep_forever()
        assert scope.cancelled_caught
        await trio.sleep(20)
    # One piece of the frame at most: it was in the stream already.
    assert len(taken) in (10, 15_000 + 9)

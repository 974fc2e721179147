"""What goes into the requests of a polling session."""

from __future__ import annotations

import itertools

import pytest
import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.client.fake_server import Connection, open_fake_server, open_packet
from tests.client.sessions import open_session
from trio_sio.client.session import SessionClosed
from trio_sio.protocol.engineio import decode_payload, encode_payloads, text_message
from trio_sio.protocol.frames import EncodedPacket

packets = st.lists(
    st.builds(
        EncodedPacket,
        st.text(st.characters(exclude_characters="\x1e", exclude_categories=["Cs"]), max_size=40).map(lambda text: b"4" + text.encode()),
        st.lists(st.binary(max_size=40), max_size=3),
    ),
    max_size=10,
)


@given(packets, st.integers(1, 200))
def test_payloads_hold_all_packets_in_order_and_as_many_as_fit(packets: list[EncodedPacket], limit: int) -> None:
    bodies = list(encode_payloads(packets, limit))
    received = [record for body in bodies for record in decode_payload(body)]
    expected = []
    for packet in packets:
        assert packet.text is not None
        expected += [(False, packet.text), *((True, attachment) for attachment in packet.attachments)]
    assert received == expected
    for body in bodies:
        assert len(body) <= limit or b"\x1e" not in body
    for body, following in itertools.pairwise(bodies):
        assert len(body) + 1 + len(following) > limit


async def test_the_server_says_how_much_a_request_may_hold(autojump_clock: trio.testing.MockClock) -> None:
    bodies: list[bytes] = []

    async def script(connection: Connection) -> None:
        while True:
            request = await connection.request()
            if "sid" not in request.query:
                await connection.respond(open_packet(maxPayload=100))
            elif request.method == "POST":
                assert request.headers["content-type"] == "text/plain;charset=UTF-8"
                bodies.append(request.body)
                await trio.sleep(1)
                await connection.respond()
            else:
                await trio.sleep_forever()

    async with open_fake_server(script) as target, open_session(target, transports=["polling"], close_timeout=20) as session:
        for number in range(10):
            await session.send(text_message(f"{number}" + "x" * 30))
        await session.send(text_message("y" * 200))
    messages = [f"4{number}{'x' * 30}" for number in range(10)]
    everything = b"\x1e".join(bodies).decode().split("\x1e")
    assert everything == [*messages, "4" + "y" * 200, "1"]
    assert max(map(len, bodies[:-2])) <= 100
    assert len(bodies) <= 7


@pytest.mark.parametrize("answers", [True, False])
async def test_a_post_may_take_long_while_it_comes_on_but_its_answer_may_not(answers: bool, autojump_clock: trio.testing.MockClock) -> None:
    taken = b""
    taken_at = 0.0
    polled = False

    async def poll(connection: Connection) -> None:
        await connection.request()
        await connection.respond(open_packet(pingInterval=5_000, pingTimeout=3_000))
        while True:
            await connection.request()
            await trio.sleep(4)
            await connection.respond(b"2")

    async def script(connection: Connection) -> None:
        nonlocal polled, taken, taken_at
        if not polled:
            polled = True
            await poll(connection)
        while not taken.endswith(b"xlast"):
            taken += await connection.stream.receive_some(4_096)
            await trio.sleep(1)
        taken_at = trio.current_time()
        if answers:
            await trio.sleep(6)
            await connection.send(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        await trio.sleep_forever()

    async with open_fake_server(script) as target, open_session(target, transports=["polling"], close_timeout=1) as session:
        await session.send(text_message("x" * 200_000 + "last"))
        if answers:
            await trio.sleep(60)
            assert session.closed is None
            assert 45 < taken_at < 53
        else:
            with pytest.raises(SessionClosed, match="the server did not answer a POST within 8 seconds"):
                await session.receive()
            assert trio.current_time() - taken_at == pytest.approx(7)  # it slept for a second behind the last byte


async def test_a_connection_for_a_post_that_never_comes(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        await connection.request()
        await connection.respond(open_packet(pingInterval=5_000, pingTimeout=3_000))
        while True:
            await connection.request()
            await trio.sleep(4)
            await connection.respond(b"2")

    async def hang() -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError("should never complete")

    async with open_fake_server(script) as target, open_session(target, transports=["polling"], close_timeout=1) as session:
        await trio.sleep(1)
        target.connect_stream = hang  # type: ignore[method-assign]  # from now on nobody answers
        await session.send(text_message("x"))
        with pytest.raises(SessionClosed, match="the server did not answer a POST within 8 seconds"):
            await session.receive()
        assert trio.current_time() == pytest.approx(9)

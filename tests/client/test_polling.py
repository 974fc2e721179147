"""What goes into the requests of a polling session."""

from __future__ import annotations

import itertools

import trio
import trio.testing
from hypothesis import given
from hypothesis import strategies as st

from tests.client.fake_server import Connection, open_fake_server, open_packet
from trio_sio.client.polling import payloads
from trio_sio.client.session import open_session
from trio_sio.protocol.engineio import decode_payload, text_message
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
    bodies = list(payloads(packets, limit))
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

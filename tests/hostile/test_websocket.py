"""Hostile WebSocket frames: section W of the catalogue.

The framing is ours at the native door only. Where a host does it, what is left of this section is that a session ends with
its wire, and who waits for whom.
"""

from __future__ import annotations

import contextlib
import random
import socket
import struct
from typing import Final

import pytest
import trio

from tests.hostile.http import hang_up
from tests.hostile.journal import Journal
from tests.hostile.victim import BOUND, CLEAN_CODES, WEBSOCKET, Victim, WebSocketSession, native_only
from trio_sio import Limits

CONT, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

ECHO: Final = b'427["echo",1]'
ANSWER: Final = b"\x81\x06437[1]"

NO_CLOSE_FRAME: Final = 1006


def frame(opcode: int, payload: bytes, *, fin: bool = True) -> bytes:
    """Return one masked frame, with a key that leaves the payload readable."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else struct.pack("!BH", 0xFE, size) if size < 65_536 else struct.pack("!BQ", 0xFF, size)
    return bytes([fin << 7 | opcode]) + length + bytes(4) + payload


def expect_violation(journal: Journal) -> None:
    journal.expect("INFO .* ended: transport error")


async def assert_violation(session: WebSocketSession, journal: Journal, *codes: int) -> None:
    """Assert that the session ends because its client broke the rules of RFC 6455.

    Args:
      session: Whose client did.
      journal: Where to expect the line that says so.
      codes: With which of them we close. A host may hang up without any, and tells us nothing but that.
    """
    if session.victim.is_native:
        expect_violation(journal)
        await session.assert_over("transport error", *codes)
    else:
        await session.assert_over("transport close", NO_CLOSE_FRAME, *codes)


async def read_exactly(session: WebSocketSession, size: int) -> bytes:
    """Return the next ``size`` bytes of the wire, below the client of the session."""
    data = b""
    with trio.fail_after(BOUND):
        while len(data) < size:
            received = await session.websocket.stream.receive_some(size - len(data))
            assert received, data
            data += received
    return data


@pytest.mark.hostile("W01")
async def test_a_violation_ends_the_session_although_the_client_holds_on(victim: Victim, journal: Journal) -> None:
    session = await victim.websocket()

    await session.websocket.send_frame(TEXT, b'42["note",1]', masked=False)

    if victim.is_native:
        expect_violation(journal)
        assert await session.closed() == 1002
        assert await victim.reason(session.socket_id) == "transport error"
    else:
        assert await session.closed() in (1002, NO_CLOSE_FRAME)
        assert await victim.reason(session.socket_id) == "transport close"


@pytest.mark.hostile("W01")
@pytest.mark.parametrize("opcode", [TEXT, BINARY, PING, CLOSE])
async def test_unmasked_frame(victim: Victim, journal: Journal, opcode: int) -> None:
    session = await victim.websocket()

    await session.websocket.send_frame(opcode, b'42["note",1]' if opcode == TEXT else b"", masked=False)

    await assert_violation(session, journal, 1002)
    victim.no_note()


@pytest.mark.hostile("W02")
@pytest.mark.parametrize("reserved", [4, 2, 1, 7])
async def test_reserved_bits(victim: Victim, journal: Journal, reserved: int) -> None:
    session = await victim.websocket()

    await session.websocket.send_frame(TEXT, b'42["note",1]', reserved=reserved)

    await assert_violation(session, journal, 1002)
    victim.no_note()


@pytest.mark.hostile("W03")
@pytest.mark.parametrize("opcode", [3, 4, 5, 6, 7, 11, 12, 13, 14, 15])
async def test_unknown_opcode(victim: Victim, journal: Journal, opcode: int) -> None:
    session = await victim.websocket()

    await session.websocket.send_frame(opcode, b"")

    await assert_violation(session, journal, 1002)


@pytest.mark.hostile("W04", "W15")
@pytest.mark.parametrize("opcode", [PING, PONG, CLOSE])
@pytest.mark.parametrize(("size", "fin"), [(0, False), (2, False), (126, True), (65_536, True)])
async def test_control_frame_in_parts_or_too_long(victim: Victim, journal: Journal, opcode: int, size: int, fin: bool) -> None:
    session = await victim.websocket()

    await session.websocket.send_frame(opcode, b"\x03\xe8" + b"x" * (size - 2) if size else b"", fin=fin)

    await assert_violation(session, journal, 1002)


@pytest.mark.hostile("W05")
@pytest.mark.parametrize("frames", [[(CONT, True)], [(CONT, False)], [(TEXT, False), (TEXT, True)], [(TEXT, False), (BINARY, False)]])
async def test_fragments_out_of_order(victim: Victim, journal: Journal, frames: list[tuple[int, bool]]) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(b"".join(frame(opcode, b"4", fin=fin) for opcode, fin in frames))

    await assert_violation(session, journal, 1002)


@pytest.mark.hostile("W06")
async def test_ping_between_fragments(victim: Victim) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(frame(TEXT, b"427[", fin=False) + frame(CONT, b'"echo', fin=False) + frame(PING, b"now"))
    assert await read_exactly(session, 5) == b"\x8a\x03now"
    await session.websocket.send_bytes(frame(CONT, b"", fin=False) + frame(CONT, b'",1]'))

    assert await read_exactly(session, len(ANSWER)) == ANSWER


@pytest.mark.hostile("W07")
@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"])
@pytest.mark.parametrize("split", [False, True], ids=["whole", "split"])
async def test_text_that_is_not_utf8(victim: Victim, journal: Journal, text: bytes, split: bool) -> None:
    session = await victim.websocket()
    payload = b'42["note","' + text + b'"]'

    if split:
        await session.websocket.send_bytes(frame(TEXT, payload[:12], fin=False) + frame(CONT, payload[12:]))
    else:
        await session.websocket.send_bytes(frame(TEXT, payload))

    await assert_violation(session, journal, 1007)
    victim.no_note()


@pytest.mark.hostile("W07")
async def test_code_point_across_fragments(victim: Victim) -> None:
    session = await victim.websocket()
    payload = '42["note","\N{WATER BUFFALO}"]'.encode()

    await session.websocket.send_bytes(frame(TEXT, payload[:13], fin=False) + frame(CONT, payload[13:]))

    assert await victim.note() == "\N{WATER BUFFALO}"


@pytest.mark.hostile("W08")
@native_only
@pytest.mark.parametrize(
    ("length", "code"),
    [(1_000_001, 1009), (2**53 + 1, 1009), (2**62, 1009), (2**63, 1002), (2**64 - 1, 1002)],
    ids=lambda value: f"{value:x}",
)
@pytest.mark.parametrize("opcode", [TEXT, BINARY, CONT])
async def test_announced_length(victim: Victim, journal: Journal, length: int, code: int, opcode: int) -> None:
    session = await victim.websocket()

    head = struct.pack("!BBQ", 0x80 | opcode, 0xFF, length) + bytes(4)
    await session.websocket.send_bytes((frame(TEXT, b"4", fin=False) if opcode == CONT else b"") + head)

    await session.assert_over("transport error", code, 1009)
    expect_violation(journal)


@pytest.mark.hostile("W08")
@pytest.mark.parametrize("settings", [{"max_http_buffer_size": 1_000}], ids=["limit-1000"])
@pytest.mark.parametrize("opcode", [TEXT, BINARY])
async def test_message_over_the_limit(victim: Victim, journal: Journal, opcode: int) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(frame(opcode, b'42["note","' + b"x" * 988 + b'"]'))

    await session.assert_over("transport error", 1009)
    victim.no_note()
    expect_violation(journal)


@pytest.mark.hostile("W09")
@pytest.mark.parametrize("settings", [{"max_http_buffer_size": 1_000}], ids=["limit-1000"])
async def test_sum_of_fragments(victim: Victim, journal: Journal) -> None:
    session = await victim.websocket()
    largest = b'42["note","' + b"x" * 987 + b'"]'
    assert len(largest) == 1_000

    await session.websocket.send_bytes(frame(TEXT, largest[:500], fin=False) + frame(CONT, largest[500:]))
    assert await victim.note() == "x" * 987
    await session.websocket.send_bytes(frame(TEXT, largest[:500], fin=False) + frame(CONT, largest[500:], fin=False) + frame(CONT, b" "))

    await session.assert_over("transport error", 1009)
    victim.no_note()
    expect_violation(journal)


@pytest.mark.hostile("W10")
@native_only
@pytest.mark.parametrize("payload", [b"", b"x"], ids=["empty", "byte"])
async def test_fragments_without_end(victim: Victim, journal: Journal, payload: bytes) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(frame(TEXT, b"4", fin=False) + frame(CONT, payload, fin=False) * 20_000)

    await session.assert_over("transport error", 1008, 1009)
    expect_violation(journal)


@pytest.mark.hostile("W11")
async def test_byte_by_byte(victim: Victim) -> None:
    session = await victim.websocket()

    for byte in frame(TEXT, ECHO) + frame(TEXT, b'42["note",', fin=False) + frame(PING, b"x") + frame(CONT, b"2]"):
        await session.websocket.send_bytes(bytes([byte]))
        await trio.lowlevel.checkpoint()

    assert await read_exactly(session, len(ANSWER) + 3) == ANSWER + b"\x8a\x01x"
    assert await victim.note() == 2


@pytest.mark.hostile("W12")
@native_only
@pytest.mark.parametrize("length", [b"\xfe\x00\x0d", b"\xff" + (13).to_bytes(8, "big")], ids=["16", "64"])
async def test_longer_form_of_a_length(victim: Victim, length: bytes) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(b"\x81" + length + bytes(4) + ECHO)

    assert await session.receive() == "437[1]"


@pytest.mark.hostile("W13", "W16")
@pytest.mark.parametrize("payload", [b"", b"\x03\xe8", b"\x03\xe9bye", b"\x0b\xb8", b"\x13\x87" + b"x" * 123])
async def test_close_frame(victim: Victim, payload: bytes) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(frame(TEXT, b'42["note",1]') + frame(CLOSE, payload) + frame(TEXT, b'42["note",2]'))

    expected = bytes([0x88, len(payload)]) + payload
    assert await read_exactly(session, len(expected)) == expected
    assert await victim.reason(session.socket_id) == "transport close"
    assert await victim.note() == 1
    victim.no_note()


@pytest.mark.hostile("W14", "W15")
@pytest.mark.parametrize(
    ("payload", "code"),
    [(b"\x03", 1002), *((code.to_bytes(2, "big"), 1002) for code in (0, 999, 1005, 1006, 1015, 5000, 65_535)), (b"\x03\xe8\xff", 1007)],
)
async def test_bad_close_frame(victim: Victim, journal: Journal, payload: bytes, code: int) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(frame(CLOSE, payload))

    await assert_violation(session, journal, code)


@pytest.mark.hostile("W17")
@pytest.mark.parametrize("data", [b"", b"\x81", b"\x81\xff\x00", frame(TEXT, ECHO)[:-1], frame(TEXT, b"4", fin=False)])
async def test_end_of_the_stream(victim: Victim, data: bytes) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(data)
    assert isinstance(session.websocket.stream, trio.SocketStream)
    await session.websocket.stream.send_eof()

    assert await victim.reason(session.socket_id) == "transport close"


@pytest.mark.hostile("W18")
async def test_reset_at_every_byte(victim: Victim) -> None:
    upgrade = (
        f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    ).encode()
    # A host takes no frames before it has answered the handshake (H49).
    data = upgrade + frame(TEXT, b"40") if victim.is_native else upgrade

    for length in range(len(data) + 1):
        stream = await victim.connect()
        await stream.send_all(data[:length])
        await hang_up(stream, reset=True)


@pytest.mark.hostile("W18")
async def test_reset_at_every_byte_of_a_frame(victim: Victim) -> None:
    data = frame(TEXT, ECHO) + frame(TEXT, b'42["note",1]')

    for length in range(len(data)):
        session = await victim.websocket()
        await session.websocket.send_bytes(data[:length])
        await hang_up(session.websocket.stream, reset=True)
        assert await victim.reason(session.socket_id) == "transport close"

    victim.no_note()


@pytest.mark.hostile("W19")
@native_only
async def test_pings_without_end(victim: Victim) -> None:
    session = await victim.websocket()
    last = b"last" + b"x" * 121

    await session.websocket.send_bytes(frame(PING, b"x" * 125) * 19_999 + frame(PING, last))

    received = b""
    with trio.fail_after(BOUND):
        while not received.endswith(b"\x8a\x7d" + last):
            received += await session.websocket.stream.receive_some(65_536)
    pongs, rest = divmod(len(received), 127)
    assert rest == 0
    assert pongs < 10_000
    await session.websocket.send_bytes(frame(TEXT, ECHO))
    assert await read_exactly(session, len(ANSWER)) == ANSWER


@pytest.mark.hostile("W20")
async def test_unsolicited_pong_frames(victim: Victim) -> None:
    session = await victim.websocket()

    await session.websocket.send_bytes(frame(PONG, b"") * 5_000 + frame(PONG, b"x" * 125))

    await session.assert_lives()


@pytest.mark.hostile("W21")
@pytest.mark.parametrize(
    "settings", [{"limits": Limits(outbox_bytes=1_000_000), "close_timeout": 0.3, "write_stall_timeout": 0.5}], ids=["outbox-1M"]
)
async def test_client_that_does_not_read(victim: Victim, journal: Journal) -> None:
    session = await victim.websocket()

    for _ in range(1_000):
        await victim.server.to(session.socket_id).emit("x", "x" * 100_000)
        # The kernel's buffers are filled, then the outbox.
        await trio.lowlevel.checkpoint()
        if session.socket_id in victim.reasons:
            break

    assert await victim.reason(session.socket_id) == "slow consumer"
    journal.expect("INFO .* ended: slow consumer")


@pytest.mark.hostile("W21")
@pytest.mark.parametrize(
    "settings", [{"limits": Limits(outbox_bytes=64_000_000), "write_stall_timeout": 0.3, "close_timeout": 0.3}], ids=["brisk"]
)
async def test_write_without_progress(victim: Victim) -> None:
    session = await victim.websocket()

    for _ in range(300):
        await victim.server.to(session.socket_id).emit("x", "x" * 100_000)

    # An ASGI host ends the connection and does not say why.
    assert await victim.reason(session.socket_id) == ("transport close" if victim.door == "asgi" else "transport error")


@pytest.mark.parametrize("settings", [{"limits": Limits(outbox_packets=1_000), "close_timeout": 0.3}], ids=["outbox-1000"])
@pytest.mark.parametrize("reads", [False, True], ids=["leaves", "reads then"])
async def test_client_that_asks_and_does_not_read_the_answers(victim: Victim, reads: bool, journal: Journal) -> None:
    # A host has a queue of its own for what the client asks, and is in the midst of filling it when all is over.
    session = await victim.websocket()
    questions = frame(TEXT, b"40/%s," % (b"x" * 250)) * 200

    with trio.fail_after(BOUND), contextlib.suppress(trio.BrokenResourceError):
        while session.socket_id not in victim.reasons:
            await session.websocket.stream.send_all(questions)

    assert await victim.reason(session.socket_id) == "slow consumer"
    if reads:
        with trio.fail_after(BOUND), contextlib.suppress(trio.BrokenResourceError):
            while await session.websocket.stream.receive_some(1 << 20):
                pass
    journal.expect("INFO .* ended: slow consumer")


@pytest.mark.hostile("W22")
@pytest.mark.parametrize("settings", [{"limits": Limits(outbox_bytes=64_000_000, outbox_age=1), "close_timeout": 0.3}], ids=["1-second"])
async def test_client_that_reads_one_byte_at_a_time(victim: Victim, journal: Journal) -> None:
    session = await victim.websocket()

    # More than the kernel takes, and a fraction of what the outbox does.
    for _ in range(300):
        await victim.server.to(session.socket_id).emit("x", "x" * 100_000)

    with trio.fail_after(BOUND):
        while session.socket_id not in victim.reasons:
            assert len(await session.websocket.stream.receive_some(1)) == 1
            await trio.sleep(0.01)
    assert victim.reasons[session.socket_id] == "slow consumer"
    journal.expect(r"INFO .* ended: slow consumer \(its oldest packet has waited for Limits\.outbox_age\)")


@pytest.mark.hostile("W26")
@pytest.mark.parametrize("settings", [{"close_timeout": 0.2}], ids=["brisk"])
async def test_client_that_does_not_answer_a_close_frame(victim: Victim) -> None:
    session = await victim.websocket()

    await victim.server.in_(session.socket_id).disconnect_sockets(close=True)

    received = b""
    with trio.fail_after(BOUND):
        while data := await session.websocket.stream.receive_some(100):
            received += data
    assert received[:4] == b"\x81\x0241"
    assert received[4:] in (b"\x88\x00", b"\x88\x02\x03\xe8")
    assert await victim.reason(session.socket_id) == "server namespace disconnect"


@pytest.mark.hostile("W27")
@pytest.mark.parametrize("settings", [{"ping_interval": 0.1, "ping_timeout": 0.4}], ids=["brisk"])
async def test_data_instead_of_pongs(victim: Victim) -> None:
    session = await victim.websocket()
    start = trio.current_time()
    pings = 0

    while session.socket_id not in victim.reasons:
        await session.send('427["echo",1]')
        while (message := await session.receive()) == "2":
            pings += 1
        assert message == "437[1]"
        with trio.move_on_after(0.05):
            await victim.reason(session.socket_id)

    assert await session.closed() in CLEAN_CODES
    assert victim.reasons[session.socket_id] == "ping timeout"
    assert pings == 1
    # The first packet behind the ping restarted its time-out, the others did not.
    assert 0.5 <= trio.current_time() - start < BOUND


@pytest.mark.hostile("W29")
@pytest.mark.parametrize("seed", range(20))
async def test_segments(victim: Victim, seed: int) -> None:
    session = await victim.websocket()
    chance = random.Random(seed)
    large = "x" * 70_000
    data = b"".join(
        [
            frame(TEXT, b'42["note",1]') + frame(TEXT, b'451-["note",{"_placeholder":true,"num":0}]') + frame(BINARY, b"\x00\xff"),
            frame(TEXT, b'42["no', fin=False) + frame(PING, b"") + frame(CONT, b'te",', fin=False) + frame(PONG, b"") + frame(CONT, b"3]"),
            frame(TEXT, f'42["note","{large}"]'.encode()) + frame(TEXT, b"3") + frame(TEXT, '42["note","\N{WATER BUFFALO}"]'.encode()),
        ]
    )
    assert isinstance(session.websocket.stream, trio.SocketStream)
    session.websocket.stream.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    while data:
        size = chance.choice([1, 1, 2, 3, 7, 50, 1_000, 40_000])
        await session.websocket.send_bytes(data[:size])
        data = data[size:]
        await trio.lowlevel.checkpoint()

    assert [await victim.note() for _ in range(5)] == [1, b"\x00\xff", 3, large, "\N{WATER BUFFALO}"]
    victim.no_note()

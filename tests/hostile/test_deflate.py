"""Hostile compression: rows W23 to W25 of the catalogue, and the header that asks for it. An ASGI host compresses on its own."""

from __future__ import annotations

import json
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

import pytest
import trio
from websockets.extensions.permessage_deflate import PerMessageDeflate as Extension

from tests.hostile.journal import Journal
from tests.hostile.test_websocket import BINARY, CLOSE, CONT, PING, PONG, TEXT, expect_violation, frame
from tests.hostile.victim import BOUND, Victim, WebSocketSession, native_only
from trio_sio import PerMessageDeflate
from trio_sio.doors.native import deflate
from trio_sio.doors.native.deflate import Deflate

pytestmark = native_only
ON: Final = {"per_message_deflate": True}
TAKEOVER: Final = {"per_message_deflate": PerMessageDeflate(server_no_context_takeover=False, client_no_context_takeover=False)}
compressing = pytest.mark.parametrize("settings", [ON], ids=["on"])
either_way = pytest.mark.parametrize("settings", [ON, TAKEOVER], ids=["on", "takeover"])

LIMIT: Final = 1_000_000  # Config.max_http_buffer_size
COMPRESSED: Final = 4  # RSV1 among the three reserved bits

NOTE: Final = b'42["note","%s"]'


def compress(payload: bytes) -> bytes:
    compressor = zlib.compressobj(9, wbits=-15)
    return (compressor.compress(payload) + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4]


@pytest.fixture(scope="module")
def bomb() -> bytes:
    """Return a hundred times what is allowed, compressed: before the server runs, which would stand still meanwhile."""
    return compress(bytes(100 * LIMIT))


async def agreed(victim: Victim, offer: str = "permessage-deflate") -> WebSocketSession:
    """A session that may compress."""
    websocket = await victim.open_websocket(headers={"Sec-WebSocket-Extensions": offer})
    with trio.fail_after(BOUND):
        opened = json.loads(str(await websocket.receive())[1:])
        await websocket.send("40")
        connected = json.loads(str(await websocket.receive())[2:])
    session = WebSocketSession(victim, websocket, opened, connected["sid"])
    await session.assert_lives()
    return session


async def agreed_header(victim: Victim, offer: str) -> str | None:
    """What the server answers to ``offer`` when it opens a WebSocket."""
    with trio.fail_after(BOUND):
        http = await victim.http()
        fields = {"Connection": "Upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "A" * 22 + "=="}
        await http.send("GET", "/socket.io/?EIO=4&transport=websocket", headers=fields | {"Sec-WebSocket-Extensions": offer})
        response = await http.receive()
        assert response.status == 101
    return response.headers.get("sec-websocket-extensions")


@contextmanager
def allocating_less_than(size: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield
        assert tracemalloc.get_traced_memory()[1] - before < size
    finally:
        tracemalloc.stop()


@pytest.mark.hostile("W23")
@either_way
async def test_bomb(victim: Victim, journal: Journal, bomb: bytes) -> None:
    session = await agreed(victim)
    assert len(bomb) < LIMIT // 10

    # What was inflated, its copy in one piece, and everything else that the server and the bystander do meanwhile.
    with allocating_less_than(4 * LIMIT):
        await session.websocket.send_frame(BINARY, bomb, reserved=COMPRESSED)
        assert await session.closed() == 1009

    await session.assert_over("transport error", 1009)
    expect_violation(journal)


@pytest.mark.hostile("W23")
@either_way
@pytest.mark.parametrize("filled", [0, LIMIT - 1, LIMIT], ids=["empty", "almost full", "full"])
async def test_bomb_behind_fragments(victim: Victim, journal: Journal, bomb: bytes, filled: int) -> None:
    session = await agreed(victim)
    first = compress(bytes(filled)) + b"\x00\x00\xff\xff"

    with allocating_less_than(6 * LIMIT):
        await session.websocket.send_frame(BINARY, first, fin=False, reserved=COMPRESSED)
        await session.websocket.send_frame(CONT, bomb)
        assert await session.closed() == 1009

    await session.assert_over("transport error", 1009)
    expect_violation(journal)


@pytest.mark.hostile("W23")
@compressing
async def test_what_inflates_to_the_limit_passes(victim: Victim) -> None:
    session = await agreed(victim)
    note = NOTE % (b"x" * (LIMIT - len(NOTE % b"")))
    assert len(note) == LIMIT

    await session.websocket.send_frame(TEXT, compress(note), reserved=COMPRESSED)

    assert await victim.note() == "x" * (LIMIT - len(NOTE % b""))


# Nothing in it, in as many bytes as one likes; and the end of a stream, with which nothing has to end.
EMPTY_BLOCK: Final = b"\x00\x00\x00\xff\xff"
EMPTY_FINAL_BLOCK: Final = b"\x03\x00"


@pytest.mark.hostile("W24")
@either_way
async def test_empty_blocks(victim: Victim) -> None:
    session = await agreed(victim)
    blocks = EMPTY_BLOCK * (LIMIT // 10)
    note = compress(NOTE % b"after")

    for _ in range(4):
        await session.websocket.send_frame(TEXT, blocks + note, reserved=COMPRESSED)
        assert await victim.note() == "after"
    fragments = [frame(CONT, blocks[:1_000], fin=False) for _ in range(400)]
    await session.websocket.send_frame(TEXT, blocks[:1_000], fin=False, reserved=COMPRESSED)
    await session.websocket.send_bytes(b"".join(fragments) + frame(CONT, note))
    assert await victim.note() == "after"


@pytest.mark.hostile("W24")
@either_way
async def test_many_streams(victim: Victim, journal: Journal) -> None:
    session = await agreed(victim)

    await session.websocket.send_frame(TEXT, EMPTY_FINAL_BLOCK * 15 + compress(NOTE % b"after"), reserved=COMPRESSED)
    assert await victim.note() == "after"
    await session.websocket.send_frame(BINARY, EMPTY_FINAL_BLOCK * (LIMIT // 2), reserved=COMPRESSED)

    await session.assert_over("transport error", 1007)
    expect_violation(journal)


class CountingZlib:
    """Stands in for zlib where messages are decompressed, and counts the bytes that it is given."""

    error = zlib.error

    def __init__(self) -> None:
        self.given = 0

    def decompressobj(self, wbits: int) -> Any:
        counting, real = self, zlib.decompressobj(wbits)

        class Counted:
            eof = property(lambda _: real.eof)
            unused_data = property(lambda _: real.unused_data)

            def decompress(self, data: bytes, max_length: int) -> bytes:
                counting.given += len(data)
                assert max_length > 0
                return real.decompress(data, max_length)

        return Counted()


@pytest.mark.hostile("W24")
@pytest.mark.parametrize(
    "piece", [EMPTY_BLOCK, EMPTY_FINAL_BLOCK, EMPTY_FINAL_BLOCK * 15 + EMPTY_BLOCK * 50], ids=["empty", "final", "both"]
)
@pytest.mark.parametrize("size", [10_000, 100_000, 1_000_000])
def test_the_work_is_linear(door: str, monkeypatch: pytest.MonkeyPatch, piece: bytes, size: int) -> None:
    monkeypatch.setattr(deflate, "zlib", counting := CountingZlib())
    half = Deflate(Extension(False, False, 15, 15), 0)
    received = 0
    try:
        while received < size:
            frame = piece * max(1, size // (4 * len(piece)))
            received += len(frame)
            half.inflate(frame, LIMIT, last=False)
    except zlib.error as error:
        assert str(error) == "too many final blocks"  # noqa: PT017  # either end is allowed, and each is bounded

    assert counting.given <= 16 * received


@pytest.mark.hostile("W24")
def test_the_time_per_byte_does_not_grow(door: str) -> None:
    def seconds(size: int) -> float:
        fastest = 10.0
        for _ in range(5):
            half, data = Deflate(Extension(False, False, 15, 15), 0), EMPTY_BLOCK * (size // len(EMPTY_BLOCK))
            start = time.process_time()
            half.inflate(data, LIMIT, last=True)
            fastest = min(fastest, time.process_time() - start)
        return fastest

    # Ten times as much: quadratic would be a hundredfold.
    assert seconds(10 * LIMIT) < 40 * seconds(LIMIT)


@pytest.mark.hostile("W25")
@compressing
@pytest.mark.parametrize(
    "offer",
    [
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=-9",
        "permessage-deflate; server_max_window_bits=99999999999999999999",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; client_max_window_bits=0",
        "permessage-deflate; server_max_window_bits=10; server_max_window_bits=10",
    ],
)
async def test_bad_window(victim: Victim, journal: Journal, offer: str) -> None:
    assert await agreed_header(victim, offer) is None
    session = await agreed(victim, offer)

    await session.websocket.send_frame(TEXT, compress(NOTE % b"1"), reserved=COMPRESSED)

    await session.assert_over("transport error", 1002)
    expect_violation(journal)


@pytest.mark.hostile("W25")
@either_way
@pytest.mark.parametrize("fragmented", [False, True], ids=["whole", "fragmented"])
@pytest.mark.parametrize(
    "data",
    [b"\xff\xff\xff", b"\x07", bytes(range(256)), zlib.compress(NOTE % b"1"), compress(NOTE % b"1" * 50)[:-8] + b"\x06\x00garbage"],
    ids=["block type", "reserved", "stored", "zlib's own format", "half a message"],
)
async def test_corrupted_stream(victim: Victim, journal: Journal, data: bytes, fragmented: bool) -> None:
    session = await agreed(victim)

    if fragmented:
        await session.websocket.send_frame(TEXT, data[:1], fin=False, reserved=COMPRESSED)
        await session.websocket.send_frame(CONT, data[1:])
    else:
        await session.websocket.send_frame(TEXT, data, reserved=COMPRESSED)

    await session.assert_over("transport error", 1007)
    victim.no_note()
    expect_violation(journal)


@pytest.mark.hostile("W25")
@compressing
async def test_a_context_that_was_not_agreed_on(victim: Victim, journal: Journal) -> None:
    session = await agreed(victim)
    compressor = zlib.compressobj(9, wbits=-15)
    first, second = ((compressor.compress(NOTE % b"12345678") + compressor.flush(zlib.Z_SYNC_FLUSH))[:-4] for _ in range(2))

    await session.websocket.send_frame(TEXT, first, reserved=COMPRESSED)
    assert await victim.note() == "12345678"
    await session.websocket.send_frame(TEXT, second, reserved=COMPRESSED)

    await session.assert_over("transport error", 1007)
    expect_violation(journal)


@pytest.mark.hostile("W25", "W02")
@either_way
@pytest.mark.parametrize("opcode", [CONT, PING, PONG, CLOSE])
@pytest.mark.parametrize("amid", [False, True], ids=["alone", "amid a message"])
async def test_compressed_bit_where_it_has_no_place(victim: Victim, journal: Journal, opcode: int, amid: bool) -> None:
    session = await agreed(victim)

    if amid:
        await session.websocket.send_frame(TEXT, compress(NOTE % b"1"), fin=False, reserved=COMPRESSED)
    await session.websocket.send_frame(opcode, b"", reserved=COMPRESSED)

    await session.assert_over("transport error", 1002)
    victim.no_note()
    expect_violation(journal)


@pytest.mark.hostile("W02")
@compressing
@pytest.mark.parametrize("reserved", [1, 2, 3, 5, 6, 7])
async def test_other_reserved_bits(victim: Victim, journal: Journal, reserved: int) -> None:
    session = await agreed(victim)

    await session.websocket.send_frame(TEXT, compress(NOTE % b"1"), reserved=reserved)

    await session.assert_over("transport error", 1002)
    victim.no_note()
    expect_violation(journal)


@pytest.mark.hostile("H52")
@pytest.mark.parametrize("settings", [{}, {"per_message_deflate": True}], ids=["off", "on"])
@pytest.mark.parametrize("offer", ["", ";;;", "permessage-deflate; =", 'a; b="', "a b", "permessage-deflate\t;", "x" * 4_000 + "/"])
async def test_unreadable_offers(victim: Victim, journal: Journal, offer: str) -> None:
    if victim.server.config.per_message_deflate:
        response = await victim.refusal("EIO=4&transport=websocket", {"Sec-WebSocket-Extensions": offer})
        assert response.status == 400
        assert response.body == b"Sec-WebSocket-Extensions must be a list of extensions and their parameters.\n"
    else:
        assert await agreed_header(victim, offer) is None


@pytest.mark.hostile("H52")
@compressing
@pytest.mark.parametrize("offer", ["x; y=z, unheard-of", "permessage-deflate; unheard_of", ", ".join(["permessage-deflate; a"] * 600)])
async def test_offers_that_cannot_be_met(victim: Victim, offer: str) -> None:
    assert await agreed_header(victim, offer) is None
    session = await agreed(victim, offer)

    await session.assert_lives()

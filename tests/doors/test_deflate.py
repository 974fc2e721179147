"""permessage-deflate at the native door: what is agreed on, what comes in whatever the pieces, what goes out and in which order."""

from __future__ import annotations

import random
import zlib
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

import pytest
import trio
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.exceptions import InvalidHeader
from websockets.extensions.permessage_deflate import PerMessageDeflate as Extension
from websockets.frames import Frame
from websockets.protocol import Protocol, Side

from tests.doors.test_websocket import CONFIG, MemoryWire, through_the_pipe
from tests.protocol.client_frames import FRAGMENTS, LIMIT, Message, Result, Sink, close_code, cut, frame
from trio_sio import Config, EngineServer, PerMessageDeflate, Server, Session, Socket
from trio_sio.doors.native.deflate import Deflate, negotiate
from trio_sio.doors.native.websocket import NativePipe
from trio_sio.errors import ProtocolViolation
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.testing import open_test_server
from trio_sio.testing.raw import RawWebSocket, UpgradeRefused

BROWSER: Final = "permessage-deflate; client_max_window_bits"
OFFER: Final = {"Sec-WebSocket-Extensions": BROWSER}
SIZE: Final = "server_max_window_bits=12; client_max_window_bits=12"
ALONE: Final = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"
TAKEOVER: Final = PerMessageDeflate(threshold=0, server_no_context_takeover=False, client_no_context_takeover=False)
TAIL: Final = b"\x00\x00\xff\xff"

WORDS: Final = b"It was the best of times, it was the worst of times. "


# Negotiation.


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        (BROWSER, f"{ALONE}; {SIZE}"),
        ("permessage-deflate", f"{ALONE}; server_max_window_bits=12"),
        ("permessage-deflate; server_no_context_takeover; server_max_window_bits=10", f"{ALONE}; server_max_window_bits=10"),
        ("permessage-deflate; client_max_window_bits=9", f"{ALONE}; server_max_window_bits=12; client_max_window_bits=9"),
        ('permessage-deflate; server_max_window_bits="9"', f"{ALONE}; server_max_window_bits=9"),
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", f"{ALONE}; server_max_window_bits=12"),
        (f"x-webkit-deflate-frame, {BROWSER}, permessage-deflate", f"{ALONE}; {SIZE}"),
        ("permessage-deflate; server_max_window_bits=8", ""),
        ("permessage-deflate; server_max_window_bits", ""),
        ("permessage-deflate; server_max_window_bits=16", ""),
        ("permessage-deflate; server_max_window_bits=012", ""),
        ("permessage-deflate; server_no_context_takeover=1", ""),
        ("permessage-deflate; client_max_window_bits; client_max_window_bits", ""),
        ("permessage-deflate; unheard_of", ""),
        ("permessage-bzip2", ""),
    ],
)
def test_the_first_offer_that_can_be_met_is_accepted(offers: str, answer: str) -> None:
    header, deflate = negotiate(offers, PerMessageDeflate())

    assert header == answer
    assert (deflate is not None) == bool(answer)


def test_contexts_are_kept_if_both_sides_want_it() -> None:
    assert negotiate(BROWSER, TAKEOVER)[0] == f"permessage-deflate; {SIZE}"
    assert negotiate(f"{BROWSER}; server_no_context_takeover", TAKEOVER)[0] == f"permessage-deflate; server_no_context_takeover; {SIZE}"


@pytest.mark.parametrize("offers", ["", ";", "permessage-deflate;", "permessage-deflate; =", 'a; b="', "a b", "é", "a" * 50 + "\x00"])
def test_what_is_no_list_of_offers_is_an_error(offers: str) -> None:
    with pytest.raises(InvalidHeader):
        negotiate(offers, PerMessageDeflate())


# What comes in.


class Compressor:
    """A client's half: what makes the payloads, and what the server agreed on."""

    def __init__(self, *, takeover: bool = True, bits: int = 15, level: int = 6, memory: int = 8) -> None:
        self.server = Deflate(Extension(not takeover, False, bits, 12), 0)
        self._options = level, zlib.DEFLATED, -bits, memory
        self._takeover = takeover
        self._compressor = zlib.compressobj(*self._options)

    def compress(self, payload: bytes) -> bytes:
        if not self._takeover:
            self._compressor = zlib.compressobj(*self._options)
        compressed = self._compressor.compress(payload) + self._compressor.flush(zlib.Z_SYNC_FLUSH)
        assert compressed.endswith(TAIL)
        return compressed[:-4]

    def frames(self, opcode: int, payload: bytes, places: Sequence[int] = (), *, compressed: bool = True) -> list[bytes]:
        """A message in as many frames as ``places`` make."""
        pieces = list(cut(self.compress(payload) if compressed else payload, places)) or [b""]
        return [
            frame(0 if number else opcode, piece, fin=number == len(pieces) - 1, reserved=4 if compressed and not number else 0)
            for number, piece in enumerate(pieces)
        ]


async def through(pieces: Sequence[bytes], deflate: Deflate | None = None, config: Config = CONFIG) -> Result:
    """What `through_the_pipe` does, over a pipe that can decompress."""
    wire, sink = MemoryWire(pieces), Sink()
    pipe, violation = NativePipe(wire, config, b"", deflate or Compressor().server), False
    try:
        await pipe.pump(sink, lambda: None)
    except ProtocolViolation:
        violation = True
    await pipe.send([])
    return Result(sink.messages, close_code(wire.sent), violation)


messages = st.tuples(
    st.sampled_from([1, 2]),
    st.one_of(st.text(max_size=40).map(str.encode), st.integers(0, LIMIT).map(lambda size: (WORDS * 4)[:size])),
    st.lists(st.integers(0, 300), max_size=FRAGMENTS - 1),
    st.booleans(),
)


@given(sent=st.lists(messages, max_size=6), takeover=st.booleans(), bits=st.integers(9, 15), places=st.lists(st.integers(0, 2_000)))
@example(sent=[(1, WORDS, [], True), (2, WORDS, [5, 9], True)] * 3, takeover=True, bits=12, places=[*range(400)])
@example(sent=[(1, b"", [], True), (1, WORDS, [1], False), (2, b"", [0], True), (1, WORDS, [], True)], takeover=True, bits=9, places=[])
async def test_messages_arrive_as_they_were_sent_however_they_are_cut(
    sent: list[tuple[int, bytes, list[int], bool]], takeover: bool, bits: int, places: list[int]
) -> None:
    client = Compressor(takeover=takeover, bits=bits)
    data = b"".join(
        b"".join(client.frames(opcode, payload, borders, compressed=compressed)) + frame(9, b"?")
        for opcode, payload, borders, compressed in sent
    )

    expected: list[Message] = [("text" if opcode == 1 else "binary", payload) for opcode, payload, _, _ in sent]
    assert await through(list(cut(data, places)), client.server) == Result(expected, None, False)


@pytest.mark.parametrize(
    "payloads",
    [
        ["f248cdc9c90700"],
        ["f248cd", "c9c90700"],
        ["f248cdc9c90700", "f2001100 00"],
        ["000500faff48656c6c6f00"],
        ["f348cdc9c9070000"],
        ["f248050000 00ffffcac9c90700"],
        ["f348cdc9c90700", "00"],
        ["03000300f348cdc9c9070000"],
    ],
    ids=["one block", "fragmented", "with a context", "not compressed", "final block", "two blocks", "cut behind a final block", "empty"],
)
async def test_the_examples_of_the_rfc(payloads: list[str]) -> None:
    """RFC 7692, section 7.2.3, which all say "Hello"."""
    parts = [bytes.fromhex(payload) for payload in payloads]
    if len(parts) > 1 and not parts[1].startswith(b"\xf2\x00"):
        sent = [frame(1, parts[0], fin=False, reserved=4), frame(0, parts[1])]
    else:
        sent = [frame(1, part, reserved=4) for part in parts]

    hellos: list[Message] = [("text", b"Hello")] * sum(piece[0] & 0x40 != 0 for piece in sent)
    assert await through(sent) == Result(hellos, None, False)


async def test_a_final_block_ends_no_more_than_a_stream() -> None:
    final, usual = frame(1, bytes.fromhex("f348cdc9c9070000"), reserved=4), frame(1, bytes.fromhex("f248cdc9c90700"), reserved=4)

    assert await through([final, usual, final, final, usual]) == Result([("text", b"Hello")] * 5, None, False)


@pytest.mark.parametrize("places", [[], [1], [40]], ids=["whole", "cut early", "cut late"])
@pytest.mark.parametrize("payload", [(WORDS * 4)[:LIMIT], random.Random(7).randbytes(LIMIT)], ids=["words", "noise"])
async def test_a_message_at_the_limit_passes_and_one_byte_more_does_not(payload: bytes, places: list[int]) -> None:
    client = Compressor(memory=1)
    assert len(payload) == LIMIT
    sent = [*client.frames(2, payload, places), *client.frames(2, payload + b"x", places)]

    assert await through(sent, client.server) == Result([("binary", payload)], 1009, True)


async def test_what_is_not_compressed_has_the_same_limit() -> None:
    whole, parts = [frame(2, b"x" * (LIMIT + 1))], [frame(2, b"x" * LIMIT, fin=False), frame(0, b"x")]

    assert await through(whole) == Result([], 1009, True)
    assert await through(parts) == Result([], 1009, True)


async def test_fragments_that_fill_the_limit_leave_room_for_nothing_more() -> None:
    client = Compressor()
    full = client.compress(b"x" * LIMIT) + TAIL
    end, bomb = b"\x00", client.compress(bytes(20_000))

    assert await through([frame(2, full, fin=False, reserved=4), frame(0, end)]) == Result([("binary", b"x" * LIMIT)], None, False)
    assert await through([frame(2, full, fin=False, reserved=4), frame(0, bomb)], client.server) == Result([], 1009, True)


class Counting(Deflate):
    """Counts the bytes that it has inflated."""

    inflated = 0

    def inflate(self, data: bytes, most: int, *, last: bool) -> bytes:
        inflated = super().inflate(data, most, last=last)
        self.inflated += len(inflated)
        return inflated


@pytest.mark.parametrize("fragments", [1, 2, 3])
async def test_nothing_is_inflated_beyond_the_first_byte_that_is_too_much(fragments: int) -> None:
    client, server = Compressor(), Counting(Extension(False, False, 15, 15), 0)
    pieces = [*(client.compress(WORDS) + TAIL for _ in range(fragments - 1)), client.compress(bytes(20_000))]
    sent = [
        frame(0 if number else 2, piece, fin=number == fragments - 1, reserved=0 if number else 4) for number, piece in enumerate(pieces)
    ]

    assert await through(sent, server) == Result([], 1009, True)
    assert server.inflated == LIMIT + 1


@pytest.mark.parametrize("fragmented", [False, True], ids=["whole", "fragmented"])
@pytest.mark.parametrize("text", [b"\xff", b"\xc3", b"\xed\xa0\x80"])
async def test_compressed_text_that_is_not_utf_8_is_refused(text: bytes, fragmented: bool) -> None:
    client = Compressor()
    sent = [*client.frames(1, text, [1] if fragmented else []), *client.frames(1, b"after")]

    assert await through(sent, client.server) == Result([], 1007, True)


@given(st.lists(st.builds(frame, st.sampled_from([1, 2]), st.binary(max_size=60), reserved=st.just(4)), min_size=1, max_size=4))
async def test_whatever_comes_instead_of_a_compressed_message_is_a_fault_of_the_client(sent: list[bytes]) -> None:
    result = await through(sent)

    assert result.close_code in (None, 1007, 1009)
    assert result.violation == (result.close_code is not None)
    assert all(len(payload) <= LIMIT for _, payload in result.messages)


@pytest.mark.parametrize("opcode", [0, 8, 9, 10])
async def test_only_the_first_frame_of_a_message_says_that_it_is_compressed(opcode: int) -> None:
    first = Compressor().frames(1, WORDS, [10])[0]

    assert await through([first, frame(opcode, b"", reserved=4)]) == Result([], 1002, True)
    assert await through([frame(opcode, b"", reserved=4)]) == Result([], 1002, True)


@pytest.mark.parametrize(
    "sent", [[frame(1, b"a", fin=False), frame(1, b"b", reserved=4)], [frame(1, b"a", reserved=6)], [frame(3, b"", reserved=4)]]
)
async def test_a_compressed_frame_obeys_all_other_rules(sent: list[bytes]) -> None:
    assert await through(sent) == Result([], 1002, True)


async def test_without_an_agreement_nothing_is_compressed() -> None:
    client = Compressor()

    for sent in ([frame(1, b"4", reserved=4)], client.frames(1, WORDS), client.frames(1, WORDS, [10])):
        assert await through_the_pipe(sent) == Result([], 1002, True)


async def test_a_close_frame_may_interrupt_a_compressed_message() -> None:
    first = Compressor().frames(1, WORDS, [10])[0]

    assert await through([first, frame(8, b"\x03\xe8")]) == Result([], 1000, False)


# What goes out.


class Watching(Extension):
    """A client's half of the library, which notes down which frames were compressed."""

    def __init__(self, *, takeover: bool) -> None:
        super().__init__(not takeover, not takeover, 12, 12)
        self.compressed: list[bool] = []

    def decode(self, frame: Frame, *, max_size: int | None = None) -> Frame:
        self.compressed.append(frame.rsv1)
        return super().decode(frame, max_size=max_size)


class Client:
    """What a client makes of the bytes of a wire."""

    def __init__(self, *, takeover: bool) -> None:
        self.watching = Watching(takeover=takeover)
        self._protocol = Protocol(Side.CLIENT, max_size=None)
        self._protocol.extensions = [self.watching]

    def read(self, data: bytes) -> list[tuple[int, bytes]]:
        self._protocol.receive_data(data)
        assert self._protocol.parser_exc is None
        return [(int(item.opcode), bytes(item.data)) for item in self._protocol.events_received() if isinstance(item, Frame)]


def packet(text: bytes | None, *attachments: bytes, compress: bool = True) -> EncodedPacket:
    return EncodedPacket(text, attachments, compress=compress)


def writing(*, takeover: bool, threshold: int, takes: int | None = None) -> tuple[NativePipe, MemoryWire, Client]:
    wire = MemoryWire([frame(9, b"?")], takes=takes)
    options = PerMessageDeflate(threshold=threshold, server_no_context_takeover=not takeover, client_no_context_takeover=not takeover)
    return NativePipe(wire, Config(), b"", negotiate(BROWSER, options)[1]), wire, Client(takeover=takeover)


@pytest.mark.parametrize("takeover", [False, True])
async def test_what_is_for_one_client_is_compressed_from_the_threshold_on(takeover: bool) -> None:
    pipe, wire, client = writing(takeover=takeover, threshold=50)
    large, small = WORDS, WORDS[:49]
    assert pipe.try_send_nowait([packet(large), packet(small), packet(large, small, large), packet(None, WORDS[:50])])
    assert pipe.try_send_nowait([packet(large, large, compress=False), packet(large)])

    assert client.read(wire.sent) == [
        (1, large),
        (1, small),
        (1, large),
        (2, small),
        (2, large),
        (2, WORDS[:50]),
        (1, large),
        (2, large),
        (1, large),
    ]
    assert client.watching.compressed == [True, False, True, False, True, True, False, False, True]


def test_a_context_makes_what_is_repeated_short_and_its_absence_makes_it_the_same_each_time() -> None:
    def sizes(*, takeover: bool) -> list[int]:
        pipe, wire, _ = writing(takeover=takeover, threshold=0)
        sizes = []
        for _ in range(3):
            before = len(wire.sent)
            pipe.try_send_nowait([packet(WORDS)])
            sizes.append(len(wire.sent) - before)
        return sizes

    first, second, third = sizes(takeover=True)
    assert third <= second < first // 3
    assert sizes(takeover=False) == [first] * 3


@pytest.mark.parametrize("takeover", [False, True])
@pytest.mark.parametrize("takes", [0, 1, 10, 30])
async def test_what_was_half_sent_comes_first_and_pongs_go_between_messages(takes: int, takeover: bool) -> None:
    pipe, wire, client = writing(takeover=takeover, threshold=0, takes=takes)
    assert not pipe.try_send_nowait([packet(b"one" + WORDS)])
    assert not pipe.try_send_nowait([packet(b"two" + WORDS, b"attached" + WORDS)])
    await pipe.pump(Sink(), lambda: None)
    await pipe.send([packet(b"three" + WORDS), packet(b"shared" + WORDS, compress=False)])
    wire.takes = None
    assert pipe.try_send_nowait([packet(b"four" + WORDS)])
    assert pipe.close(1000)

    assert client.read(wire.sent) == [
        (1, b"one" + WORDS),
        (1, b"two" + WORDS),
        (2, b"attached" + WORDS),
        (10, b"?"),
        (1, b"three" + WORDS),
        (1, b"shared" + WORDS),
        (1, b"four" + WORDS),
        (8, b"\x03\xe8"),
    ]


@pytest.mark.parametrize("takeover", [False, True])
async def test_nothing_at_all_is_a_message_too(takeover: bool) -> None:
    pipe, wire, client = writing(takeover=takeover, threshold=0)
    assert pipe.try_send_nowait([packet(b"", b"", b"", WORDS, b"")])

    assert client.read(wire.sent) == [(1, b""), (2, b""), (2, b""), (2, WORDS), (2, b"")]
    assert all(client.watching.compressed)


async def test_nothing_is_compressed_for_somebody_who_was_told_goodbye() -> None:
    pipe, wire, client = writing(takeover=True, threshold=0)
    pipe.close(1000)
    assert pipe.try_send_nowait([packet(WORDS)])
    await pipe.send([packet(WORDS)])

    assert client.read(wire.sent) == [(8, b"\x03\xe8")]


# A server.


class DeflatingWebSocket(RawWebSocket):
    """A client that compresses what it sends, and whose server does not keep contexts."""

    def __init__(self, stream: trio.abc.Stream, received: bytes = b"") -> None:
        super().__init__(stream)
        self.watching = Watching(takeover=False)
        self._protocol.extensions = [self.watching]
        if received:
            self._feed(received)


@asynccontextmanager
async def connected(server: Server | EngineServer) -> AsyncIterator[DeflatingWebSocket]:
    async with open_test_server(server) as running:
        stream = await running.connect_stream()
        async with await DeflatingWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket", headers=OFFER) as websocket:
            assert isinstance(websocket, DeflatingWebSocket)
            assert str(await websocket.receive()).startswith("0{")
            yield websocket


async def test_emits_and_answers_are_compressed_and_broadcasts_are_not() -> None:
    server = Server(config=Config(per_message_deflate=True))
    text = WORDS.decode() * 30

    @server.on("go")
    async def go(socket: Socket, step: int) -> str:
        match step:
            case 0:
                await socket.emit("x", text)
            case 1:
                socket.emit_nowait("x", text.encode())
            case 2:
                await server.emit("x", text)
            case 3:
                await socket.volatile().emit("x", text)
            case 4:
                await socket.compress(False).emit("x", text)
            case 5:
                await socket.compress(True).volatile().emit("x", text)
            case 6:
                await server.to(socket.id).compress(True).emit("x", text)
            case 7:
                await server.compress(True).compress(False).emit("x", text)
            case 8:
                return text
        return "done"

    async with connected(server) as websocket:
        await websocket.send("40")
        assert str(await websocket.receive()).startswith("40{")
        websocket.watching.compressed.clear()
        seen = {}
        for step in range(9):
            await websocket.send(f'42{step}["go",{step}]')
            while not str(await websocket.receive()).startswith(f"43{step}["):
                pass
            seen[step] = websocket.watching.compressed[:]
            websocket.watching.compressed.clear()

    # What the answers are, which come last, is short, but for the last one's.
    assert seen == {
        0: [True, False],
        1: [False, True, False],
        2: [False, False],
        3: [False, False],
        4: [False, False],
        5: [True, False],
        6: [True, False],
        7: [False, False],
        8: [True],
    }


async def test_an_engine_server_compresses_what_it_sends() -> None:
    async def echo(session: Session) -> None:
        async for message in session:
            await session.send(message)

    async with connected(EngineServer(echo, config=Config(per_message_deflate=PerMessageDeflate(threshold=3)))) as websocket:
        websocket.watching.compressed.clear()
        for message in ("4" + "é" * 1_000, "4a", b"\x00" * 5_000, b"\x00"):
            await websocket.send(message)
            assert await websocket.receive() == message

    assert websocket.watching.compressed == [True, False, True, False]


@pytest.mark.parametrize(
    ("per_message_deflate", "offer", "answer"),
    [
        (True, BROWSER, f"{ALONE}; {SIZE}"),
        (TAKEOVER, BROWSER, f"permessage-deflate; {SIZE}"),
        (True, "permessage-deflate; unheard_of", None),
        (True, None, None),
        (False, BROWSER, None),
        (False, "; unreadable", None),
    ],
)
async def test_the_response_says_what_was_agreed_on(
    per_message_deflate: bool | PerMessageDeflate, offer: str | None, answer: str | None
) -> None:
    async with open_test_server(config=Config(per_message_deflate=per_message_deflate)) as server, await server.http() as http:
        response = await http.request(
            "GET",
            "/socket.io/?EIO=4&transport=websocket",
            headers={
                "Connection": "Upgrade",
                "Upgrade": "websocket",
                "Sec-WebSocket-Version": "13",
                "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
                **({} if offer is None else {"Sec-WebSocket-Extensions": offer}),
            },
        )

        assert response.status == 101
        assert response.headers.get("sec-websocket-extensions") == answer


async def test_offers_that_cannot_be_read_are_refused_where_they_would_be_used() -> None:
    async with open_test_server(config=Config(per_message_deflate=True)) as server:
        with pytest.raises(UpgradeRefused) as refused:
            await server.websocket(headers={"Sec-WebSocket-Extensions": "permessage-deflate; ="})

    assert refused.value.response.status == 400
    assert refused.value.response.body == b"Sec-WebSocket-Extensions must be a list of extensions and their parameters.\n"

"""Frames of a WebSocket: our fast path and the library's parser together mean what the library's parser means alone."""

from __future__ import annotations

import itertools
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.protocol import Protocol, Side

from trio_sio import Config, Limits
from trio_sio.doors.native.websocket import NativePipe
from trio_sio.errors import ProtocolViolation, TransportError
from trio_sio.protocol.frames import EncodedPacket

LIMIT, FRAGMENTS = 200, 3
CONFIG = Config(max_http_buffer_size=LIMIT, close_timeout=0, limits=Limits(ws_fragments=FRAGMENTS))
MASK = b"\x01\x80\x7f\xff"

Message = tuple[str, bytes]


def frame(opcode: int, payload: bytes, *, fin: bool = True, reserved: int = 0, masked: bool = True, width: int = 0) -> bytes:
    """One frame as a client sends it; ``width``: 0, 2 or 8 bytes of length where fewer might do."""
    head = bytes([fin << 7 | reserved << 4 | opcode])
    if width == 8 or len(payload) > 0xFFFF:
        head += struct.pack("!BQ", masked << 7 | 127, len(payload))
    elif width == 2 or len(payload) > 125:
        head += struct.pack("!BH", masked << 7 | 126, len(payload))
    else:
        head += bytes([masked << 7 | len(payload)])
    if not masked:
        return head + payload
    return head + MASK + bytes(byte ^ MASK[index % 4] for index, byte in enumerate(payload))


class MemoryWire:
    """A wire that receives given pieces, and takes so many bytes without blocking."""

    in_flight = 0

    def __init__(self, pieces: Sequence[bytes] = (), *, takes: int | None = None, nonblocking: bool = True) -> None:
        self.nonblocking = nonblocking
        self.sent = b""
        self.takes = takes
        self.stopped = self.closed = self.paused = False
        self._pieces = pieces

    async def receive(self, feed: Callable[[bytes], None]) -> None:
        for piece in self._pieces:
            if self.stopped:
                break
            feed(piece)
        await trio.lowlevel.checkpoint()

    def stop(self) -> None:
        self.stopped = True

    def pause(self) -> None:
        self.paused = True

    def resume(self) -> None:
        self.paused = False

    def try_send(self, data: bytes) -> int:
        taken = data if self.takes is None else data[: self.takes]
        self.takes = None if self.takes is None else self.takes - len(taken)
        self.sent += taken
        return len(taken)

    async def send(self, data: bytes) -> None:
        await trio.lowlevel.checkpoint()
        self.sent += data

    async def discard(self) -> None:
        await trio.lowlevel.checkpoint()

    def close(self) -> None:
        self.closed = self.stopped = True


class Sink:
    def __init__(self) -> None:
        self.messages: list[Message] = []

    def text(self, payload: bytes) -> None:
        assert type(payload) is bytes
        self.messages.append(("text", payload))

    def binary(self, payload: bytes) -> None:
        assert type(payload) is bytes
        self.messages.append(("binary", payload))


class Result(NamedTuple):
    messages: list[Message]
    close_code: int | None
    violation: bool


def close_code(sent: bytes) -> int | None:
    """The code of the close frame among ``sent``; 1005 if it has none, ``None`` if there is no close frame."""
    client = Protocol(Side.CLIENT, max_size=None)
    client.receive_data(sent)
    codes = [item for item in client.events_received() if isinstance(item, Frame) and item.opcode is Opcode.CLOSE]
    if not codes:
        return None
    return struct.unpack("!H", codes[0].data[:2])[0] if codes[0].data else 1005


async def through_the_pipe(pieces: Sequence[bytes], received: bytes = b"", config: Config = CONFIG) -> Result:
    wire, sink = MemoryWire(pieces), Sink()
    pipe, violation = NativePipe(wire, config, received), False
    try:
        await pipe.pump(sink, lambda: None)
    except ProtocolViolation:
        violation = True
    await pipe.send([])
    return Result(sink.messages, close_code(wire.sent), violation)


def through_the_library(sent: Sequence[bytes]) -> Result:
    """The same with nothing but the library; UTF-8, the number of fragments, and a close frame amid a message added."""
    parser, amid = Protocol(Side.SERVER, max_size=LIMIT), False
    items = []
    for piece in sent:
        if piece[0] == 0x88 and amid and parser.parser_exc is None:
            parser = Protocol(Side.SERVER, max_size=LIMIT)
        parser.receive_data(piece)
        for item in (new := parser.events_received()):
            if isinstance(item, Frame) and item.opcode in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
                amid = not item.fin
        items += new
    messages, parts = list[Message](), list[Frame]()
    for item in items:
        assert isinstance(item, Frame)
        if item.opcode is Opcode.CLOSE:
            break
        if item.opcode in (Opcode.PING, Opcode.PONG):
            continue
        parts.append(item)
        if len(parts) > FRAGMENTS:
            return Result(messages, 1008, True)
        if not item.fin:
            continue
        payload, kind = b"".join(part.data for part in parts), parts[0].opcode
        parts = []
        if kind is Opcode.TEXT:
            try:
                payload.decode()
            except UnicodeDecodeError:
                return Result(messages, 1007, True)
        messages.append(("text" if kind is Opcode.TEXT else "binary", payload))
    return Result(messages, close_code(b"".join(parser.data_to_send())), parser.parser_exc is not None)


payloads = st.one_of(
    st.text(max_size=20).map(str.encode),
    st.binary(max_size=10),
    st.integers(120, LIMIT + 2).map(lambda size: b"x" * size),
)
frames = st.one_of(
    # Most are good, so that there is something behind most of the others.
    st.builds(frame, st.sampled_from([1, 2]), payloads, width=st.sampled_from([0, 2, 8])),
    st.builds(frame, st.sampled_from([0, 1, 2]), payloads, fin=st.booleans()),
    st.builds(frame, st.sampled_from([8, 9, 10]), st.sampled_from([b"", b"\x03\xe8", b"\x03\xe8bye", b"\x03\xec", b"\x03", b"x" * 126])),
    st.builds(
        frame,
        st.integers(0, 15),
        payloads,
        fin=st.booleans(),
        reserved=st.sampled_from([0, 0, 0, 1, 2, 4]),
        masked=st.sampled_from([True, True, True, False]),
    ),
)


def cut(data: bytes, places: Sequence[int]) -> Iterator[bytes]:
    borders = sorted({0, len(data), *(place % (len(data) + 1) for place in places)})
    for start, stop in itertools.pairwise(borders):
        yield data[start:stop]


@given(sent=st.lists(frames, max_size=8), places=st.lists(st.integers(0, 2_000), max_size=8), behind_handshake=st.booleans())
@example(sent=[frame(1, b"x" * LIMIT), frame(1, b"x" * (LIMIT + 1))], places=[], behind_handshake=False)
@example(sent=[frame(2, b"x" * 126), frame(8, b"")], places=list(range(140)), behind_handshake=False)
@example(sent=[frame(1, b"a", fin=False), frame(9, b""), frame(0, b"b"), frame(1, b"c")], places=[], behind_handshake=True)
@example(sent=[frame(1, b"a", fin=False), frame(8, b"\x03\xe8"), frame(0, b"b")], places=[], behind_handshake=False)
async def test_frames_mean_the_same_however_they_are_cut(sent: list[bytes], places: list[int], behind_handshake: bool) -> None:
    data = b"".join(sent)
    pieces = list(cut(data, places))
    received = pieces.pop(0) if behind_handshake and pieces else b""

    assert await through_the_pipe(pieces, received) == through_the_library(sent)


@pytest.mark.parametrize("pieces", [1, 1000], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("width", [0, 8], ids=["shortest length", "longest length"])
@pytest.mark.parametrize("opcode", [1, 2])
async def test_a_message_at_the_limit_passes_and_one_byte_more_does_not(opcode: int, width: int, pieces: int) -> None:
    kind = "text" if opcode == 1 else "binary"
    fits, exceeds = frame(opcode, b"x" * LIMIT, width=width), frame(opcode, b"x" * (LIMIT + 1), width=width)
    data = fits + exceeds

    result = await through_the_pipe(list(cut(data, range(0, len(data), max(1, len(data) // pieces)))))

    assert result == Result([(kind, b"x" * LIMIT)], 1009, True)


async def test_a_length_that_is_only_announced_is_refused_before_it_arrives() -> None:
    head = bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 40)

    assert await through_the_pipe([head + MASK]) == Result([], 1009, True)


async def test_fragments_count_together_against_the_limit() -> None:
    parts = [frame(2, b"x" * 100, fin=False), frame(0, b"x" * 100, fin=False), frame(0, b"x")]

    assert await through_the_pipe(parts) == Result([], 1009, True)


@pytest.mark.parametrize(("continuations", "expected"), [(2, Result([("text", b"aa")], None, False)), (3, Result([], 1008, True))])
async def test_the_last_allowed_fragment_passes_and_the_next_does_not(continuations: int, expected: Result) -> None:
    rest = [frame(0, b"", fin=False) for _ in range(continuations - 1)]

    assert await through_the_pipe([frame(1, b"a", fin=False), *rest, frame(0, b"a")]) == expected


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"],
    ids=["no UTF-8", "cut off", "surrogate", "overlong", "too high"],
)
@pytest.mark.parametrize("fragmented", [False, True])
async def test_text_that_is_not_utf_8_is_refused(text: bytes, fragmented: bool) -> None:
    pieces = [frame(1, b"", fin=False), frame(0, text)] if fragmented else [frame(1, text)]

    assert await through_the_pipe([*pieces, frame(1, b"after")]) == Result([], 1007, True)


async def test_a_character_may_be_cut_by_fragments() -> None:
    assert (await through_the_pipe([frame(1, b"\xc3", fin=False), frame(0, b"\xa9")])).messages == [("text", "é".encode())]


async def test_nothing_is_received_after_a_close_frame() -> None:
    result = await through_the_pipe([frame(1, b"a") + frame(8, b"\x03\xe8") + frame(1, b"b"), frame(1, b"c")])

    assert result == Result([("text", b"a")], 1000, False)


@pytest.mark.hostile("W13")
@pytest.mark.parametrize("pieces", [1, 100], ids=["at once", "byte by byte"])
async def test_a_close_frame_may_interrupt_a_message(pieces: int) -> None:
    data = frame(1, b"a", fin=False) + frame(8, b"\x03\xe8") + frame(0, b"b")

    assert await through_the_pipe(list(cut(data, range(pieces)))) == Result([], 1000, False)


async def test_a_flood_of_pings_queues_one_pong() -> None:
    wire, asked = MemoryWire([frame(9, b"%d" % number) for number in range(1_000)]), list[bool]()
    pipe = NativePipe(wire, CONFIG, b"")
    await pipe.pump(Sink(), lambda: asked.append(True))
    await pipe.send([])

    assert wire.sent == b"\x8a\x03999"
    assert len(asked) == 1_000


async def test_a_pong_goes_before_what_has_not_begun_to_leave() -> None:
    wire = MemoryWire([frame(9, b"?")], takes=3)
    pipe = NativePipe(wire, CONFIG, b"")
    pipe.try_send_nowait([packet(b"aa")])
    await pipe.pump(Sink(), lambda: None)
    await pipe.send([packet(b"bb")])

    assert wire.sent == b"\x81\x02aa" + b"\x8a\x01?" + b"\x81\x02bb"


# Sending.


async def live(pipe: NativePipe) -> None:
    """Do what the engine does with a pipe, from its first byte to its last."""
    await pipe.pump(Sink(), lambda: None)
    with trio.move_on_after(10):
        await pipe.linger()


def packet(text: bytes) -> EncodedPacket:
    return EncodedPacket(text)


async def test_what_the_kernel_refused_comes_first() -> None:
    wire = MemoryWire(takes=4)
    pipe = NativePipe(wire, CONFIG, b"")

    assert not pipe.try_send_nowait([packet(b"aa"), packet(b"bb")])
    assert wire.sent == b"\x81\x02aa"
    assert not pipe.try_send_nowait([packet(b"cc")])
    await pipe.send([packet(b"dd")])
    wire.takes = None
    assert pipe.try_send_nowait([packet(b"ee")])

    assert wire.sent == b"".join(b"\x81\x02" + text for text in (b"aa", b"bb", b"cc", b"dd", b"ee"))


async def test_a_close_frame_comes_behind_the_rest_and_nothing_behind_it() -> None:
    wire = MemoryWire(takes=3)
    pipe = NativePipe(wire, CONFIG, b"")
    pipe.try_send_nowait([packet(b"aa")])

    assert not pipe.close(1001)
    assert pipe.try_send_nowait([packet(b"late")])
    await pipe.send([packet(b"later")])
    assert pipe.close(1000)

    assert wire.sent == b"\x81\x02aa\x88\x02\x03\xe9"


@pytest.mark.parametrize("takes", [0, 1, 3])
async def test_a_close_frame_that_goes_out_in_parts_lets_the_reader_go(takes: int, autojump_clock: trio.testing.MockClock) -> None:
    wire = MemoryWire(takes=takes)
    pipe, start = NativePipe(wire, Config(), b""), trio.current_time()
    assert not pipe.close(1001)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, pipe)
        await trio.testing.wait_all_tasks_blocked()
        await pipe.send([])

    assert wire.sent == b"\x88\x02\x03\xe9"
    assert trio.current_time() == start  # and not when the engine loses patience


async def test_closing_makes_a_paused_wire_receive_the_answer() -> None:
    wire = MemoryWire()
    pipe = NativePipe(wire, CONFIG, b"")
    pipe.pause()
    assert wire.paused

    pipe.close(None)

    assert not wire.paused


async def test_aborting_ends_everything_at_once(autojump_clock: trio.testing.MockClock) -> None:
    wire = MemoryWire(takes=0)
    pipe, start = NativePipe(wire, Config(), b""), trio.current_time()
    pipe.close(None)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(live, pipe)
        await trio.testing.wait_all_tasks_blocked()
        pipe.abort()
        pipe.abort()

    assert wire.closed
    assert trio.current_time() == start


async def test_a_wire_that_breaks_while_sending_says_so() -> None:
    class BrokenWire(MemoryWire):
        def try_send(self, data: bytes) -> int:
            raise TransportError("broken")

    with pytest.raises(TransportError, match="broken"):
        NativePipe(BrokenWire(), CONFIG, b"").try_send_nowait([packet(b"a")])

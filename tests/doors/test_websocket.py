"""A WebSocket of the native door: what arrives, what is answered, and what leaves, over a wire of memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
import trio
import trio.testing

from tests.protocol.client_frames import FRAGMENTS, LIMIT, Result, Sink, close_code, frame
from trio_sio import Config, Limits
from trio_sio.doors.native.websocket import NativePipe
from trio_sio.errors import ProtocolViolation, TransportError
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.protocol.websocket import FRAMES_PER_TURN

CONFIG = Config(max_http_buffer_size=LIMIT, close_timeout=0, limits=Limits(ws_fragments=FRAGMENTS))


class MemoryWire:
    """A wire that receives given pieces, and takes so many bytes without blocking."""

    in_flight = 0

    def __init__(self, pieces: Sequence[bytes] = (), *, takes: int | None = None, nonblocking: bool = True) -> None:
        self.nonblocking = nonblocking
        self.sent = b""
        self.takes = takes
        self.stopped = self.closed = self.paused = False
        self._pieces = pieces
        self._error: TransportError | None = None

    async def receive(self, feed: Callable[[bytes], bool], received: bytes) -> None:
        for piece in [received, *self._pieces]:
            if self.stopped:
                break
            has_more = feed(piece)
            while has_more and not self.paused:
                has_more = feed(b"")
        await trio.lowlevel.checkpoint()
        if self._error is not None:
            raise self._error

    def stop(self, error: TransportError | None = None) -> None:
        self.stopped = True
        self._error = error

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


async def through_the_pipe(pieces: Sequence[bytes], received: bytes = b"", config: Config = CONFIG) -> Result:
    wire, sink = MemoryWire(pieces), Sink()
    pipe, violation = NativePipe(wire, config, received), False
    try:
        await pipe.pump(sink, lambda: None)
    except ProtocolViolation:
        violation = True
    await pipe.send([])
    return Result(sink.messages, close_code(wire.sent), violation)


async def test_what_came_behind_the_handshake_comes_first() -> None:
    assert await through_the_pipe([frame(1, b"b")], frame(1, b"a")) == Result([("text", b"a"), ("text", b"b")], None, False)


async def test_a_fault_of_the_client_is_told_and_raised() -> None:
    assert await through_the_pipe([frame(1, b"\xff"), frame(1, b"after")]) == Result([], 1007, True)


@pytest.mark.hostile("W19")
async def test_a_flood_of_pings_gets_one_pong_a_turn_without_a_writer() -> None:
    wire, asked = MemoryWire([b"".join(frame(9, b"%03d" % number) for number in range(1_000))]), list[bool]()
    await NativePipe(wire, CONFIG, b"").pump(Sink(), lambda: asked.append(True))

    pongs = [wire.sent[start : start + 5] for start in range(0, len(wire.sent), 5)]
    assert len(pongs) == 1 + 1_000 // FRAMES_PER_TURN
    assert pongs[-1] == b"\x8a\x03999"
    assert not asked


async def test_of_a_flood_of_pings_that_nobody_reads_the_first_and_the_newest_are_answered() -> None:
    wire, asked = MemoryWire([frame(9, b"%d" % number) for number in range(1_000)], takes=0), list[bool]()
    pipe = NativePipe(wire, CONFIG, b"")
    await pipe.pump(Sink(), lambda: asked.append(True))
    assert wire.sent == b""
    await pipe.send([])

    assert wire.sent == b"\x8a\x010" + b"\x8a\x03999"
    assert len(asked) == 1


async def test_a_close_frame_is_answered_without_a_writer() -> None:
    wire, asked = MemoryWire([frame(8, b"\x03\xe8")]), list[bool]()
    pipe = NativePipe(wire, CONFIG, b"")
    await pipe.pump(Sink(), lambda: asked.append(True))
    await pipe.linger()

    assert wire.sent == b"\x88\x02\x03\xe8"
    assert not asked


async def test_an_answer_that_meets_a_broken_wire_is_the_writers_to_report() -> None:
    class BrokenWire(MemoryWire):
        def try_send(self, data: bytes) -> int:
            raise TransportError("broken")

    wire, asked = BrokenWire([frame(9, b"?")]), list[bool]()
    pipe = NativePipe(wire, CONFIG, b"")
    await pipe.pump(Sink(), lambda: asked.append(True))

    assert len(asked) == 1


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

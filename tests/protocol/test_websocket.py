"""RFC 6455 without I/O: our receiver means what the ``websockets`` library means, and the sender keeps the order."""

from __future__ import annotations

import struct
import subprocess
import sys
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.protocol.client_frames import (
    FRAGMENTS,
    LIMIT,
    MASK,
    Result,
    Sink,
    close_code,
    cut,
    frame,
    frames,
    through_the_library,
)
from trio_sio.protocol.frames import close_frame
from trio_sio.protocol.websocket import (
    FRAMES_PER_TURN,
    INFLATED_PER_TURN,
    RECEIVING,
    SENDING,
    FrameReceiver,
    FrameSender,
    Inflater,
    ReceiveState,
    SendState,
)


class PausingSink(Sink):
    """Pauses the receiver at some of the messages."""

    def __init__(self, receiver: FrameReceiver, pauses: Sequence[bool]) -> None:
        super().__init__()
        self._receiver = receiver
        self._pauses = list(pauses)

    def _note(self, kind: str, payload: bytes) -> None:
        assert self._receiver.state is ReceiveState.READING
        super()._note(kind, payload)
        if self._pauses and self._pauses.pop(0):
            self._receiver.change("pause")


def through_the_receiver(pieces: Sequence[bytes], pauses: Sequence[bool] = ()) -> Result:
    receiver = FrameReceiver(LIMIT, FRAGMENTS)
    sink = receiver.sink = PausingSink(receiver, pauses)
    for piece in pieces:
        has_more = receiver.feed(piece)
        while has_more or receiver.state is ReceiveState.PAUSED:
            receiver.change("resume")
            has_more = receiver.feed(b"")
    return Result(sink.messages, close_code(receiver.answer or b""), receiver.violation is not None)


@given(
    sent=st.lists(frames, max_size=8),
    places=st.lists(st.integers(0, 2_000), max_size=8),
    pauses=st.lists(st.booleans(), max_size=12),
)
@example(sent=[frame(1, b"x" * LIMIT), frame(1, b"x" * (LIMIT + 1))], places=[], pauses=[])
@example(sent=[frame(2, b"x" * 126), frame(8, b"")], places=list(range(140)), pauses=[])
@example(sent=[frame(1, b"a", fin=False), frame(9, b""), frame(0, b"b"), frame(1, b"c")], places=[], pauses=[True, True])
@example(sent=[frame(1, b"a", fin=False), frame(8, b"\x03\xe8"), frame(0, b"b")], places=[], pauses=[])
def test_frames_mean_the_same_however_they_are_cut(sent: list[bytes], places: list[int], pauses: list[bool]) -> None:
    data = b"".join(sent)

    assert through_the_receiver(list(cut(data, places)), pauses) == through_the_library(sent)


@given(st.binary(max_size=300), st.lists(st.integers(0, 300), max_size=5))
def test_noise_is_messages_or_a_fault(noise: bytes, places: list[int]) -> None:
    result = through_the_receiver(list(cut(noise, places)))

    assert result.close_code in (None, 1002, 1007, 1008, 1009) or not result.violation
    assert result == through_the_receiver([noise])


@pytest.mark.parametrize("pieces", [1, 1000], ids=["at once", "byte by byte"])
@pytest.mark.parametrize("width", [0, 8], ids=["shortest length", "longest length"])
@pytest.mark.parametrize("opcode", [1, 2])
def test_a_message_at_the_limit_passes_and_one_byte_more_does_not(opcode: int, width: int, pieces: int) -> None:
    kind = "text" if opcode == 1 else "binary"
    fits, exceeds = frame(opcode, b"x" * LIMIT, width=width), frame(opcode, b"x" * (LIMIT + 1), width=width)
    data = fits + exceeds

    result = through_the_receiver(list(cut(data, range(0, len(data), max(1, len(data) // pieces)))))

    assert result == Result([(kind, b"x" * LIMIT)], 1009, True)


def test_a_length_that_is_only_announced_is_refused_before_it_arrives() -> None:
    head = bytes([0x82, 0xFF]) + struct.pack("!Q", 1 << 40)

    assert through_the_receiver([head + MASK]) == Result([], 1009, True)


def test_fragments_count_together_against_the_limit() -> None:
    parts = [frame(2, b"x" * 100, fin=False), frame(0, b"x" * 100, fin=False), frame(0, b"x")]

    assert through_the_receiver(parts) == Result([], 1009, True)


@pytest.mark.parametrize(("continuations", "expected"), [(2, Result([("text", b"aa")], None, False)), (3, Result([], 1008, True))])
def test_the_last_allowed_fragment_passes_and_the_next_does_not(continuations: int, expected: Result) -> None:
    rest = [frame(0, b"", fin=False) for _ in range(continuations - 1)]

    assert through_the_receiver([frame(1, b"a", fin=False), *rest, frame(0, b"a")]) == expected


@pytest.mark.parametrize(
    "text",
    [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"],
    ids=["no UTF-8", "cut off", "surrogate", "overlong", "too high"],
)
@pytest.mark.parametrize("fragmented", [False, True])
def test_text_that_is_not_utf_8_is_refused(text: bytes, fragmented: bool) -> None:
    pieces = [frame(1, b"", fin=False), frame(0, text)] if fragmented else [frame(1, text)]

    assert through_the_receiver([*pieces, frame(1, b"after")]) == Result([], 1007, True)


def test_a_character_may_be_cut_by_fragments() -> None:
    assert through_the_receiver([frame(1, b"\xc3", fin=False), frame(0, b"\xa9")]).messages == [("text", "é".encode())]


def test_nothing_is_received_after_a_close_frame() -> None:
    result = through_the_receiver([frame(1, b"a") + frame(8, b"\x03\xe8") + frame(1, b"b"), frame(1, b"c")])

    assert result == Result([("text", b"a")], 1000, False)


@pytest.mark.hostile("W13")
@pytest.mark.parametrize("pieces", [1, 100], ids=["at once", "byte by byte"])
def test_a_close_frame_may_interrupt_a_message(pieces: int) -> None:
    data = frame(1, b"a", fin=False) + frame(8, b"\x03\xe8") + frame(0, b"b")

    assert through_the_receiver(list(cut(data, range(pieces)))) == Result([], 1000, False)


# A short message that comes alone, as most do.


def test_a_short_message_that_comes_alone_within_another_is_refused() -> None:
    assert through_the_receiver([frame(1, b"a", fin=False), frame(1, b"b")]) == Result([], 1002, True)


def test_what_looks_like_a_short_message_may_be_the_rest_of_another() -> None:
    looks, start = frame(1, b"b"), 6 + len(MASK)
    payload = bytes(len(MASK)) + bytes(byte ^ MASK[index % len(MASK)] for index, byte in enumerate(looks))
    data = frame(2, payload)

    assert data[start:] == looks
    assert through_the_receiver([data[:start], data[start:]]) == Result([("binary", payload)], None, False)


def test_a_short_message_may_be_too_large() -> None:
    receiver, sink = reading(limit=5)

    assert not receiver.feed(frame(1, b"12345"))
    assert not receiver.feed(frame(1, b"123456"))
    assert sink.messages == [("text", b"12345")]
    assert receiver.answer is not None
    assert close_code(receiver.answer) == 1009


def test_a_short_message_waits_while_nothing_is_to_be_fed() -> None:
    receiver, sink = reading()
    receiver.change("pause")

    assert receiver.feed(frame(1, b"a"))
    assert not sink.messages
    receiver.change("resume")
    assert not receiver.feed(b"")
    assert sink.messages == [("text", b"a")]


# What a turn is.


def reading(limit: int = LIMIT, inflater: Inflater | None = None) -> tuple[FrameReceiver, Sink]:
    receiver = FrameReceiver(limit, FRAGMENTS, inflater)
    sink = receiver.sink = Sink()
    return receiver, sink


@pytest.mark.parametrize("sent", [frame(1, b"a"), frame(9, b"a"), frame(10, b""), frame(2, b"")], ids=["text", "ping", "pong", "binary"])
def test_a_turn_takes_a_bounded_number_of_frames(sent: bytes) -> None:
    receiver, sink = reading()

    assert receiver.feed(sent * (2 * FRAMES_PER_TURN + 1) + sent[:3])
    turns = 1
    while receiver.feed(b""):
        turns += 1

    assert turns == 2
    assert receiver.progress == 3
    assert not receiver.feed(sent[3:])
    assert receiver.progress == 0
    assert len(sink.messages) in (0, 2 * FRAMES_PER_TURN + 2)


def test_a_turn_that_takes_all_there_is_wants_no_other() -> None:
    receiver, sink = reading()

    assert not receiver.feed(frame(1, b"a") * FRAMES_PER_TURN)
    assert len(sink.messages) == FRAMES_PER_TURN


class Zeros:
    """Makes 10,000 zeros of each byte."""

    def inflate(self, data: bytes, most: int, *, last: bool) -> bytes:
        return bytes(10_000 * len(data))[:most]

    def longest(self, size: int) -> int:
        return size


@pytest.mark.parametrize("fragmented", [False, True])
def test_a_turn_is_over_when_little_has_become_much(fragmented: bool) -> None:
    receiver, sink = reading(1_000_000, Zeros())
    sent = frame(2, b"a", reserved=4) if not fragmented else frame(2, b"", fin=False, reserved=4) + frame(0, b"a")

    assert receiver.feed(sent * 20)
    assert sum(len(payload) for _, payload in sink.messages) in range(INFLATED_PER_TURN, INFLATED_PER_TURN + 10_001)
    while receiver.feed(b""):
        pass
    assert len(sink.messages) == 20


def test_nothing_is_given_out_after_a_pause_and_nothing_lost() -> None:
    receiver, _ = reading()
    sink = receiver.sink = PausingSink(receiver, [False, True, False, False])

    assert receiver.feed(frame(1, b"1") + frame(1, b"2") + frame(1, b"3"))
    assert receiver.feed(frame(9, b"") + frame(1, b"4")[:4])
    assert [payload for _, payload in sink.messages] == [b"1", b"2"]
    assert receiver.ping is None
    receiver.change("resume")
    assert not receiver.feed(b"")
    assert not receiver.feed(frame(1, b"4")[4:])

    assert [payload for _, payload in sink.messages] == [b"1", b"2", b"3", b"4"]
    assert receiver.ping == b""


def test_a_pause_at_the_last_message_keeps_nothing() -> None:
    receiver, _ = reading()
    receiver.sink = PausingSink(receiver, [True])

    assert not receiver.feed(frame(1, b"1"))
    assert receiver.progress == 0


def test_of_many_pings_the_newest_is_kept() -> None:
    receiver, _ = reading()
    receiver.feed(b"".join(frame(9, b"%d" % number) for number in range(FRAMES_PER_TURN)))

    assert receiver.ping == b"%d" % (FRAMES_PER_TURN - 1)


def test_whoever_does_not_listen_any_more_keeps_nothing() -> None:
    receiver, sink = reading()
    receiver.feed(frame(1, b"1") + b"\x81")
    receiver.change("end")

    assert not receiver.feed(frame(1, b"2") * 200)
    assert receiver.progress == 0
    assert sink.messages == [("text", b"1")]
    assert receiver.answer is None


def test_a_pause_does_not_revive_what_is_over() -> None:
    assert {state for _, state in RECEIVING.items() if state is ReceiveState.READING} == {
        RECEIVING[state, event] for state, event in RECEIVING if event == "resume"
    }
    for over in (ReceiveState.ENDED, ReceiveState.FAILED):
        assert not [event for state, event in RECEIVING if state is over]


@pytest.mark.parametrize(
    ("bytes_received", "code", "fault"),
    [
        (frame(3, b""), 1002, "an unknown kind of frame"),
        (frame(2, b"x" * (LIMIT + 1)), 1009, "the message is too large; Config.max_http_buffer_size is the limit"),
    ],
)
def test_the_client_is_told_the_code_alone_and_the_log_the_fault(bytes_received: bytes, code: int, fault: str) -> None:
    receiver, _ = reading()
    receiver.feed(bytes_received)

    assert receiver.answer == b"\x88\x02" + code.to_bytes(2, "big")  # as Node's ws, and the hosts of the other doors
    assert str(receiver.violation) == fault


def test_a_library_without_its_extension_will_do() -> None:
    program = (
        "import sys; sys.modules['websockets.speedups'] = None\n"
        "from trio_sio.protocol.websocket import FrameReceiver\n"
        "class Sink:\n"
        "    def text(self, payload): print(payload)\n"
        "receiver = FrameReceiver(100, 3); receiver.sink = Sink()\n"
        f"receiver.feed({frame(1, b'hello')!r})"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert (ran.stdout, ran.stderr) == ("b'hello'\n", "")


# Sending.


def state_of(sender: FrameSender) -> SendState:
    """Its state, afresh: a type checker takes what it was for what it is."""
    return sender.state


def write(sender: FrameSender, size: int = 1_000) -> bytes:
    """Let a wire take up to ``size`` bytes of what is to be written now."""
    taken = sender.take()[:size]
    sender.sent(len(taken))
    return taken


def test_what_waits_leaves_in_order() -> None:
    sender = FrameSender()
    sender.push(b"abc")
    assert write(sender, 2) == b"ab"
    sender.push(b"def")
    assert state_of(sender) is SendState.BUSY
    assert write(sender) == b"cdef"

    assert state_of(sender) is SendState.IDLE
    assert write(sender) == b""


def test_a_pong_goes_before_what_has_not_begun_to_leave() -> None:
    sender = FrameSender()
    sender.push(b"abc")
    write(sender, 1)
    sender.pong(b"1")
    sender.pong(b"2")
    sender.push(b"def")

    assert write(sender) == b"bc" + b"\x8a\x012" + b"def"


def test_nothing_leaves_behind_a_close_frame() -> None:
    sender = FrameSender()
    sender.push(b"abc")
    sender.pong(b"")
    sender.close(close_frame(1001))
    sender.close(close_frame(1002))
    sender.push(b"def")
    sender.pong(b"1")
    assert state_of(sender) is SendState.CLOSING
    assert not sender.is_open
    assert write(sender, 5) == b"abc\x8a\x00"
    sender.pong(b"2")
    assert write(sender) == b"\x88\x02\x03\xe9"

    assert state_of(sender) is SendState.CLOSED
    sender.push(b"ghi")
    assert write(sender) == b""


def test_what_comes_while_something_is_on_its_way_is_not_forgotten() -> None:
    sender = FrameSender()
    sender.push(b"abc")
    on_its_way = sender.take()
    sender.pong(b"")
    sender.sent(len(on_its_way))

    assert state_of(sender) is SendState.BUSY
    assert write(sender) == b"\x8a\x00"


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("push"), st.binary(max_size=3)), st.tuples(st.just("write"), st.integers(0, 4)), st.just(("close", b"!"))
        )
    )
)
def test_bytes_leave_in_the_order_in_which_they_came(operations: list[tuple[str, bytes | int]]) -> None:
    sender, came, left, closed = FrameSender(), b"", b"", False
    for operation, what in operations:
        if isinstance(what, int):
            left += write(sender, what)
        elif operation == "push":
            sender.push(what)
            came += b"" if closed else what
        else:
            sender.close(what)
            came += b"" if closed else what
            closed = True
    left += write(sender)

    assert left == came
    assert state_of(sender) is (SendState.CLOSED if closed else SendState.IDLE)


def test_only_an_end_leads_to_the_end() -> None:
    for (_, event), state in SENDING.items():
        assert (state is SendState.CLOSED) <= (event in ("abort", "all sent"))

"""The bad network: what passes, in which pieces, how late, and how it ends."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import hypothesis.strategies as st
import pytest
import trio
import trio.testing
from hypothesis import given

from trio_sio.testing import ChaosRules, ChaosStream, chaos_stream

DATA: Final = bytes(range(200))


def open_pair(*, sent: ChaosRules | None = None, received: ChaosRules | None = None) -> tuple[ChaosStream, trio.StapledStream]:  # type: ignore[type-arg]  # of whatever
    ours, theirs = trio.testing.memory_stream_pair()
    return chaos_stream(ours, sent=sent, received=received), theirs


async def receive_pieces(stream: trio.abc.ReceiveStream, max_bytes: int | None = None) -> list[bytes]:
    """Return what arrives, in its pieces, until the end."""
    pieces = []
    while data := bytes(await stream.receive_some(max_bytes)):
        pieces.append(data)
    return pieces


async def test_without_rules_nothing_happens() -> None:
    ours, theirs = open_pair()
    await ours.send_all(DATA)
    assert await theirs.receive_some() == DATA
    await theirs.send_all(DATA)
    await theirs.send_eof()
    assert await receive_pieces(ours) == [DATA]
    await ours.send_eof()
    assert await theirs.receive_some() == b""


async def pieces_of(rules: ChaosRules, data: list[bytes]) -> list[int]:
    ours, theirs = open_pair(received=rules)
    for part in data:
        await theirs.send_all(part)
    await theirs.send_eof()
    pieces = await receive_pieces(ours)
    assert b"".join(pieces) == b"".join(data)
    return [len(piece) for piece in pieces]


async def test_what_is_received_is_cut_into_pieces(autojump_clock: trio.testing.MockClock) -> None:
    rules = ChaosRules(seed=1, segment=7)
    pieces = await pieces_of(rules, [DATA])
    assert max(pieces) == 7
    assert min(pieces) == 1
    assert pieces == await pieces_of(rules, [DATA])
    assert pieces != await pieces_of(replace(rules, seed=2), [DATA])


async def test_what_is_sent_is_cut_and_delayed(autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = open_pair(sent=ChaosRules(segment=10, delay=2))
    arrivals: list[tuple[float, bytes]] = []
    start = trio.current_time()

    async def receive() -> None:
        while data := bytes(await theirs.receive_some()):
            arrivals.append((trio.current_time() - start, data))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await ours.send_all(DATA)
        await ours.send_eof()
    assert b"".join(data for _, data in arrivals) == DATA
    assert all(len(data) <= 10 for _, data in arrivals)
    times = [time for time, _ in arrivals]
    gaps = [later - earlier for earlier, later in zip([0.0, *times], times, strict=False)]
    assert all(0 <= gap <= 2 for gap in gaps)
    assert max(gaps) > 1


@given(
    seed=st.integers(0, 100),
    segment=st.integers(1, 40),
    cut_at=st.none() | st.integers(0, 250),
    parts=st.lists(st.binary(min_size=1, max_size=60), max_size=6),
)
async def test_the_bytes_and_the_place_of_the_cut_do_not_depend_on_how_they_come(
    seed: int, segment: int, cut_at: int | None, parts: list[bytes]
) -> None:
    data = b"".join(parts)
    rules = ChaosRules(seed=seed, segment=segment, cut_at=cut_at, ending="half-close")
    for pieces in (parts, [data[i : i + 1] for i in range(len(data))]):
        ours, theirs = open_pair(received=rules)
        for piece in pieces:
            await theirs.send_all(piece)
        await theirs.send_eof()
        assert b"".join(await receive_pieces(ours)) == data[:cut_at]

        ours, theirs = open_pair(sent=rules)
        try:
            for piece in pieces:
                await ours.send_all(piece)
            await ours.send_eof()
        except trio.BrokenResourceError:
            assert cut_at is not None
            assert cut_at < len(data)
        assert b"".join(await receive_pieces(theirs)) == data[:cut_at]


@pytest.mark.parametrize("stall", [30.0, math.inf])
async def test_a_stall(stall: float, autojump_clock: trio.testing.MockClock) -> None:
    ours, theirs = open_pair(received=ChaosRules(stall_at=50, stall=stall))
    await theirs.send_all(DATA)
    start = trio.current_time()
    assert await ours.receive_some() == DATA[:50]
    assert trio.current_time() == start
    # A cancellation neither loses anything nor shortens the stall.
    with trio.move_on_after(10) as scope:
        await ours.receive_some()
    assert scope.cancelled_caught
    with trio.move_on_after(100) as scope:
        assert await ours.receive_some() == DATA[50:]
        assert trio.current_time() - start == pytest.approx(30)
    assert scope.cancelled_caught is (stall == math.inf)


async def test_a_reset_ends_both_directions() -> None:
    ours, theirs = open_pair(sent=ChaosRules(cut_at=50))
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(DATA)
    assert await theirs.receive_some() == DATA[:50]
    assert await theirs.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await theirs.send_all(b"x")
    for operation in (ours.receive_some, ours.wait_send_all_might_not_block, ours.send_eof):
        with pytest.raises(trio.BrokenResourceError):
            await operation()


async def test_a_reset_wakes_who_receives() -> None:
    ours, _theirs = open_pair(sent=ChaosRules(cut_at=1))

    async def receive() -> None:
        with pytest.raises(trio.BrokenResourceError):
            await ours.receive_some()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await ours.send_all(b"x")  # all of it passed before the end


async def test_a_close_is_an_end_for_both() -> None:
    ours, theirs = open_pair(received=ChaosRules(cut_at=3, ending="close"))
    await theirs.send_all(DATA)
    assert await receive_pieces(ours) == [DATA[:3]]
    assert await theirs.receive_some() == b""
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(b"x")


async def test_a_half_close_leaves_the_other_direction() -> None:
    ours, theirs = open_pair(sent=ChaosRules(cut_at=3, ending="half-close"))
    with pytest.raises(trio.BrokenResourceError):
        await ours.send_all(DATA)
    assert await receive_pieces(theirs) == [DATA[:3]]
    await theirs.send_all(b"back")
    assert await ours.receive_some() == b"back"
    await ours.send_eof()


async def test_sending_and_receiving_are_checkpoints() -> None:
    ours, theirs = open_pair()
    await theirs.send_all(b"x")
    with trio.testing.assert_checkpoints():
        await ours.receive_some()
    with trio.testing.assert_checkpoints():
        await ours.send_all(b"")


@pytest.mark.parametrize("wrong", [{"segment": 0}, {"delay": -1}, {"stall": -1}, {"stall_at": -1}, {"cut_at": -1}])
def test_rules_that_make_no_sense(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match=rf"^ChaosRules\.{next(iter(wrong))} is -?[01]"):
        ChaosRules(**wrong)  # type: ignore[arg-type]  # the types are right

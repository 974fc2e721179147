"""What is told once for each subject, however many subjects somebody makes up."""

from __future__ import annotations

import trio.testing

from trio_sio.engine import notices
from trio_sio.engine.notices import Notices


async def test_each_subject_is_new_once() -> None:
    told = Notices()
    assert [told.is_new(subject) for subject in ("a", "a", "b", "a", "b")] == [True, False, True, False, False]


async def test_only_the_length_that_the_log_shows_counts() -> None:
    told = Notices()
    assert told.is_new("x" * notices.LENGTH + "a")
    assert not told.is_new("x" * 100_000)
    assert told.is_new("x" * (notices.LENGTH - 1))


async def test_so_many_in_a_minute_and_the_rest_in_another(mock_clock: trio.testing.MockClock) -> None:
    told = Notices()
    assert sum(told.is_new(f"first {number}") for number in range(10 * notices.PER_MINUTE)) == notices.PER_MINUTE
    mock_clock.jump(59.9)
    assert not told.is_new("a real one")
    mock_clock.jump(0.1)
    assert told.is_new("a real one")
    assert not told.is_new("first 0")


async def test_the_newest_are_remembered(mock_clock: trio.testing.MockClock) -> None:
    told = Notices()
    told.is_new("old")
    told.is_new("comes again")
    for number in range(notices.REMEMBERED - 1):
        mock_clock.jump(60)
        assert told.is_new(str(number))
        assert not told.is_new("comes again")
    assert told.is_new("old")
    assert len(told._told) == notices.REMEMBERED

"""How long a client waits before it tries again."""

from __future__ import annotations

import math

import pytest

from trio_sio.client.reconnection import Backoff, Reconnection
from trio_sio.errors import ConfigurationError


def test_the_official_numbers() -> None:
    assert Reconnection() == Reconnection(attempts=math.inf, delay=1, delay_max=5, jitter=0.5)


def test_delays_double_up_to_the_cap() -> None:
    backoff = Backoff(Reconnection(jitter=0))

    assert [backoff.next_delay() for _ in range(5)] == [1, 2, 4, 5, 5]
    assert backoff.attempts == 5


@pytest.mark.parametrize(("random", "delays"), [(0.0, [0.5, 1, 2, 2.5, 2.5]), (0.5, [1, 2, 4, 5, 5]), (1.0, [1.5, 3, 5, 5, 5])])
def test_jitter_makes_them_longer_or_shorter_and_never_longer_than_the_cap(random: float, delays: list[float]) -> None:
    backoff = Backoff(Reconnection(), lambda: random)

    assert [backoff.next_delay() for _ in range(5)] == delays


def test_two_clients_do_not_wait_equally_long() -> None:
    one, other = Backoff(Reconnection()), Backoff(Reconnection())

    assert [one.next_delay() for _ in range(10)] != [other.next_delay() for _ in range(10)]


def test_a_server_that_stays_away_for_long_is_no_overflow() -> None:
    backoff = Backoff(Reconnection(jitter=0))
    backoff.attempts = 100_000

    assert backoff.next_delay() == 5


def test_a_success_begins_again() -> None:
    backoff = Backoff(Reconnection(attempts=2, jitter=0))

    assert [(backoff.next_delay(), backoff.exhausted) for _ in range(2)] == [(1, False), (2, True)]
    backoff.reset()
    assert [(backoff.next_delay(), backoff.exhausted) for _ in range(2)] == [(1, False), (2, True)]


@pytest.mark.parametrize(
    ("values", "name"),
    [
        ({"attempts": 0}, "attempts"),
        ({"attempts": math.nan}, "attempts"),
        ({"delay": 0}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": math.inf}, "delay"),
        ({"delay": 10}, "delay_max"),
        ({"delay_max": math.inf}, "delay_max"),
        ({"jitter": 1.1}, "jitter"),
        ({"jitter": -0.1}, "jitter"),
        ({"jitter": math.nan}, "jitter"),
    ],
)
def test_impossible_numbers_are_refused(values: dict[str, float], name: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"^Reconnection\.{name} is "):
        Reconnection(**values)

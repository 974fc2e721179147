"""Nothing of the two suites is missing, and nothing passes only because the ping time-out ended it."""

from __future__ import annotations

from tests.conformance.raw import test_engineio, test_socketio
from tests.conformance.raw.cases import BRISK, registered

ABOUT_PINGS = {"eio-16", "eio-17", "eio-18", "eio-19", "sio-08", "sio-09", "sio-10", "sio-11"}


def test_every_case_of_both_suites_has_a_test() -> None:
    expected = [f"eio-{number:02}" for number in range(1, 26)] + [f"sio-{number:02}" for number in range(1, 33)]

    assert len(expected) == 57
    assert sorted(registered) == expected


def test_no_test_replaces_another_of_the_same_name() -> None:
    tests = [name for module in (test_engineio, test_socketio) for name in vars(module) if name.startswith("test_")]

    assert len(tests) == len(registered)


def test_only_cases_about_pings_depend_on_their_timing() -> None:
    assert {case_id for case_id, timing in registered.items() if timing is BRISK} == ABOUT_PINGS

"""The harness finds mistakes: each of those in planted.py, with the step, the task and what is left."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from typing import Final, NamedTuple, TypeVar

import pytest

from tests.cancellation import planted
from tests.cancellation.planted import Application, HalfFrame, Sound, framed, go, running
from trio_sio.testing import CancellationFailure, Finding, cancel_everywhere

T = TypeVar("T")

DISPATCHER: Final = "trio_sio.namespaces.task.SocketTask.run"


class Case(NamedTuple):
    """One mistake.

    Attributes:
      application: Who makes it.
      where: The function that waits when it shows.
      what: What the report says.
      error: What is raised there, if it takes more than a cancellation.
    """

    application: type[Application]
    where: str
    what: str
    error: Callable[[], Exception] | None = None


CASES: Final = [
    Case(planted.AwaitInFinally, "work", "1 leases"),
    Case(planted.ForgottenShield, "work", "announced ['begun']"),
    Case(planted.LostPacket, "work", "lost {'first'}"),
    Case(planted.DoubleHook, "work", "1 came and 2 left"),
    Case(planted.SwallowedCancel, "work", f"it spins: task {DISPATCHER} at planted.py:"),
    Case(planted.ShieldWithoutDeadline, "ShieldWithoutDeadline.go", f"it hangs: task {DISPATCHER} at planted.py:"),
    Case(planted.LockWithoutFinally, "LockWithoutFinally.go", "busy forever"),
    Case(planted.TaskOutside, "work", "tasks: "),
    Case(planted.OpenFile, "work", "descriptors: "),
    Case(planted.CleanupFails, "work", "LookupError: no such thing"),
    Case(planted.AnswerForgotten, "work", "TooSlowError: The acknowledgement of 'go'", lambda: OSError("disk full")),
]


def find(scenario: Callable[[T], Awaitable[object]], invariants: Callable[[], AbstractAsyncContextManager[T]], part: str) -> list[Finding]:
    """Return what the harness finds, which is also what its message says."""
    with pytest.raises(CancellationFailure) as info:
        cancel_everywhere(scenario, invariants, part=part)
    for finding in info.value.report.findings:
        assert str(finding) in str(info.value)
    return info.value.report.findings


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.application.__name__)
def test_a_mistake_of_an_application(case: Case) -> None:
    with pytest.raises(CancellationFailure) as info:
        cancel_everywhere(go, lambda: running(case.application()), part="handler", error=case.error)

    first = info.value.report.findings[0]
    assert f"step {first.step} (seed 0), task {DISPATCHER}, at planted.py:" in str(info.value)
    assert first.where.endswith(f" in {case.where}")
    assert case.what in first.what


def test_half_a_frame_before_the_goodbye() -> None:
    findings = find(HalfFrame.talk, framed, "everything")

    first = findings[0]
    assert first.step > 1  # before the first frame a goodbye is right
    assert first.where.endswith(" in HalfFrame.send")
    assert first.what == r"received [b'\x07good', b'ye']"


@pytest.mark.parametrize(
    ("plant", "what"),
    [
        (planted.leak_sid, "sessions: 1 instead of 0"),
        (planted.leak_room, "rooms: 1 instead of 0"),
        (planted.leak_timer, "timers: 1 instead of 0"),
    ],
)
def test_a_mistake_of_the_library(plant: Callable[[pytest.MonkeyPatch], None], what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    report = cancel_everywhere(go, lambda: running(Sound()), part="reader")
    plant(monkeypatch)

    findings = find(go, lambda: running(Sound()), "reader")

    assert len(report.findings) == 0
    assert {finding.task for finding in findings} == {"trio_sio.doors.native.http.handle_connection"}
    assert what in findings[0].what

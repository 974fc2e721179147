"""What `make autobahn` lets pass. The suite itself needs Python 2.7 and is not run here."""

from __future__ import annotations

import pytest

from tests.autobahn.run import DOCUMENT, Argued, judge, read_exceptions
from tests.autobahn.server import WIRES

EXCEPTIONS = [Argued("2.10", "FAILED"), Argued("12.*", "UNIMPLEMENTED")]


def report(**results: str) -> dict[str, dict[str, dict[str, object]]]:
    """The same on every wire: case -> verdict and how it was closed."""
    cases: dict[str, dict[str, object]] = {}
    for case, result in results.items():
        behavior, closing = result.split("/")
        cases[case.replace("_", ".").lstrip("c")] = {"behavior": behavior, "behaviorClose": closing}
    return dict.fromkeys(WIRES, cases)


@pytest.mark.parametrize(
    ("results", "bad"),
    [
        ({"c1_1": "OK/OK", "c2_1": "NON-STRICT/INFORMATIONAL"}, []),
        ({"c2_10": "FAILED/OK", "c12_1_1": "UNIMPLEMENTED/OK"}, []),
        ({"c2_1": "FAILED/OK", "c2_10": "FAILED/OK"}, ["case 2.1 is FAILED"]),
        ({"c2_10": "UNIMPLEMENTED/OK", "c2_2": "OK/OK"}, ["case 2.10 is UNIMPLEMENTED"]),
        ({"c9_1": "OK/UNCLEAN", "c9_2": "OK/OK"}, ["case 9.1 is UNCLEAN CLOSE"]),
        ({"c1_1": "OK/OK"}, ["1 of 2 cases"]),
    ],
)
def test_only_good_and_argued_cases_pass(results: dict[str, str], bad: list[str]) -> None:
    complaints = judge(report(**results), EXCEPTIONS, cases=2)

    assert len(complaints) == len(bad) * len(WIRES)
    assert all(any(text in complaint for text in bad) for complaint in complaints)


def test_a_wire_without_a_report_does_not_pass() -> None:
    assert len(judge({}, EXCEPTIONS, cases=2)) == len(WIRES)


def test_the_document_has_the_table_that_the_runner_reads() -> None:
    exceptions = read_exceptions(DOCUMENT.read_text(encoding="utf-8"))

    assert Argued("2.10", "FAILED") in exceptions
    assert not any(argued.verdict == "FAILED" and "*" in argued.cases for argued in exceptions)

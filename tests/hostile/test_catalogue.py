"""The catalogue of hostile input and the tests that claim to prove it must agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
SECTIONS = {"H": 56, "W": 30, "E": 21, "U": 10, "S": 70, "B": 28, "P": 36}
STATES = {"done", "host", "argued", "open"}
AT_DOORS = {
    "hypercorn": ("hypercorn", "HWEUS"),
    "asgi": ("asgi", "HWEUS"),
    "trio-websocket": ("trio_websocket", "WES"),
}  # where a row says why not, and which do
WITH_ARGUMENT = {"host", "argued"}

Catalogue = Mapping[str, Mapping[str, str]]


class Claim(NamedTuple):
    """What one collected test says of one row.

    Attributes:
      row: Of the catalogue.
      test: The test, with its parameters.
      door: At which door it attacks; ``None`` where neither its parameters nor its mark tell.
    """

    row: str
    test: str
    door: str | None

    @property
    def function(self) -> str:
        """The test without its parameters."""
        return self.test.partition("[")[0]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return tomllib.loads((ROOT / "tests/hostile/catalogue.toml").read_text())


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[Claim]]:
    """Row -> tests that carry ``@pytest.mark.hostile(row)``; collected afresh, so that it is the whole suite in any case."""
    target = tmp_path_factory.mktemp("hostile") / "claims.json"
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "--quiet", "-p", "no:cacheprovider", "tests"],
        cwd=ROOT,
        env=os.environ | {"TRIO_SIO_HOSTILE_CLAIMS": str(target), "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert process.returncode == 0, f"The test suite cannot be collected:\n{process.stdout}{process.stderr}"
    by_row: dict[str, list[Claim]] = {}
    for entry in json.loads(target.read_text()):
        claim = Claim(**entry)
        by_row.setdefault(claim.row, []).append(claim)
    return by_row


def test_every_row_is_here_once_and_complete(catalogue: Catalogue) -> None:
    later = [name for name in catalogue if name[0] not in SECTIONS]  # numbered with gaps, in any order
    assert all(len(name) == 3 and name[0].isupper() and name[1:].isdigit() for name in later)
    assert list(catalogue) == [
        *(f"{section}{number:02}" for section, count in SECTIONS.items() for number in range(1, count + 1)),
        *later,
    ]
    assert len(catalogue) - len(later) == 251
    for name, row in catalogue.items():
        argument = {"argument"} if row["state"] == "argued" else set()
        at_doors = {key for key, _ in AT_DOORS.values() if key in row}
        at_doors |= {f"{key}_argument" for key in at_doors if row[key] in WITH_ARGUMENT}
        assert set(row) == {"input", "expect", "state"} | argument | at_doors, name
        assert row["state"] in STATES, name
        assert row.get("asgi", "host") in {"host", "argued"}, name
        assert row.get("hypercorn", "host") in {"host", "argued"}, name
        assert row.get("trio_websocket", "host") in {"host", "polling"}, name
        assert all(value.strip() for value in row.values()), name


def test_done_rows_are_proved(catalogue: Catalogue, claims: dict[str, list[Claim]]) -> None:
    unproved = [name for name, row in catalogue.items() if row["state"] == "done" and name not in claims]
    assert not unproved, f'These rows are done, and no collected test carries @pytest.mark.hostile("..."): {unproved}'


def test_claims_name_done_rows(catalogue: Catalogue, claims: dict[str, list[Claim]]) -> None:
    unknown = {row: sorted(claim.test for claim in found) for row, found in claims.items() if row not in catalogue}
    assert not unknown, f"These tests claim rows that do not exist: {unknown}"
    unfinished = {row: sorted(claim.test for claim in found) for row, found in claims.items() if catalogue[row]["state"] != "done"}
    assert not unfinished, f'These rows are proved by tests; set state = "done" in catalogue.toml: {unfinished}'


@pytest.mark.parametrize("door", AT_DOORS)
def test_nothing_is_left_out_at_a_door_in_silence(catalogue: Catalogue, claims: dict[str, list[Claim]], door: str) -> None:
    key, sections = AT_DOORS[door]
    unexplained, superfluous = {}, []
    for name, row in catalogue.items():
        if name[0] not in sections or row["state"] != "done":
            continue
        proofs = claims.get(name, [])
        at_door = {claim.function for claim in proofs if claim.door == door}
        missing = {claim.function for claim in proofs if claim.door == "native"} - at_door
        if (missing or not at_door) and key not in row:
            unexplained[name] = sorted(missing)
        elif key in row and at_door and not missing:
            superfluous.append(name)
    assert not unexplained, f"These tests do not run at the door {door}, and the catalogue does not say why (`{key}`): {unexplained}"
    assert not superfluous, f"All tests of these rows run at the door {door}, so their `{key}` in the catalogue is void: {superfluous}"

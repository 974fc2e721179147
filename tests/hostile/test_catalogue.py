"""The catalogue of hostile input and the tests that claim to prove it must agree."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
SECTIONS = {"H": 56, "W": 30, "E": 21, "U": 10, "S": 70, "B": 28, "P": 36}
STATES = {"done", "host", "argued", "open"}

Catalogue = Mapping[str, Mapping[str, str]]


@pytest.fixture(scope="module")
def catalogue() -> Catalogue:
    return tomllib.loads((ROOT / "tests/hostile/catalogue.toml").read_text())


@pytest.fixture(scope="module")
def claims(tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
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
    by_row: dict[str, set[str]] = {}
    for nodeid, rows in json.loads(target.read_text()).items():
        for row in rows:
            by_row.setdefault(row, set()).add(nodeid)
    return by_row


def test_every_row_is_here_once_and_complete(catalogue: Catalogue) -> None:
    assert list(catalogue) == [f"{section}{number:02}" for section, count in SECTIONS.items() for number in range(1, count + 1)]
    assert len(catalogue) == 251
    for name, row in catalogue.items():
        expected_keys = {"input", "expect", "state"} | ({"argument"} if row["state"] == "argued" else set())
        assert set(row) == expected_keys, name
        assert row["state"] in STATES, name
        assert all(value.strip() for value in row.values()), name


def test_done_rows_are_proved(catalogue: Catalogue, claims: dict[str, set[str]]) -> None:
    unproved = [name for name, row in catalogue.items() if row["state"] == "done" and name not in claims]
    assert not unproved, f'These rows are done, and no collected test carries @pytest.mark.hostile("..."): {unproved}'


def test_claims_name_done_rows(catalogue: Catalogue, claims: dict[str, set[str]]) -> None:
    unknown = {name: sorted(tests) for name, tests in claims.items() if name not in catalogue}
    assert not unknown, f"These tests claim rows that do not exist: {unknown}"
    unfinished = {name: sorted(tests) for name, tests in claims.items() if catalogue[name]["state"] != "done"}
    assert not unfinished, f'These rows are proved by tests; set state = "done" in catalogue.toml: {unfinished}'

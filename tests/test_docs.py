"""What is documented is what there is."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_about_configuration_is_what_the_code_says() -> None:
    generator = runpy.run_path(str(DOCS / "generate.py"))

    assert generator["PAGE"].read_text(encoding="utf-8") == generator["page"](), "Run `python docs/generate.py`."


def test_the_figures_of_the_doors_are_those_that_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmarks = DOCS.parent / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    measured = runpy.run_path(str(benchmarks / "doors.py"))
    text = (DOCS / "doors.md").read_text(encoding="utf-8").partition("## What it costs\n")[2]
    head, _, *rows = ([cell.strip() for cell in row.split("|")] for row in re.findall(r"^\|(.*)\|$", text, re.MULTILINE))

    assert head == ["", *measured["DOORS"]]
    assert [row[0] for row in rows] == list(measured["LINES"])
    assert all(cell for row in rows for cell in row)

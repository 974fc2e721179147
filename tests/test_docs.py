"""What is documented is what there is."""

from __future__ import annotations

import re
import runpy
from itertools import combinations
from pathlib import Path

import pytest

from docs import architecture, drawing

DOCS = Path(__file__).parent.parent / "docs"


def test_the_page_about_configuration_is_what_the_code_says() -> None:
    generator = runpy.run_path(str(DOCS / "generate.py"))

    assert generator["PAGE"].read_text(encoding="utf-8") == generator["page"](), "Run `python docs/generate.py`."


def test_the_page_about_the_architecture_is_what_the_code_says() -> None:
    assert architecture.PAGE.read_text(encoding="utf-8") == architecture.page(), "Run `python -m docs.architecture`."


def test_the_picture_of_the_architecture_is_what_the_imports_are() -> None:
    assert architecture.PICTURE.read_text(encoding="utf-8") == architecture.picture(), "Run `python -m docs.architecture`."


def test_lines_of_the_picture_cross_no_box_and_lie_on_no_other_line() -> None:
    arrows = architecture.arrows()
    areas, drawn = drawing.areas_of(architecture.BOXES, arrows), []
    assert not any(one.meets(other, drawing.GAP / 2) for one, other in combinations(areas.values(), 2))
    for arrow, path in drawing.paths_of(arrows, areas).items():
        segments = drawing.segments_of(path)
        others = [area for name, area in areas.items() if name not in (arrow.source, arrow.target)]
        assert not any(one.meets(other, 1) for one in segments for other in others), arrow
        assert all(one.left == one.right or one.top == one.bottom for one in segments), arrow
        drawn += segments
    upright = [one for one in drawn if one.left == one.right]
    assert not any(one.meets(other, 1) for one, other in combinations(upright, 2))


def test_the_figures_of_the_doors_are_those_that_are_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    benchmarks = DOCS.parent / "benchmarks"
    monkeypatch.syspath_prepend(str(benchmarks))
    measured = runpy.run_path(str(benchmarks / "doors.py"))
    text = (DOCS / "doors.md").read_text(encoding="utf-8").partition("## What it costs\n")[2]
    head, _, *rows = ([cell.strip() for cell in row.split("|")] for row in re.findall(r"^\|(.*)\|$", text, re.MULTILINE))

    assert head == ["", *measured["DOORS"]]
    assert [row[0] for row in rows] == list(measured["LINES"])
    assert all(cell for row in rows for cell in row)

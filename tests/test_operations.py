"""What docs/operations.md says about memory, measured again."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

from tests.conftest import ROOT

ROW: Final = re.compile(r"^\| (.+) \| ([\d,]+) \|$", re.MULTILINE)
ALLOWED: Final = 0.3  # versions of Python differ
NEARLY_NOTHING: Final = 16


def figures(text: str) -> dict[str, int]:
    return {name: int(value.replace(",", "")) for name, value in ROW.findall(text)}


def test_the_arithmetic_has_figures_that_hold() -> None:
    said = figures((ROOT / "docs" / "operations.md").read_text())
    done = subprocess.run(
        [sys.executable, str(ROOT / "benchmarks" / "sizing.py")], capture_output=True, text=True, timeout=120, check=True, cwd=ROOT
    )
    measured = figures(done.stdout)
    assert len(measured) == 4
    for name, value in measured.items():
        assert abs(value - said[name]) <= max(ALLOWED * value, NEARLY_NOTHING), name

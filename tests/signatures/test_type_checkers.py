"""Right and wrong uses of declared events, as mypy and pyright see them."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
USES = (Path(__file__).parent / "uses.txt").read_text(encoding="utf-8")
WRONG = {number for number, line in enumerate(USES.splitlines(), 1) if line.endswith("# wrong")}

pytestmark = pytest.mark.slow


def run(*command: object) -> str:
    ran = subprocess.run([str(word) for word in command], capture_output=True, text=True, check=False, cwd=ROOT, timeout=80)
    assert ran.returncode == 1, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture
def uses(tmp_path: Path) -> Path:
    path = tmp_path / "uses.py"
    path.write_text(USES, encoding="utf-8")
    return path


def test_mypy_finds_what_is_wrong_and_nothing_else(uses: Path) -> None:
    options = ("--strict", "--python-version", "3.11", "--config-file", "pyproject.toml", "--cache-dir", uses.parent)
    output = run(sys.executable, "-m", "mypy", *options, uses)
    found = {int(number) for number in re.findall(r"uses\.py:(\d+): error", output)}
    assert found == WRONG, output


@pytest.mark.needs("node", "pyright")
def test_pyright_finds_what_is_wrong_and_nothing_else(uses: Path) -> None:
    (uses.parent / "pyrightconfig.json").write_text(
        json.dumps({"typeCheckingMode": "strict", "extraPaths": [str(ROOT)], "pythonVersion": "3.11", "reportUnusedFunction": False})
    )
    pyright = ROOT / "node_modules" / "pyright" / "index.js"
    output = run("node", pyright, "--outputjson", "--pythonpath", sys.executable, "--project", uses.parent, uses)
    errors = [one for one in json.loads(output)["generalDiagnostics"] if one["severity"] == "error"]
    found = {one["range"]["start"]["line"] + 1 for one in errors}
    assert found == WRONG, "\n".join(f"{one['range']['start']['line'] + 1}: {one['message']}" for one in errors)

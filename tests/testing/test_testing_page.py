"""What docs/testing.md shows works as it stands: its blocks are the files of one directory, and pytest runs the tests in it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT

PAGE = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")


@pytest.mark.slow
def test_the_page_about_testing(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n# ([\w.]+)\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
    assert len(blocks) == PAGE.count("```python")
    for name, text in blocks:
        (tmp_path / name).write_text(text, encoding="utf-8")

    plugins = ["-p", "pytest_trio.plugin", "-p", "trio_sio.testing.plugin", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"}
    process = subprocess.run(
        [sys.executable, "-m", "pytest", "-v", "-W", "error", *plugins, "-c", os.devnull, "--rootdir", "."],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert process.returncode == 0, process.stdout + process.stderr
    for name, text in blocks:
        for test in re.findall(r"def (test_\w+)", text):
            assert f"{name}::{test}" in process.stdout

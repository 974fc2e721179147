"""What the page for those who come from Midway shows works as it stands."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PAGE = (ROOT / "docs" / "from-midway.md").read_text()
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)
FILES = {block.partition("\n")[0].removeprefix("# "): block for block in BLOCKS}


@pytest.fixture(scope="module")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with all of the page's files."""
    directory = tmp_path_factory.mktemp("from_midway")
    for name, text in FILES.items():
        (directory / name).write_text(text)
    return directory


def run(command: list[str], directory: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    process = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert process.returncode == 0, f"{command} ended with {process.returncode}:\n{process.stdout}{process.stderr}"


def test_every_block_is_a_file() -> None:
    assert len(FILES) == len(BLOCKS)
    assert [name for name in FILES if not re.fullmatch(r"\w+\.py", name)] == []


@pytest.mark.slow
def test_the_files_do_what_the_page_says(workspace: Path) -> None:
    run([sys.executable, "-m", "pytest", "--quiet", "-W", "error", "-p", "no:cacheprovider", "--rootdir", ".", "-c", os.devnull], workspace)


def test_every_decorator_and_name_of_ours_on_the_page_exists() -> None:
    import trio_sio

    imported = set(re.findall(r"\w+", " ".join(re.findall(r"from trio_sio import (.*)", PAGE))))
    assert imported
    assert imported <= set(trio_sio.__all__)
    decorators = {*re.findall(r"@(on_\w+|emits|broadcasts)", PAGE)}
    assert decorators <= set(trio_sio.__all__)
    assert {"on_connection", "on_disconnection", "on_message", "on_any_message", "emits", "broadcasts"} <= decorators

"""``trio-sio new``: the project passes its own test, is served by the line that it was printed with, and never writes over anything."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.examples.programs import javascript, serving
from tests.ports import free_port
from trio_sio import cli

FILES = ["app.py", "pyproject.toml", "test_app.py", "web/index.html"]
COMMAND = [sys.executable, "-m", "trio_sio"]


def files_of(directory: Path) -> list[str]:
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*") if path.is_file())


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("new") / "My chat"
    assert cli.main(["new", str(directory)]) == 0
    return directory


def run(project: Path, *command: str) -> str:
    variables = {**os.environ, "PYTEST_ADDOPTS": "", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": ""}
    ran = subprocess.run(command, cwd=project, env=variables, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def test_a_new_project_passes_its_own_test(project: Path) -> None:
    assert files_of(project) == FILES
    # Of the plug-ins that happen to be installed here it has those alone that it names, and ours.
    (name,) = tomllib.loads((project / "pyproject.toml").read_text())["dependency-groups"]["dev"][1:]
    assert name == "pytest-trio"
    output = run(
        project, sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:hypothesispytest", "-W", "error"
    )
    assert "3 passed" in output


@pytest.mark.slow
def test_a_new_project_has_types(project: Path) -> None:
    assert "Success" in run(project, sys.executable, "-m", "mypy", "--strict", "--cache-dir", os.devnull, "app.py")


def test_the_printed_lines_are_those_that_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    directory = tmp_path / "it's new" / "chat"
    assert cli.main(["new", str(directory)]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert lines == [
        f"""cd '{tmp_path}/it'"'"'s new/chat'""",
        "trio-sio run app:routes --static web",
        "python -m pip install pytest pytest-trio && python -m pytest",
    ]
    table = run(directory, *COMMAND, "routes", "app:routes")
    assert "say" in table
    with serving([*COMMAND, *lines[1].split()[1:], "--port", str(port := free_port())], port, directory, tmp_path / "log") as url:
        page = run(directory, sys.executable, "-c", f"import urllib.request; print(urllib.request.urlopen('{url}').read().decode())")
        assert page.strip() == (directory / "web/index.html").read_text().strip()
        heard = run(directory, *COMMAND, "connect", url, "--emit", 'say "Hello"', "--expect", "said")
        assert 'said "somebody" "Hello"' in heard


@pytest.mark.parametrize(
    ("directory", "name"),
    [("My Chat!", "my-chat"), ("board2", "board2"), ("чат", "chat"), ("a.b_c", "a-b-c"), ("-x-", "x")],
)
def test_the_name_of_the_project_is_one_that_packages_may_have(tmp_path: Path, directory: str, name: str) -> None:
    assert cli.main(["new", "--", str(tmp_path / directory)]) == 0
    assert tomllib.loads((tmp_path / directory / "pyproject.toml").read_text())["project"]["name"] == name


def test_an_empty_directory_will_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tea").mkdir()
    monkeypatch.chdir(tmp_path / "tea")
    assert cli.main(["new", "."]) == 0
    assert files_of(tmp_path / "tea") == FILES
    assert 'name = "tea"' in (tmp_path / "tea/pyproject.toml").read_text()


def test_nothing_is_written_where_something_is(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/.hidden").write_text("mine")
    (tmp_path / "file").write_text("mine")
    for name in ("full", "file"):
        assert cli.main(["new", str(tmp_path / name)]) == 2
        assert capsys.readouterr().err == f"trio-sio: {tmp_path / name} is there and no empty directory; name one that does not exist.\n"
    assert cli.main(["new", str(tmp_path / "file/below")]) == 2
    assert capsys.readouterr().err == f"trio-sio: {tmp_path}/file/below cannot be written: Not a directory.\n"
    assert files_of(tmp_path) == ["file", "full/.hidden"]


@pytest.mark.slow
@pytest.mark.needs("node", "chromium", "playwright-core", "socket.io-client")
def test_the_page_in_chromium(project: Path, tmp_path: Path) -> None:
    # The client that npm has is another version than that of the CDN.
    page = re.sub(' integrity="[^"]+"', "", (project / "web/index.html").read_text())
    (tmp_path / "web").mkdir()
    (tmp_path / "web/index.html").write_text(page)
    port = free_port()
    with serving(
        [*COMMAND, "run", "app:routes", "--static", f"{tmp_path}/web", "--port", str(port)], port, project, tmp_path / "log"
    ) as url:
        options = {"server": url, "root": str(ROOT), "chromium": shutil.which("chromium"), "shots": str(tmp_path)}
        javascript(ROOT / "tests/cli/starter.cjs", json.dumps(options))

"""What is published: its files, what an index says to it, and that nothing but it has to be there."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.examples.programs import serving
from tests.ports import free_port

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
BUILD = "import sys, hatchling.build as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"


def run(command: Sequence[str | Path], directory: Path, **environment: str) -> str:
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")} | environment
    ran = subprocess.run(command, cwd=directory, env=variables, capture_output=True, text=True, timeout=80, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def build(what: str, source: Path, target: Path) -> Path:
    return target / run([sys.executable, "-c", BUILD, f"build_{what}", target], source).split()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("wheel", ROOT, tmp_path_factory.mktemp("wheel"))


@pytest.fixture(scope="module")
def sdist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build("sdist", ROOT, tmp_path_factory.mktemp("sdist"))


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where the wheel is installed, with what it asks for and nothing else; skip where that cannot be had."""
    directory = tmp_path_factory.mktemp("empty") / "venv"
    run([sys.executable, "-m", "venv", "--without-pip", directory], ROOT)
    install = [*PIP, "--python", str(directory), "install", "--quiet", "--no-compile"]
    command = [*install, "--retries", "1", "--timeout", "10", "--only-binary", ":all:", *PROJECT["dependencies"]]
    ran = subprocess.run(command, cwd=directory, capture_output=True, text=True, timeout=80, check=False)
    if ran.returncode:
        reason = f"needs a package index to install {', '.join(PROJECT['dependencies'])}: {ran.stderr.strip().splitlines()[-1]}"
        if os.environ.get("CI") == "true":
            pytest.fail(f"{reason}\n{ran.stderr}", pytrace=False)
        pytest.skip(reason)
    run([*install, "--no-index", wheel], directory)
    return directory / "bin"


def test_the_wheel_has_the_library_and_nothing_else(wheel: Path) -> None:
    package = {str(path.relative_to(ROOT)) for path in (ROOT / "trio_sio").rglob("*") if path.is_file() and path.suffix != ".pyc"}
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == package
    assert {"trio_sio/py.typed", "trio_sio/cli/starter/app.py.txt"} <= names


def test_a_wheel_of_the_source_distribution_is_the_same(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    with tarfile.open(sdist) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    assert {path.name for path in source.iterdir()} >= {"CHANGELOG.md", "LICENSE", "README.md", "docs", "trio_sio"}
    again = build("wheel", source, tmp_path)
    one, other = ({entry.filename: entry.CRC for entry in zipfile.ZipFile(path).infolist()} for path in (wheel, again))
    assert one == other


def test_an_index_takes_both(wheel: Path, sdist: Path, tmp_path: Path) -> None:
    run([sys.executable, "-m", "twine", "check", "--strict", wheel, sdist], tmp_path)


@pytest.mark.slow
def test_in_an_empty_environment_every_public_name_is_there(environment: Path, tmp_path: Path) -> None:
    names = "import trio_sio; print(*[getattr(trio_sio, name) for name in trio_sio.__all__], sep='\\n')"
    assert "trio_sio.server.Server" in run([environment / "python", "-W", "error", "-c", names], tmp_path)


@pytest.mark.slow
def test_in_an_empty_environment_a_new_project_is_served_and_talks(environment: Path, tmp_path: Path) -> None:
    program, directory = str(environment / "trio-sio"), tmp_path / "chat"
    run([program, "new", "chat"], tmp_path)
    port = free_port()
    with serving([program, "run", "app:routes", "--static", "web", "--port", str(port)], port, directory, tmp_path / "log") as url:
        assert 'said "somebody" "Hello"' in run([program, "connect", url, "--emit", 'say "Hello"', "--expect", "said"], tmp_path)

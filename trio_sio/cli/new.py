"""``trio-sio new DIRECTORY``: a small project to begin with."""

from __future__ import annotations

import argparse
import re
import shlex
from importlib import resources
from pathlib import Path
from typing import Final

from .usage import UsageError

__all__ = ["add_new_options", "new_command"]

# Below starter/, where ".txt" keeps tools from taking them for code of ours.
_FILES: Final = ("app.py", "test_app.py", "pyproject.toml", "web/index.html")


def add_new_options(parser: argparse.ArgumentParser) -> None:
    """Add what `new_command` takes."""
    parser.add_argument("directory", metavar="DIRECTORY", type=Path, help="where to: it must not exist, or be empty")


async def new_command(options: argparse.Namespace) -> int:
    """Write the project and say what to do with it; return the exit code."""
    directory = options.directory
    try:
        _write(directory)
    except FileExistsError:
        raise UsageError(f"{directory} is there and no empty directory; name one that does not exist.") from None
    except OSError as exc:
        raise UsageError(f"{directory} cannot be written: {exc.strerror}.") from None
    print(f"Wrote {', '.join(_FILES)}. To serve it, and to test it:\n")
    print(f"  cd {shlex.quote(str(directory))}")
    print("  trio-sio run app:routes --static web")
    print("  python -m pip install pytest pytest-trio && python -m pytest")
    return 0


def _write(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    if any(directory.iterdir()):
        raise FileExistsError
    starter = resources.files(__package__) / "starter"
    for name in _FILES:
        text = (starter / f"{name}.txt").read_text(encoding="utf-8").replace("PROJECT_NAME", _project_name(directory))
        path = directory / name
        path.parent.mkdir(exist_ok=True)
        with path.open("x", encoding="utf-8") as file:
            file.write(text)


def _project_name(directory: Path) -> str:
    """Return a name that packages may have, as like that of the directory as possible."""
    return re.sub(r"[^a-z0-9]+", "-", directory.resolve().name.lower()).strip("-") or "chat"

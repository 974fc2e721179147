"""What the TypeScript compiler says of a program that uses a contract."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path
from typing import Final

from tests.conftest import ROOT
from trio_sio.contract import Contract

__all__ = ["find_faults"]

_OPTIONS: Final = ["--strict", "--noEmit", "--skipLibCheck", "--target", "es2022", "--module", "nodenext", "--moduleResolution", "nodenext"]


def find_faults(contract: Contract, uses: str, directory: Path) -> tuple[set[int], str]:
    """Compile ``uses``, which imports from ``./contract``; return the lines with a fault, and all that was said."""
    (directory / "contract.ts").write_text(contract.text("typescript"), encoding="utf-8")
    (directory / "uses.ts").write_text(uses, encoding="utf-8")
    (directory / "node_modules").symlink_to(ROOT / "node_modules")
    compiler = ROOT / "node_modules" / "typescript" / "bin" / "tsc"
    command = ["node", str(compiler), *_OPTIONS, "uses.ts"]
    said = subprocess.run(command, capture_output=True, text=True, check=False, cwd=directory, timeout=80).stdout
    return {int(number) for number in re.findall(r"^uses\.ts\((\d+),", said, re.MULTILINE)}, said

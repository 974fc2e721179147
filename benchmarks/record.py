"""What was measured, as docs/performance.json keeps it, with when and on what; docs/performance.py makes a page of it."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from harness import ROOT, Results
from servers import versions

FIGURES: Final = ROOT / "docs/performance.json"


def machine() -> dict[str, object]:
    """Return what this is measured on."""
    model = next((line.partition(":")[2].strip() for line in _lines("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    memory = next((int(line.split()[1]) for line in _lines("/proc/meminfo") if line.startswith("MemTotal")), 0)
    return {
        "processor": model,
        "cores": len(os.sched_getaffinity(0)),
        "memory_gb": round(memory / 2**20),
        "kernel": platform.release().partition("-")[0],
    }


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []


def record(section: str, results: Results, details: Mapping[str, object], path: Path = FIGURES) -> None:
    """Replace one section of the figures, and leave the others.

    Args:
      section: Its name.
      results: What was measured.
      details: What else is to be known of it.
      path: The file.
    """
    figures = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    date = time.strftime("%Y-%m-%d", time.gmtime())
    figures[section] = {"date": date, "machine": machine(), "versions": versions(), **details, **results.as_json()}
    path.write_text(json.dumps(figures, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"These figures are in {path} now; `python -m docs.performance` writes docs/performance.md.", file=sys.stderr)

"""Run Autobahn's fuzzing client against the native door and judge its report: ``make autobahn``."""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Final, NamedTuple

import trio

from tests.autobahn.server import WIRES, serve_echo

ROOT: Final = Path(__file__).parent.parent.parent
DOCUMENT: Final = ROOT / "docs/autobahn.md"

CASES: Final = 517
TIME_OUT: Final = 45 * 60

GOOD: Final = frozenset({"OK", "NON-STRICT", "INFORMATIONAL"})

Report = Mapping[str, Mapping[str, Mapping[str, object]]]


class Argued(NamedTuple):
    """A row of the table of exceptions in docs/autobahn.md: these cases may also end like that."""

    cases: str
    verdict: str


def read_exceptions(document: str) -> list[Argued]:
    """Return the rows of the table of exceptions."""
    rows = re.findall(r"(?m)^\| `([0-9.*]+)` \| `([A-Z -]+)` \| \S.* \|$", document)
    return [Argued(cases, verdict) for cases, verdict in rows]


def verdicts(report: Report) -> Iterator[tuple[str, str, str]]:
    """Give wire, case and verdict; the verdict on the case itself comes before the one on how it was closed."""
    for wire, cases in report.items():
        for case, result in sorted(cases.items(), key=lambda item: [int(part) for part in item[0].split(".")]):
            behavior, closing = str(result["behavior"]), str(result["behaviorClose"])
            yield wire, case, behavior if behavior not in GOOD or closing in GOOD else f"{closing} CLOSE"


def judge(report: Report, exceptions: Sequence[Argued], cases: int) -> list[str]:
    """Return a sentence for everything in ``report`` that is neither good nor an argued exception."""
    complaints = [
        f"{wire}: {len(report.get(wire, ()))} of {cases} cases are in the report." for wire in WIRES if len(report.get(wire, ())) != cases
    ]
    for wire, case, verdict in verdicts(report):
        if verdict not in GOOD and not any(fnmatchcase(case, argued.cases) and verdict == argued.verdict for argued in exceptions):
            complaints.append(f"{wire}: case {case} is {verdict}, and {DOCUMENT.relative_to(ROOT)} gives no reason for that.")
    return complaints


async def fuzz(python: str, packages: Path, cases: Sequence[str], outdir: Path) -> Report:
    """Run the fuzzing client and return the index of its report.

    Args:
      python: The Python 2.7 to run it with.
      packages: The directory into which ``autobahntestsuite`` was installed.
      cases: Numbers or patterns, such as ``9.*``.
      outdir: Where it leaves a page for each case.
    """
    environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    async with trio.open_nursery() as nursery:
        ports: dict[str, int] = await nursery.start(serve_echo)
        spec = {
            "outdir": str(outdir),
            "servers": [{"agent": wire, "url": f"ws://127.0.0.1:{port}"} for wire, port in ports.items()],
            "cases": list(cases),
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        with tempfile.TemporaryDirectory() as directory:
            path = trio.Path(directory) / "fuzzingclient.json"
            await path.write_text(json.dumps(spec), encoding="utf-8")
            command = [python, str(packages / "bin/wstest"), "--mode", "fuzzingclient", "--spec", str(path)]
            with trio.fail_after(TIME_OUT):
                await trio.run_process(command, env=environment, cwd=directory, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
        nursery.cancel_scope.cancel()
    report: Report = json.loads(await trio.Path(outdir / "index.json").read_text(encoding="utf-8"))
    return report


def say(sentence: str) -> None:
    """Write a line to the terminal."""
    sys.stdout.write(f"{sentence}\n")


def main() -> int:
    """Return 0 if every case is good or argued."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--python", default="python2.7", help="the Python 2.7 that runs the suite (default: %(default)s)")
    parser.add_argument("--packages", type=Path, default=ROOT / ".venv-autobahn", help="where autobahntestsuite is installed")
    parser.add_argument("cases", nargs="*", help="only these cases, such as 5.* or 9.1.1; default: all")
    arguments = parser.parse_args()
    outdir = arguments.packages / "report"
    shutil.rmtree(outdir, ignore_errors=True)  # or an older report could be judged
    report = trio.run(fuzz, arguments.python, arguments.packages, arguments.cases or ["*"], outdir)
    for wire in WIRES:
        count = Counter(verdict for name, _, verdict in verdicts(report) if name == wire)
        say(f"{wire}: {', '.join(f'{number} {verdict}' for verdict, number in count.most_common())}")
    say(f"The report is {outdir / 'index.html'}.")
    expected = len(next(iter(report.values()), ())) if arguments.cases else CASES
    complaints = judge(report, read_exceptions(DOCUMENT.read_text(encoding="utf-8")), expected)
    for sentence in complaints or ["Every case is good, or an exception that is argued."]:
        say(sentence)
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())

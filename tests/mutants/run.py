"""Break the library on purpose, one line at a time, and see whether the tests notice: ``make mutants``.

Each entry of mutants.toml is applied to a copy of the tree. There the tests that are closest to the line run first, then
all the others, until one fails. A mutant that no test notices has survived; then something is promised that no test
holds us to, and the exit status is 1. So it is when the test that failed does not depend on the mutant: it must fail once
more, and pass when the line is mended.

    python tests/mutants/run.py [NAME ...]     only the mutants whose names contain one of these
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

ROOT: Final = Path(__file__).resolve().parents[2]
LIST: Final = Path(__file__).with_name("mutants.toml")

AT_ONCE: Final = 2
TEST_SECONDS: Final = 45  # for one test; past that it hangs
NEAR_SECONDS: Final = 180.0  # for the tests that a mutant names, should pytest itself hang
ALL_SECONDS: Final = 1200.0  # for all the others
# Not quiet: what hangs is known from the last line.
PYTEST: Final = (
    *(sys.executable, "-m", "pytest", "-x", "-v", "-p", "no:cacheprovider", "--import-mode=importlib"),
    *("-o", f"faulthandler_timeout={TEST_SECONDS}", "-o", "faulthandler_exit_on_timeout=true"),
)

_NOT_COPIED: Final = shutil.ignore_patterns(".git", ".venv*", "node_modules", ".hypothesis", ".*_cache", "build", "dist", "mutants")
_FAILED: Final = re.compile(r"^(?:FAILED|ERROR) (\S+::.+?)(?: - .*)?$", re.MULTILINE)
_RUNNING: Final = re.compile(r"^(\S+\.py::.*?)\s*Timeout \(", re.MULTILINE)


class Misfit(Exception):
    """A mutant that does not fit the tree: its line is gone, or occurs more than once."""


@dataclass(frozen=True, kw_only=True)
class Mutant:
    """One way to break the library.

    Attributes:
      name: What it is called.
      file: The file, below ``trio_sio/``.
      old: The line, without its indentation.
      new: What stands there instead.
      why: What would go wrong.
      tests: Where the tests are that should notice.
      within: The beginnings of the ``class`` and ``def`` lines around ``old``, outermost first; for lines that occur
        more than once.
    """

    name: str
    file: str
    old: str
    new: str
    why: str
    tests: list[str]
    within: list[str]

    def apply(self, source: str) -> str:
        """Return ``source`` with the line replaced.

        Raises:
          Misfit: if there is not exactly one such line.
        """
        lines = source.splitlines()
        start, stop = 0, len(lines)
        for opening in self.within:
            start, stop = self._block(lines, start, stop, opening)
        found = [number for number in range(start, stop) if lines[number].strip() == self.old]
        if len(found) != 1:
            raise Misfit(f"{self.name}: trio_sio/{self.file} has {len(found)} lines {self.old!r} where it should have one.")
        line = lines[found[0]]
        lines[found[0]] = line[: len(line) - len(line.lstrip())] + self.new
        return "\n".join(lines) + "\n"

    def _block(self, lines: list[str], start: int, stop: int, opening: str) -> tuple[int, int]:
        for first in range(start, stop):
            if not lines[first].strip().startswith(opening):
                continue
            depth = len(lines[first]) - len(lines[first].lstrip())
            for last in range(first + 1, stop):
                # A closing parenthesis may stand as far left as the line that it belongs to.
                if (
                    lines[last].strip(" )")
                    and len(lines[last]) - len(lines[last].lstrip()) <= depth
                    and not lines[last].lstrip().startswith(")")
                ):
                    return first, last
            return first, stop
        raise Misfit(f"{self.name}: trio_sio/{self.file} has no line that begins with {opening!r}.")


class Failure(NamedTuple):
    """Why pytest did not pass.

    Attributes:
      what: For people.
      test: The first test that failed or hung, for pytest; ``None`` if it did not come to that.
    """

    what: str
    test: str | None = None


class Verdict(NamedTuple):
    """What became of a mutant.

    Attributes:
      mutant: Which.
      killer: What noticed it; ``None`` if nothing did.
      doubt: Why that may be something else than the mutant, if it may.
      seconds: How long that took.
    """

    mutant: Mutant
    killer: str | None
    doubt: str | None
    seconds: float


def load(wanted: list[str]) -> list[Mutant]:
    """Return the mutants whose names contain one of ``wanted``, or all.

    Raises:
      Misfit: if one of them, wanted or not, does not fit the tree.
    """
    mutants = [Mutant(**{"within": [], **entry}) for entry in tomllib.loads(LIST.read_text())["mutant"]]
    misfits = []
    for mutant in mutants:
        try:
            mutant.apply((ROOT / "trio_sio" / mutant.file).read_text())
        except Misfit as misfit:
            misfits.append(str(misfit))
        misfits += [f"{mutant.name}: there is no {path}." for path in mutant.tests if not (ROOT / path).exists()]
    if misfits:
        raise Misfit("\n".join([*misfits, f"Mend {LIST.relative_to(ROOT)}: every mutant must fit the tree as it is."]))
    chosen = [mutant for mutant in mutants if not wanted or any(part in mutant.name for part in wanted)]
    if not chosen:
        raise Misfit(f"No mutant's name contains {' or '.join(wanted)}; they are listed in {LIST.relative_to(ROOT)}.")
    return chosen


def run_tests(tree: Path, arguments: list[str], seconds: float) -> Failure | None:
    """Run pytest in ``tree``; return what failed first, or ``None`` if all passed."""
    process = subprocess.Popen(
        [*PYTEST, *arguments],
        cwd=tree,
        env=_environment(tree),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        output, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        return Failure("a hang of pytest itself")
    finally:
        # Servers that its tests have started would otherwise live on.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    if process.returncode == 0:
        return None
    if failed := _FAILED.search(output):
        return Failure(failed.group(1), failed.group(1))
    if hanging := _RUNNING.search(output):
        return Failure(f"a hang in {hanging.group(1)}", hanging.group(1))
    return Failure(f"pytest's exit status {process.returncode}")


def _environment(tree: Path) -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(tree), "PYTHONUNBUFFERED": "1"}


def copy_tree(source: Path, target: Path) -> None:
    """Copy the repository, time stamps and compiled files included; the npm packages are only linked."""
    shutil.copytree(source, target, ignore=_NOT_COPIED, symlinks=True)
    if (ROOT / "node_modules").exists():
        (target / "node_modules").symlink_to(ROOT / "node_modules")


def require_copy(tree: Path) -> None:
    """Make sure that tests in ``tree`` import its own trio_sio, not the installed one."""
    command = [sys.executable, "-c", "import trio_sio; print(trio_sio.__file__)"]
    found = subprocess.run(command, cwd=tree, env=_environment(tree), capture_output=True, text=True, check=True).stdout.strip()
    if not Path(found).is_relative_to(tree):
        raise Misfit(f"The copy is not what is imported: {found}. Remove what puts another trio_sio first on sys.path.")


def judge(mutant: Mutant, unbroken: Path, directory: Path) -> Verdict:
    """Break a copy of ``unbroken`` and return what became of it."""
    began = time.monotonic()
    tree = directory / mutant.name
    copy_tree(unbroken, tree)
    try:
        file = tree / "trio_sio" / mutant.file
        whole = file.read_text()
        write_source(file, mutant.apply(whole))
        failure = run_tests(tree, mutant.tests, NEAR_SECONDS)
        if failure is None:
            failure = run_tests(tree, ["tests", *(f"--ignore={path}" for path in mutant.tests)], ALL_SECONDS)
        doubt = None
        if failure is not None and failure.test is not None:
            if run_tests(tree, [failure.test], NEAR_SECONDS) is None:
                doubt = "passed when it was run again"
            else:
                write_source(file, whole)
                if run_tests(tree, [failure.test], NEAR_SECONDS) is not None:
                    doubt = "fails without the mutant as well"
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    return Verdict(mutant, None if failure is None else failure.what, doubt, time.monotonic() - began)


def write_source(file: Path, text: str) -> None:
    """Replace a Python file, and what is compiled of it: Python takes that for the new one's if stamp and size happen to fit."""
    file.write_text(text)
    for compiled in (file.parent / "__pycache__").glob(f"{file.stem}.*"):
        compiled.unlink()


def say(text: str) -> None:
    """Print a line at once, also where the output is a file."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main(wanted: list[str]) -> int:
    """Judge the mutants and print the table; return how the process should exit."""
    try:
        mutants = load(wanted)
        with tempfile.TemporaryDirectory(prefix="trio_sio-mutants-") as name:
            directory = Path(name).resolve()
            unbroken = directory / "unbroken"
            copy_tree(ROOT, unbroken)
            require_copy(unbroken)
            near = sorted({path for mutant in mutants for path in mutant.tests})
            if (failed := run_tests(unbroken, near, ALL_SECONDS)) is not None:
                raise Misfit(f"Before anything is broken there is a failure, {failed.what}: mend that first.")
            say(f"{len(mutants)} mutants, {AT_ONCE} at a time.\n\n| mutant | noticed by | seconds |\n|---|---|---|")
            verdicts = []
            with ThreadPoolExecutor(AT_ONCE) as pool:
                for verdict in pool.map(lambda mutant: judge(mutant, unbroken, directory), mutants):
                    verdicts.append(verdict)
                    doubt = "" if verdict.doubt is None else f", which **{verdict.doubt}**"
                    say(f"| {verdict.mutant.name} | {verdict.killer or '**nothing**'}{doubt} | {verdict.seconds:.0f} |")
    except Misfit as misfit:
        say(str(misfit))
        return 1
    survivors = [verdict.mutant for verdict in verdicts if verdict.killer is None]
    doubtful = [verdict for verdict in verdicts if verdict.doubt is not None]
    say(f"\n{len(verdicts) - len(survivors) - len(doubtful)} of {len(verdicts)} were noticed.")
    for mutant in survivors:
        say(f"SURVIVED {mutant.name} (trio_sio/{mutant.file}): {mutant.why}")
    for verdict in doubtful:
        say(f"DOUBTFUL {verdict.mutant.name}: {verdict.killer} {verdict.doubt}; mend that test and judge again.")
    return 1 if survivors or doubtful else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

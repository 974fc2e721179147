"""Runs examples as their readers do: as a program that listens, until it is told to stop."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.ports import free_port

__all__ = ["javascript", "running", "serving"]


@contextmanager
def running(program: Path, tmp_path: Path, **environment: str) -> Iterator[str]:
    """Run ``program``, which listens at ``PORT``, and yield its URL."""
    port = free_port()
    variables = {**os.environ, **environment, "PORT": str(port), "PYTHONPATH": str(ROOT)}
    with serving([sys.executable, str(program)], port, tmp_path, tmp_path / "log", variables) as url:
        yield url


@contextmanager
def serving(command: Sequence[str], port: int, directory: Path, log: Path, environment: dict[str, str] | None = None) -> Iterator[str]:
    """Run ``command`` and yield its URL; in the end it has to say goodbye, and to have logged nothing worse."""
    with (
        log.open("wb") as output,
        subprocess.Popen(command, cwd=directory, env=environment, stdout=output, stderr=output) as process,
    ):
        try:
            deadline = time.monotonic() + 30
            while f"127.0.0.1:{port}" not in log.read_text():
                if process.poll() is not None or time.monotonic() > deadline:
                    pytest.fail(f"{command} does not serve:\n{log.read_text()}")
                time.sleep(0.02)
            yield f"http://127.0.0.1:{port}"
            process.send_signal(signal.SIGTERM)
            code = process.wait(30)
        finally:
            process.kill()
    said = log.read_text()
    assert code == 0, said
    assert not any(word in said for word in ("WARNING", "ERROR", "Traceback")), said


def javascript(script: Path, *arguments: str) -> str:
    """Run a script of the official client; return what it printed."""
    command = ["node", str(script), *arguments]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout

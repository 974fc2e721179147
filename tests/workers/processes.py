"""Real workers: what a test starts of them, and how it talks to them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

from trio_sio.workers import Workers, serve

__all__ = ["BOUND", "ROOT", "Command", "eventually", "is_alive", "open_command", "open_workers", "url_of"]

ROOT: Final = Path(__file__).parent.parent.parent
BOUND: Final = 60.0  # seconds; on a machine that does other things as well, processes take their time to start


def url_of(workers: Workers) -> str:
    """Return where clients connect to."""
    sockname = workers.listeners[0].sockname
    assert not isinstance(sockname, str)
    return f"http://127.0.0.1:{sockname[1]}"


@asynccontextmanager
async def open_workers(factory: Callable[..., object], count: int = 2, *, bound: float = BOUND, **options: Any) -> AsyncIterator[Workers]:
    """Run workers from within this process, for ``bound`` seconds at most."""
    with trio.fail_after(bound):
        async with trio.open_nursery() as nursery:
            workers: Workers = await nursery.start(partial(serve, factory, "127.0.0.1", 0, workers=count, **options))
            yield workers
            nursery.cancel_scope.cancel()


class Command:
    """``trio-sio run`` in a process of its own.

    Attributes:
      process: The process.
      output: What it has printed, both ways.
    """

    def __init__(self, process: trio.Process) -> None:
        self.process = process
        self.output = ""
        self._ended = False
        self._grown = trio.lowlevel.ParkingLot()

    async def read(self) -> None:
        """Take what it prints, until it and its workers have ended."""
        assert self.process.stdout is not None
        async for data in self.process.stdout:
            self.output += data.decode(errors="replace")
            self._grown.unpark_all()
        self._ended = True
        self._grown.unpark_all()

    async def says(self, pattern: str, times: int = 1) -> re.Match[str]:
        """Wait until it has said something so often; return the last of these."""
        while len(found := list(re.finditer(pattern, self.output))) < times:
            assert not self._ended, self.output
            await self._grown.park()
        return found[-1]

    def workers(self) -> list[int]:
        """Return the processes of its workers."""
        # Trio starts processes in a thread of its own.
        threads = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(pid) for children in threads for pid in children.read_text().split()]

    async def ends(self) -> int:
        """Wait for its end; return the exit code."""
        return await self.process.wait()


@asynccontextmanager
async def open_command(*arguments: str, **environment: str) -> AsyncIterator[Command]:
    """Run ``trio-sio run`` with ``arguments``; ``environment``: what is different in that."""
    command = [sys.executable, "-m", "trio_sio", "run", *arguments]
    with trio.fail_after(BOUND):
        process = await trio.lowlevel.open_process(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            process_group=0,
            env=os.environ | environment,
        )
        try:
            async with trio.open_nursery() as nursery:
                running = Command(process)
                nursery.start_soon(running.read)
                yield running
                nursery.cancel_scope.cancel()
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                assert process.stdout is not None
                await process.stdout.aclose()


def is_alive(pid: int) -> bool:
    """Tell whether there is such a process that is more than a name."""
    try:
        os.kill(pid, 0)
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False


async def eventually(condition: Callable[[], object]) -> None:
    """Wait for something of which nobody is told."""
    while not condition():  # noqa: ASYNC110
        await trio.sleep(0.02)

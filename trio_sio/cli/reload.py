"""``trio-sio run --reload``: the server in a process of its own, which is replaced whenever the code changes.

A module cannot be imported twice without leaving something of the first time behind, so it is the process that is new.
"""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from functools import partial
from pathlib import Path
from typing import Final

import trio

from ..stopping import SIGNALS
from .usage import UsageError

__all__ = ["run_reloading"]

# How long the old server may say goodbye before it is told to end at once, and then before it is killed.
_PATIENCE: Final = 2.0


async def run_reloading(arguments: Sequence[str]) -> int:
    """Run the command again whenever a Python file below the current directory changes; return its last exit code.

    Args:
      arguments: Those of the command line, ``--reload`` included.

    Raises:
      UsageError: if watchfiles is not installed.
    """
    try:
        import watchfiles  # noqa: F401  # to say so at once
    except ModuleNotFoundError:
        raise UsageError("--reload needs watchfiles; install it with `pip install 'trio-sio[reload]'`.") from None
    command = [sys.executable, "-m", "trio_sio", *(argument for argument in arguments if argument != "--reload")]
    with trio.open_signal_receiver(*SIGNALS) as signals:
        return await _Reloader(command).run(signals)


class _Reloader:
    """One server process at a time.

    Args:
      command: What runs it.
    """

    def __init__(self, command: Sequence[str]) -> None:
        self._command = command
        self._process: trio.Process | None = None
        self._wanted = trio.Event()  # another process, or none at all
        self._stopping = trio.Event()

    async def run(self, signals: AsyncIterator[int]) -> int:
        """Run until one of ``signals`` has ended the process; return its exit code."""
        code = 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._watch)
            nursery.start_soon(self._forward, signals)
            while not self._stopping.is_set():
                self._wanted = trio.Event()
                code = await self._run_process()
                if not self._wanted.is_set():
                    _say(f"The server has ended with exit code {code}; it starts again when a file changes.")
                    await self._wanted.wait()
            nursery.cancel_scope.cancel()
        return code

    async def _watch(self) -> None:
        from watchfiles import PythonFilter, awatch

        # Without the event, the thread that watches would hold up the end for seconds.
        async for changes in awatch(Path.cwd(), watch_filter=PythonFilter(), stop_event=self._stopping):
            _say(f"{Path(min(path for _, path in changes)).name} has changed: starting again.")
            self._wanted.set()

    async def _forward(self, signals: AsyncIterator[int]) -> None:
        async for number in signals:
            self._stopping.set()
            self._wanted.set()
            if self._process is not None:
                self._process.send_signal(number)

    async def _run_process(self) -> int:
        async with trio.open_nursery() as nursery:
            # In a group of its own it does not get the terminal's Ctrl-C besides ours: the second one ends it at once.
            start = partial(trio.run_process, self._command, stdin=subprocess.DEVNULL, check=False, process_group=0)
            process: trio.Process = await nursery.start(start)
            self._process = process
            if self._stopping.is_set():
                process.terminate()  # the signal came when there was nobody to forward it to
            nursery.start_soon(self._replace, process)
            code = await process.wait()
            self._process = None
            nursery.cancel_scope.cancel()
        return 128 - code if code < 0 else code

    async def _replace(self, process: trio.Process) -> None:
        await self._wanted.wait()
        if self._stopping.is_set():
            return
        for number in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
            process.send_signal(number)
            with trio.move_on_after(_PATIENCE):
                await process.wait()
                return


def _say(sentence: str) -> None:
    print(sentence, file=sys.stderr, flush=True)

"""Runs scenarios of the official JavaScript client, and holds what they report."""

from __future__ import annotations

import datetime
import enum
import json
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

MODES: Final = ("polling", "websocket", "upgrade")

_RUNNER: Final = Path(__file__).parent / "javascript" / "run.cjs"


class JavaScript(enum.Enum):
    """The value that JSON lacks."""

    UNDEFINED = "undefined"


UNDEFINED: Final = JavaScript.UNDEFINED


class Report:
    """What one run of the client reported, by scenario."""

    def __init__(self, mode: str, parser: str) -> None:
        self.mode = mode
        self.parser = parser
        self.complaints = ""
        self._lines: dict[str, Mapping[str, Any]] = {}

    def add(self, line: Mapping[str, Any]) -> None:
        """Take one line of the client's output."""
        self._lines[line["scenario"]] = line

    def __getitem__(self, scenario: str) -> Any:
        """Return the result of ``scenario``; the test fails when there is none."""
        line = self._lines.get(scenario)
        if line is None:
            pytest.fail(f"The client has not come to {scenario!r}. It said:\n{self.complaints}", pytrace=False)
        if "error" in line:
            pytest.fail(f"The client failed in {scenario!r}:\n{line['error']}\n{self.complaints}", pytrace=False)
        return line["result"]


async def play(url: str, mode: str, *modules: str, parser: str = "json", on_signal: Callable[[], Awaitable[None]] | None = None) -> Report:
    """Run all scenarios of ``modules`` against the server at ``url``.

    Args:
      url: The server.
      mode: One of `MODES`: the transports that the client uses.
      modules: Files of the directory ``javascript``, without their suffix.
      parser: The server's ``Config.parser``.
      on_signal: Called whenever a scenario asks the other side to act.
    """
    report = Report(mode, parser)
    command = ["node", str(_RUNNER), url, mode, parser, *modules]
    run = partial(trio.run_process, command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    with trio.move_on_after(60) as scope:
        async with trio.open_nursery() as nursery:
            process: trio.Process = await nursery.start(run)
            nursery.start_soon(_collect_complaints, process, report)
            async for line in _lines(process.stdout):
                if "scenario" in line:
                    report.add(line)
                elif on_signal is not None:
                    await on_signal()
    if scope.cancelled_caught:
        report.complaints += "It was stopped because it took more than a minute.\n"
    return report


async def _lines(stream: trio.abc.ReceiveStream | None) -> Any:
    assert stream is not None
    text = b""
    async for chunk in stream:
        *complete, text = (text + chunk).split(b"\n")
        for line in complete:
            yield json.loads(line, object_hook=revive)


async def _collect_complaints(process: trio.Process, report: Report) -> None:
    assert process.stderr is not None
    async for chunk in process.stderr:
        report.complaints += chunk.decode(errors="replace")


def revive(value: dict[str, Any]) -> object:
    """Return what a JSON object stands for: what JSON lacks has a spelling of its own (``object_hook`` of `json.loads`)."""
    match value:
        case {"$bytes": str(digits)}:
            return bytes.fromhex(digits)
        case {"$undefined": True}:
            return UNDEFINED
        case {"$date": int(milliseconds)}:
            return datetime.datetime.fromtimestamp(milliseconds / 1000, datetime.UTC)
        case {"$number": str(name)}:
            return float(name)
        case _:
            return value

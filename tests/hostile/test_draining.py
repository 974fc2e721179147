"""The command line stops under load: a real process, a real signal, clients on every transport (section P of the catalogue)."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, NamedTuple

import pytest
import trio

from tests.conftest import ROOT
from tests.hostile.crowd import NO_STATUS, Crowd
from tests.hostile.draining_app import HOLDER
from trio_sio.testing import RawHttp, RawWebSocket, UpgradeRefused, open_strict_client

pytestmark = pytest.mark.slow

# A handler that a busy machine does not let come back for a second is named in a warning, and is no fault.
FAULTS = r"Traceback|WARNING(?!.* has not come back for )|ERROR"

THOUSAND: Final = {"websocket": 400, "polling": 300, "upgraded": 250, "probing": 49}
HUNDRED: Final = {"websocket": 40, "polling": 30, "upgraded": 20, "probing": 10}
TALKING_WITHIN: Final = 180.0  # seconds; a second or two on two cores that do nothing else
DRAIN: Final = 40.0  # seconds; who polls has a quarter of them to come back, which a thousand do in one or two where nothing else runs
MARGIN: Final = 10.0  # seconds for a process to end that has nothing more to do

COMMAND: Final = """
import sys
from trio_sio import cli
cli.run._GRACE = 0.1
sys.exit(cli.main())
"""


class Running(NamedTuple):
    """``trio-sio run``, in a process of its own."""

    process: trio.Process
    port: int
    directory: Path

    @property
    def log(self) -> str:
        return (self.directory / "log").read_text()

    def accounts(self) -> tuple[dict[str, list[int]], Counter[str]]:
        """Return the events that were handled in time, by client, and how often the hooks were told what."""
        written = json.loads((self.directory / "accounts").read_text())
        return written["handled"], Counter(written["reasons"])

    async def ended(self, within: float) -> int:
        """Return the exit code."""
        with trio.fail_after(within):
            return await self.process.wait()


@asynccontextmanager
async def running(directory: Path, *, drain_timeout: float = 20) -> AsyncIterator[Running]:
    """Run the command for as long as the block lasts; its log is the file ``log`` in ``directory``."""
    command = [sys.executable, "-W", "error", "-c", COMMAND]
    environment = os.environ | {"ACCOUNTS": str(directory / "accounts"), "DRAIN_TIMEOUT": str(drain_timeout), "PYTHONPATH": str(ROOT)}
    with (directory / "log").open("w") as log:
        process = await trio.lowlevel.open_process(
            [*command, "run", "tests.hostile.draining_app:server", "--port", "0"],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=log,
        )
        try:
            assert process.stdout is not None
            with trio.fail_after(TALKING_WITHIN):
                printed = (await process.stdout.receive_some()).decode()
            assert printed.startswith("Serving http://127.0.0.1:"), (directory / "log").read_text()
            yield Running(process, int(printed.split("/")[2].rpartition(":")[2]), directory)
        finally:
            process.kill()
            with trio.CancelScope(shield=True, deadline=trio.current_time() + MARGIN):
                await process.wait()


@asynccontextmanager
async def crowded(port: int, sizes: dict[str, int]) -> AsyncIterator[Crowd]:
    """Let a crowd talk, and wait at the end until it has been told that it is over."""
    crowd = Crowd(port, sizes)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(crowd.run)
        with trio.fail_after(TALKING_WITHIN):
            await crowd.everybody_talks.wait()
        yield crowd


@asynccontextmanager
async def somebody(port: int, event: str, name: str = "somebody") -> AsyncIterator[None]:
    """Keep one more client there, whose handler for ``event`` is running."""
    async with open_strict_client(await trio.open_tcp_stream("127.0.0.1", port), auth={"name": name}) as client:
        await client.emit(event)
        await client.once("begun")
        yield


async def be_turned_away(port: int) -> list[tuple[int, str]]:
    """Come too late, once on each transport; return status and Retry-After of the answers."""
    answers = []
    async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
        answers.append(await http.request("GET", "/socket.io/?EIO=4&transport=polling"))
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    with pytest.raises(UpgradeRefused) as info:
        await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket")
    answers.append(info.value.response)
    await stream.aclose()
    return [(answer.status, answer.headers["retry-after"]) for answer in answers]


@pytest.mark.hostile("P01")
async def test_a_thousand_busy_clients_when_the_signal_comes(tmp_path: Path) -> None:
    async with running(tmp_path, drain_timeout=DRAIN) as server, somebody(server.port, "wait", HOLDER):
        async with crowded(server.port, THOUSAND) as crowd:
            server.process.send_signal(signal.SIGTERM)
            while "saying goodbye" not in server.log:  # noqa: ASYNC110
                await trio.sleep(0.01)
            assert await be_turned_away(server.port) == [(503, "5"), (503, "5")]
            assert await server.ended(DRAIN + MARGIN) == 0

        assert crowd.goodbyes() == {
            "websocket": {1001: THOUSAND["websocket"]},
            "polling": {"1": THOUSAND["polling"]},
            "upgraded": {1001: THOUSAND["upgraded"]},
            "probing": {("1", NO_STATUS): THOUSAND["probing"]},
        }
        handled, reasons = server.accounts()
        assert reasons == {"server shutting down": 1_000}
        # What was handled when the drain ended a session has been acknowledged, to the last event; and nothing else has.
        assert {member.name: member.answered for member in crowd} == {name: set(numbers) for name, numbers in handled.items()}
        assert [member.stray for member in crowd if member.stray] == []
        assert not re.search(FAULTS, server.log)


@pytest.mark.hostile("P02")
@pytest.mark.parametrize("second", [signal.SIGINT, signal.SIGTERM])
async def test_a_second_signal_under_load(tmp_path: Path, second: signal.Signals) -> None:
    async with running(tmp_path) as server, somebody(server.port, "wait", HOLDER), crowded(server.port, HUNDRED) as crowd:
        server.process.send_signal(signal.SIGTERM)
        while "saying goodbye" not in server.log:  # noqa: ASYNC110
            await trio.sleep(0.01)
        server.process.send_signal(second)
        crowd.scope.cancel()
        # Long before anything else would end it: somebody holds the drain.
        assert await server.ended(5) == 128 + second
        assert not re.search(FAULTS, server.log)
        assert not (tmp_path / "accounts").exists()


@pytest.mark.hostile("P03", "P06")
async def test_handlers_that_do_not_let_go_under_load(tmp_path: Path) -> None:
    async with running(tmp_path, drain_timeout=4) as server, somebody(server.port, "shield"), somebody(server.port, "swallow"):
        async with crowded(server.port, HUNDRED) as crowd:
            server.process.send_signal(signal.SIGTERM)
            assert await server.ended(4 + MARGIN) == 1

        assert all(member.goodbye in (1001, "1", ("1", NO_STATUS)) for member in crowd)
        log, survivors = server.log.split("Still running after 4.1 seconds; leaving them behind:")
        assert not re.search("Traceback|ERROR", log)
        assert "2 connections were not done within drain_timeout and are cancelled." in log
        for handler in ("shield", "swallow"):
            assert re.search(rf"draining_app.py\", line \d+, in {handler}\n", survivors)

"""Workers that are restarted one after the other under official clients that come back."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import trio

from tests.workers.app import numbering
from tests.workers.processes import url_of
from trio_sio import open_client
from trio_sio.workers import Workers, serve

__all__ = ["CLIENTS", "WORKERS", "check", "official_clients", "roll"]

CLIENTS: Final = 8
WORKERS: Final = 3


@asynccontextmanager
async def official_clients(url: str, mode: str) -> AsyncIterator[None]:
    """Run the official client so many times, in a process."""
    command = ["node", "tests/conformance/javascript/recovery.cjs", url, mode, str(CLIENTS)]
    async with trio.open_nursery() as nursery:
        clients: trio.Process = await nursery.start(partial(trio.run_process, command, stdin=subprocess.DEVNULL, check=False))
        yield
        clients.kill()


async def roll(mode: str, rounds: int) -> Sequence[dict[str, Any]]:
    """Restart all workers so many times, and return what the clients report then."""
    async with trio.open_nursery() as nursery:
        workers: Workers = await nursery.start(partial(serve, numbering, "127.0.0.1", 0, workers=WORKERS))
        async with official_clients(url_of(workers), mode):
            for _ in range(rounds):
                await trio.sleep(0.5)
                await workers.restart()
            await trio.sleep(0.5)
            async with open_client(url_of(workers)) as client:
                reports: list[dict[str, Any]] = await client.emit_with_ack("collect")
        nursery.cancel_scope.cancel()
    return reports


def check(reports: Sequence[dict[str, Any]], rounds: int) -> None:
    """Require that each client was recovered as often as its worker was restarted, and has heard every number once."""
    assert sorted(report["name"] for report in reports) == list(range(CLIENTS))
    assert [report["wrong"] for report in reports] == [[]] * CLIENTS
    assert [report["fresh"] for report in reports] == [1] * CLIENTS
    assert all(report["recovered"] >= rounds for report in reports)

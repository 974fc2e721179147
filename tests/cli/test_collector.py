"""`trio-sio run` lets the garbage collector look seldom, unless the application has said how often; nothing else of the library does."""

from __future__ import annotations

import gc
import signal
from pathlib import Path
from typing import Final

import pytest

from tests.test_cli import running
from trio_sio import Server
from trio_sio.cli.collector import OBJECTS
from trio_sio.testing import open_test_server

APP: Final = """
import gc
from contextlib import asynccontextmanager
from trio_sio import Route, RoutingTable, on_message

class Chat:
    @on_message("say")
    async def say(self, text: str) -> str:
        return text

@asynccontextmanager
async def as_it_is():
    yield RoutingTable(Route("/chat", Chat))
    print(gc.isenabled(), gc.get_threshold()[0], gc.get_freeze_count() > 10_000)

@asynccontextmanager
async def its_own():
    gc.set_threshold(5_000)
    async with as_it_is() as routes:
        yield routes
"""


@pytest.mark.parametrize(("target", "expected"), [("as_it_is", f"True {OBJECTS} True"), ("its_own", "True 5000 False")])
def test_what_is_set_when_it_serves(target: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "collected_app.py").write_text(APP)
    with running(tmp_path, f"collected_app:{target}") as (process, _):
        process.send_signal(signal.SIGTERM)
        stdout, stderr = process.communicate(timeout=20)

    assert process.returncode == 0, stderr
    assert stdout.splitlines()[-1] == expected


async def test_a_server_in_a_program_leaves_the_collector_alone() -> None:
    before = gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()
    async with open_test_server(Server()) as server, await server.websocket() as client:
        await client.receive()
    assert (gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()) == before

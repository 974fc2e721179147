"""Clients of Socket.IO 2: one clear line in the log for each, however often they try again."""

from __future__ import annotations

import logging

import pytest

from trio_sio import Server
from trio_sio.testing import InMemoryServer, RawHttp, UpgradeRefused, open_test_server

OUTDATED = "/socket.io/?EIO=3&transport=polling"
LINE = "Refused GET '/socket.io/' from %s: an Engine.IO 3 (Socket.IO 2) client; update it to version 3 or 4 of socket.io-client"


def refusals(caplog: pytest.LogCaptureFixture, level: int) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelno == level and record.getMessage().startswith("Refused")]


async def ask(memory: InMemoryServer, address: str) -> None:
    async with RawHttp(await memory.connect_stream(address=address)) as http:
        response = await http.request("GET", OUTDATED)
    assert (response.status, response.body) == (400, b'{"code":5,"message":"Unsupported protocol version"}')


async def test_one_line_per_address(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_sio.engine")
    async with open_test_server(Server()) as memory:
        for _ in range(3):
            await ask(memory, "192.0.2.1")
        await ask(memory, "192.0.2.2")
        with pytest.raises(UpgradeRefused):
            await memory.websocket("EIO=3&transport=websocket")
    assert refusals(caplog, logging.INFO) == [LINE % "192.0.2.1", LINE % "192.0.2.2", LINE % "test"]
    assert refusals(caplog, logging.DEBUG) == [LINE % "192.0.2.1"] * 2


async def test_other_refusals_are_told_each_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG, "trio_sio.engine")
    async with open_test_server(Server()) as memory:
        await ask(memory, "test")
        for _ in range(2):
            with pytest.raises(UpgradeRefused):
                await memory.websocket("EIO=4&transport=websocket&sid=nobody")
    assert len(refusals(caplog, logging.INFO)) == 3

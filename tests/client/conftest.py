"""The servers that the client is tested against: ours at both doors, and the official one."""

from __future__ import annotations

import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.client.application import make_server
from tests.conformance.doors import open_door
from tests.conftest import require_tool
from trio_sio import Config

_PROGRAM: Final = Path(__file__).parent / "server.cjs"


@pytest.fixture(scope="session")
def node_ports() -> Iterator[dict[str, int]]:
    """The application on the official server: its ports, by parser."""
    require_tool("node", "socket.io", "socket.io-msgpack-parser")
    with subprocess.Popen(["node", str(_PROGRAM)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        yield {parser: int(process.stdout.readline()) for parser in ("json", "msgpack")}
        process.kill()


@pytest.fixture(params=["native", "hypercorn", "asgi", "node"])
async def server_port(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    """The port of each server in turn."""
    if request.param == "node":
        yield request.getfixturevalue("node_ports")["json"]
    else:
        async with open_door(request.param, make_server) as door:
            yield door.port


@pytest.fixture(params=["native", "hypercorn", "asgi", "node"])
async def msgpack_port(request: pytest.FixtureRequest) -> AsyncIterator[int]:
    """The port of each server in turn, when it speaks msgpack."""
    if request.param == "node":
        yield request.getfixturevalue("node_ports")["msgpack"]
    else:
        async with open_door(request.param, lambda: make_server(Config(parser="msgpack"))) as door:
            yield door.port

"""The doors that clients come through, and what the official client reported about each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
import trio

from tests.conformance.app import make_server
from tests.conformance.doors import DOORS, Door, open_door
from tests.conformance.official import MODES, Report, play
from tests.conftest import require_tool


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """The application under test as a real server on a loopback port, at each door in turn."""
    async with open_door(request.param, make_server) as door:
        yield door


@pytest.fixture(scope="session", params=[(door, mode) for door in DOORS for mode in MODES], ids="-".join)
def report(request: pytest.FixtureRequest) -> Report:
    """What the official client reports: one server and one run of the client for all tests of a door and transport."""
    require_tool("node", "socket.io-client")
    kind, mode = request.param

    async def main() -> Report:
        async with open_door(kind, make_server) as door:
            return await play(door.url, mode, "connecting", "messages", "rooms", "results", "endings")

    return trio.run(main)

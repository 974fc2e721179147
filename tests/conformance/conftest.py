"""The doors that clients come through, and what the official client reported about each of them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
import trio

from tests.conformance.app import CONFIG, make_server
from tests.conformance.doors import DOORS, DOORS_AND_MODES, Door, open_door
from tests.conformance.official import MODES, Report, play
from tests.conftest import require_tool


@pytest.fixture(params=DOORS)
async def door(request: pytest.FixtureRequest) -> AsyncIterator[Door]:
    """The application under test as a real server on a loopback port, at each door in turn."""
    async with open_door(request.param, make_server) as door:
        yield door


# A parser does not know what the door is, so that one door is enough for the second.
RUNS = [*((door, mode, "json") for door, mode in DOORS_AND_MODES), *(("native", mode, "msgpack") for mode in MODES)]


@pytest.fixture(scope="session", params=RUNS, ids="-".join)
def report(request: pytest.FixtureRequest) -> Report:
    """What the official client reports: one server and one run of the client for all tests of a door, transport and parser."""
    require_tool("node", "socket.io-client", "socket.io-msgpack-parser")
    kind, mode, parser = request.param

    async def main() -> Report:
        async with open_door(kind, partial(make_server, replace(CONFIG, parser=parser))) as door:
            return await play(door.url, mode, "connecting", "messages", "rooms", "results", "endings", parser=parser)

    return trio.run(main)

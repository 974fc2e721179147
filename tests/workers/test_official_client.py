"""The official JavaScript client at one port with four workers behind it, on every transport: what it finds at one process, it finds here.

The workers are those of `tests.workers.crew`, in one process, since the application keeps a journal that they share.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest
import trio

from tests.conformance.app import CONFIG, Journal, make_server
from tests.conformance.official import MODES, Report, play
from tests.conformance.test_official_client import *  # noqa: F403 - the judges
from tests.conformance.test_official_client import WHO_HEARS_WHAT
from tests.conftest import require_tool
from tests.workers.crew import open_crew

pytestmark = pytest.mark.slow


@pytest.fixture(scope="session", params=MODES)
def report(request: pytest.FixtureRequest) -> Report:
    """What the official client reports of workers."""
    require_tool("node", "socket.io-client", "socket.io-msgpack-parser")

    async def main() -> Report:
        make = partial(make_server, replace(CONFIG, drain_timeout=0.5), journal=Journal(), clustered=True)
        async with open_crew(make, 4, shared=True) as crew:
            return await play(crew.url, request.param, "connecting", "messages", "rooms", "results", "endings")

    return trio.run(main)


def test_who_hears_what(report: Report) -> None:  # type: ignore[no-redef]  # in the place of the judge above
    """As at one process, but that ``local`` is the worker that says it."""
    heard = dict(report["who_hears_what"])
    assert set(heard.pop("local")) <= {"a", "b"}
    assert heard == {name: who for name, who in WHO_HEARS_WHAT.items() if name != "local"}


def test_an_ack_does_not_replace_what_goes_to_a_room(report: Report) -> None:  # type: ignore[no-redef]  # likewise
    """As at one process, but that the neighbour may be at another worker, and hear of it after who has asked."""
    neighbour = ["neighbour", "to the room", "both"]
    assert told(report["result: to a room"]) == (sorted([["to the sender", "both"], neighbour, neighbour]), [["both"]])


def test_an_ack_does_not_replace_a_broadcast(report: Report) -> None:  # type: ignore[no-redef]  # likewise
    """As at one process, likewise."""
    broadcast = [["to everybody", "all"], ["to the whole room", "all"]]
    everybody = [*broadcast, *(["neighbour", *packet] for packet in broadcast)]
    assert told(report["result: everybody"]) == (sorted([["to the sender", "all"], *everybody, *everybody]), [["all"]])


def told(result: dict[str, list[list[str]]]) -> tuple[list[list[str]], list[list[str]]]:
    """Return what was heard of two events, in whatever order, and the answers."""
    return sorted(result["plain"] + result["acked"]), result["answers"]

"""A handler that raises `NoAck` lets the official client try again, which needs its option ``retries``."""

from __future__ import annotations

import pytest

from tests.conformance.doors import open_door
from tests.conformance.official import MODES, play
from trio_sio import NoAck, Route, RoutingTable, Server, on_message

pytestmark = pytest.mark.needs("node", "socket.io-client")


class Bookings:
    """Fails as often as it is told to; one per socket."""

    def __init__(self, _: object) -> None:
        self.seen: list[str] = []

    @on_message("book")
    async def book(self, what: str, failures: int) -> str:
        self.seen.append(what)
        if self.seen.count(what) <= failures:
            raise NoAck
        return f"booked {what}"

    @on_message("seen")
    async def report(self) -> list[str]:
        return self.seen


@pytest.mark.parametrize("mode", MODES)
async def test_what_is_not_acknowledged_is_sent_again(mode: str) -> None:
    async with open_door("native", lambda: Server(RoutingTable(Route("/", Bookings)))) as door:
        report = await play(door.url, mode, "retries")
    # In order: the second packet waits until the first is acknowledged.
    assert report["retried_until_acknowledged"] == {"first": "booked one", "second": "booked two", "seen": ["one", "one", "one", "two"]}
    assert report["given_up_after_the_last_retry"] == {"error": "operation has timed out", "seen": ["three"] * 3}

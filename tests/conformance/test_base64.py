"""The official client with ``forceBase64``, as it runs where a platform has no binary messages."""

from __future__ import annotations

import pytest

from tests.conformance.app import make_server
from tests.conformance.doors import DOORS_AND_MODES, DoorName, open_door
from tests.conformance.official import play

pytestmark = pytest.mark.needs("node", "socket.io-client")


@pytest.mark.parametrize(("door", "mode"), DOORS_AND_MODES)
async def test_attachments_are_text_in_both_directions(door: DoorName, mode: str) -> None:
    async with open_door(door, make_server) as opened:
        report = await play(opened.url, mode, "base64")

    assert report["attachments_both_ways"] == {
        "result": [[b"\x00\x01\x02", {"deep": [b"\xff"]}, "text"], [b"\x03", "text"]],
        "binary": [] if mode == "polling" else [False],
    }

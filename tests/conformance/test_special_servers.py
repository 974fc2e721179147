"""What the official client does at a server of its own: one that restarts, one that pings often, one that does not answer errors."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.conformance.app import CONFIG, make_server
from tests.conformance.doors import DOORS, DOORS_AND_MODES, Door, DoorName, open_door
from tests.conformance.official import UNDEFINED, play

pytestmark = pytest.mark.needs("node", "socket.io-client")


@pytest.mark.parametrize(("door", "mode"), DOORS_AND_MODES, indirect=["door"])
async def test_the_client_comes_back_after_a_restart(door: Door, mode: str) -> None:
    report = await play(door.url, mode, "restart", on_signal=door.restart)
    assert report["restart"] == {
        "reason": "transport close",
        "active": True,
        "newId": True,
        "recovered": UNDEFINED,
        "alive": "alive",
        "heard": [["kept"]],
    }


@pytest.mark.parametrize(("kind", "mode"), DOORS_AND_MODES)
async def test_the_client_answers_pings(kind: DoorName, mode: str) -> None:
    async with open_door(kind, partial(make_server, replace(CONFIG, ping_interval=0.05, ping_timeout=2))) as door:
        report = await play(door.url, mode, "heartbeat")
    assert report["pings"] == {"alive": "alive", "sameConnection": True}


@pytest.mark.parametrize("kind", DOORS)
async def test_errors_are_not_answered_when_so_configured(kind: DoorName) -> None:
    async with open_door(kind, partial(make_server, replace(CONFIG, error_acks=False))) as door:
        report = await play(door.url, "websocket", "silence")
    assert report["errors_are_not_answered"] == ["zero"]

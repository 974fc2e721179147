"""The official client and a server that can compress what a WebSocket carries."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.conformance.app import CONFIG, make_server
from tests.conformance.doors import open_door
from tests.conformance.official import play
from trio_sio import PerMessageDeflate

pytestmark = pytest.mark.needs("node", "socket.io-client")

KEEPING_CONTEXTS = PerMessageDeflate(threshold=0, server_no_context_takeover=False, client_no_context_takeover=False)


@pytest.mark.parametrize("mode", ["websocket", "upgrade"])
@pytest.mark.parametrize("per_message_deflate", [True, KEEPING_CONTEXTS], ids=["default", "keeping contexts"])
async def test_the_official_client_compresses(mode: str, per_message_deflate: bool | PerMessageDeflate) -> None:
    async with open_door("native", partial(make_server, replace(CONFIG, per_message_deflate=per_message_deflate))) as door:
        report = await play(door.url, mode, "deflate")

    assert report["what_is_compressed"] == {
        "extensions": "permessage-deflate",
        "words": [True, True, True],
        "bytes": [True, True, True],
        "noise": 200_000,
        "short": ["", "a", "é", "x" * 1_023],
        "again": [True, True, True],
    }
    assert report["what_a_client_declines"] == {"extensions": "", "words": [True, True, True]}
    assert report["what_is_for_many_goes_out_as_it_is"] == [True, True]

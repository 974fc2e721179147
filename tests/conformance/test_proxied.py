"""What the official client does with a cookie for load balancers, and with compressed responses."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pytest

from tests.conformance.app import CONFIG, make_server
from tests.conformance.doors import HTTP_DOORS, DoorName, open_door
from tests.conformance.official import play
from trio_sio import Config, Server
from trio_sio.engine.door import HttpExchange, WebSocketUpgrade

pytestmark = pytest.mark.needs("node", "socket.io-client")


class Seen(NamedTuple):
    """One request as the server saw it."""

    kind: str
    has_sid: bool
    cookie: str | None


def make_watched_server(config: Config, seen: list[Seen]) -> Server:
    """Make the application under test, with a note of each request to the engine."""
    server = make_server(config)
    handle_http, open_websocket = server.engine.handle_http, server.engine.open_websocket

    def note(kind: str, request: HttpExchange | WebSocketUpgrade) -> None:
        head = request.request
        seen.append(Seen(kind, b"sid=" in head.query_string, head.headers.get("cookie")))

    async def watch_http(exchange: HttpExchange) -> None:
        note("polling", exchange)
        await handle_http(exchange)

    async def watch_websocket(upgrade: WebSocketUpgrade) -> Awaitable[None] | None:
        note("websocket", upgrade)
        return await open_websocket(upgrade)

    server.engine.handle_http, server.engine.open_websocket = watch_http, watch_websocket  # type: ignore[method-assign]
    return server


@pytest.mark.parametrize("mode", ["polling", "upgrade"])
@pytest.mark.parametrize("kind", HTTP_DOORS)
async def test_the_client_sends_the_cookie_back(kind: DoorName, mode: str) -> None:
    seen: list[Seen] = []
    async with open_door(kind, partial(make_watched_server, replace(CONFIG, cookie="sticky"), seen)) as door:
        report = await play(door.url, mode, "proxied")

    result = report["sends_the_cookie_back"]
    assert result["alive"] == "alive"
    cookie = f"sticky={result['sid']}"
    assert seen[0] == Seen("polling", has_sid=False, cookie=None)
    assert {request for request in seen if request.cookie is not None} == {
        Seen(kind, has_sid=True, cookie=cookie) for kind in (["polling"] if mode == "polling" else ["polling", "websocket"])
    }


@pytest.mark.parametrize("kind", HTTP_DOORS)
async def test_the_client_takes_compressed_responses(kind: DoorName) -> None:
    async with open_door(kind, partial(make_server, replace(CONFIG, compression=True))) as door:
        report = await play(door.url, "polling", "proxied")

    assert report["takes_compressed_polls"] == {"answers": ["small", True], "codings": [None, "gzip"]}

"""What the application is told about requests, and what it may add to responses."""

from __future__ import annotations

import json
import logging
from typing import Any

import pytest

from tests.engine.test_cookie import POLLING, UPGRADE
from trio_sio import Config, ConnectionRejected, Limits
from trio_sio.protocol.http import Request
from trio_sio.testing import open_test_server

WEBSOCKET = "/socket.io/?EIO=4&transport=websocket"


@pytest.mark.parametrize(
    ("method", "target", "headers", "code", "message", "context"),
    [
        ("GET", "/socket.io/?EIO=4&transport=carrier-pigeon", {}, 0, "Transport unknown", "Transport unknown"),
        ("GET", POLLING + "&sid=nobody", {}, 1, "Session ID unknown", "session id 'nobody'…"),
        ("GET", WEBSOCKET + "&sid=nobody", UPGRADE, 1, "Session ID unknown", "session id 'nobody'…"),
        ("POST", POLLING, {}, 2, "Bad handshake method", "Bad handshake method"),
        ("GET", WEBSOCKET, {}, 3, "Bad request", "no upgrade to a WebSocket"),
        ("GET", POLLING, {"Origin": "https://elsewhere.example"}, 4, "Forbidden", "a foreign origin"),
        ("GET", POLLING, {"X-Banned": "1"}, 4, "Forbidden", "allow_request said no"),
        ("GET", "/socket.io/?EIO=5&transport=polling", {}, 5, "Unsupported protocol version", "Unsupported protocol version"),
    ],
)
async def test_a_refusal_is_told_with_its_code(
    method: str, target: str, headers: dict[str, str], code: int, message: str, context: str
) -> None:
    config = Config(allow_request=lambda request: "x-banned" not in request.headers)
    heard = list[ConnectionRejected]()
    async with open_test_server(config=config) as server, await server.http() as http:
        server.server.engine.on_connection_error(heard.append)
        response = await http.request(method, target, headers=headers)

    assert json.loads(response.body) == {"code": code, "message": message}
    (error,) = heard
    assert (error.code, error.message, error.context) == (code, message, context)
    assert (error.request.method, error.request.path) == (method, "/socket.io/")


async def test_an_id_that_cannot_be_made_is_told_too() -> None:
    def generate_id() -> str:
        raise LookupError

    heard = list[ConnectionRejected]()
    async with open_test_server(config=Config(generate_id=generate_id)) as server, await server.http() as http:
        server.server.engine.on_connection_error(heard.append)
        assert (await http.request("GET", POLLING)).status == 400
    assert [(error.code, error.message, error.context) for error in heard] == [(3, "Bad request", "no session id")]


async def test_a_full_server_has_no_code_and_an_open_session_is_no_error() -> None:
    heard = list[ConnectionRejected]()
    async with open_test_server(config=Config(limits=Limits(connections=1))) as server, await server.http() as http:
        server.server.engine.on_connection_error(heard.append)
        opened = await http.request("GET", POLLING)
        assert (await http.request("GET", POLLING)).status == 503
        await http.request("POST", f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}", body="1")

    assert heard == []


async def test_header_fields_are_added_to_the_first_response_and_to_all() -> None:
    async with open_test_server() as server, await server.http() as http, await server.http() as probe, await server.http() as direct:
        engine = server.server.engine

        @engine.on_initial_headers
        def first(headers: dict[str, str], request: Request) -> None:
            headers["X-First"] = request.method

        @engine.on_headers
        def every(headers: dict[str, str], request: Request) -> None:
            headers["X-Every"] = headers.get("X-First", "later")

        opened = await http.request("GET", POLLING)
        sid = json.loads(opened.body[1:])["sid"]
        posted = await http.request("POST", f"{POLLING}&sid={sid}", body="40")
        polled = await http.request("GET", f"{POLLING}&sid={sid}")
        upgraded = await probe.request("GET", f"{WEBSOCKET}&sid={sid}", headers=UPGRADE)
        began = await direct.request("GET", WEBSOCKET, headers=UPGRADE)

        added = [(one.status, one.headers.get("x-first"), one.headers["x-every"]) for one in (opened, posted, polled, upgraded, began)]
        assert added == [(200, "GET", "GET"), (200, None, "later"), (200, None, "later"), (101, None, "later"), (101, "GET", "GET")]
        await probe.stream.aclose()
        await http.request("POST", f"{POLLING}&sid={sid}", body="1")


async def test_a_list_is_several_fields_of_one_name(caplog: pytest.LogCaptureFixture) -> None:
    async with open_test_server(config=Config(cookie="io")) as server, await server.http() as http, await server.http() as direct:

        @server.server.engine.on_initial_headers
        def first(headers: dict[str, Any], request: Request) -> None:
            headers["Set-Cookie"] = ["a=1; Path=/", "b=2, 3", "evil=\r\nX: y"]
            headers["X-Two"] = ("1", "2")
            headers["X-None"] = []

        opened = await http.request("GET", POLLING)
        await http.request("POST", f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}", body="1")
        began = await direct.request("GET", WEBSOCKET, headers=UPGRADE)

    for response in (opened, began):
        cookies = response.headers["set-cookie"].split(", ", 1)
        assert cookies[0].startswith("io=")
        assert cookies[1] == "a=1; Path=/, b=2, 3"
        assert (response.headers["x-two"], response.headers.get("x-none")) == ("1, 2", None)
    assert len(caplog.messages) == 2
    assert all("of an application cannot be sent and is left out" in message for message in caplog.messages)


@pytest.mark.parametrize(
    ("name", "value"), [("X-Bad", "a\r\nSet-Cookie: a=b"), ("X Bad", "a"), ("X-Bad:", "a"), ("", "a"), ("X-Bad", "€"), ("X-Bad", 5)]
)
async def test_what_is_no_header_field_is_left_out(name: str, value: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR):
        async with open_test_server() as server, await server.http() as http:

            @server.server.engine.on_headers
            def add(headers: dict[str, str], request: Request) -> None:
                headers[name] = value
                headers["X-Good"] = "é"

            opened = await http.request("GET", POLLING)
            await http.request("POST", f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}", body="1")

    assert (opened.headers["x-good"], opened.headers.get("x-bad"), opened.headers.get("set-cookie")) == ("é", None, None)
    assert "of an application cannot be sent and is left out" in caplog.text


@pytest.mark.hostile("P29")
async def test_a_callback_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: object) -> None:
        raise LookupError("a mistake of the application")

    async with open_test_server() as server, await server.http() as http:
        engine = server.server.engine
        for callbacks in (engine.on_initial_headers, engine.on_headers, engine.on_connection_error):
            callbacks(fail)
        opened = await http.request("GET", POLLING)
        refused = await http.request("GET", POLLING + "&sid=nobody")
        closed = await http.request("POST", f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}", body="1")

    assert [opened.status, refused.status, closed.status] == [200, 400, 200]
    names = ("on_initial_headers", "on_headers", "on_connection_error", "on_headers")
    assert caplog.messages == [f"A function that was given to {name} failed." for name in names]

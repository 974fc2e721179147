"""The cookie for load balancers: who gets it, at which door, and how it is written."""

from __future__ import annotations

import json
import re
from collections.abc import MutableMapping
from typing import Any

import pytest
import trio
import trio.testing

from trio_sio import CORS, Config, ConfigurationError, Cookie, Server
from trio_sio.engine.cookie import cookie_headers
from trio_sio.testing import open_test_server
from trio_sio.testing.raw import RawHttp

POLLING = "/socket.io/?EIO=4&transport=polling"
DEFAULTS = "HttpOnly; Path=/; SameSite=Lax"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


async def test_the_first_response_of_a_polling_session_sets_it_and_no_other() -> None:
    async with open_test_server(config=Config(cookie="io")) as server, await server.http() as http:
        opened = await http.request("GET", POLLING)
        session = f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}"
        others = [await http.request("POST", session, body="40"), await http.request("GET", session)]
        others.append(await http.request("GET", "/socket.io/?EIO=4&transport=polling&sid=nobody"))

        assert opened.headers["set-cookie"] == f"io={json.loads(opened.body[1:])['sid']}; {DEFAULTS}"
        assert [other.status for other in others] == [200, 200, 400]
        assert not [other for other in others if "set-cookie" in other.headers]
        await http.request("POST", session, body="1")


async def test_a_session_that_begins_with_a_websocket_gets_it_with_the_101() -> None:
    async with open_test_server(config=Config(cookie="io")) as server, await server.http() as http:
        accepted = await http.request("GET", "/socket.io/?EIO=4&transport=websocket", headers=UPGRADE)

        await trio.testing.wait_all_tasks_blocked()
        found = re.fullmatch(f"io=([^;]+); {DEFAULTS}", accepted.headers["set-cookie"])
        assert found is not None
        assert list(server.server.engine.sessions.by_id) == [found[1]]


async def test_a_websocket_that_takes_a_session_over_does_not_get_it_again() -> None:
    async with open_test_server(config=Config(cookie="io")) as server, await server.http() as http, await server.http() as probe:
        opened = await http.request("GET", POLLING)
        sid = json.loads(opened.body[1:])["sid"]
        accepted = await probe.request("GET", f"/socket.io/?EIO=4&transport=websocket&sid={sid}", headers=UPGRADE)

        assert (accepted.status, accepted.headers.get("set-cookie")) == (101, None)
        await probe.stream.aclose()
        await http.request("POST", f"{POLLING}&sid={sid}", body="1")


async def test_who_is_refused_gets_none() -> None:
    async with open_test_server(config=Config(cookie="io", allow_request=lambda _request: False)) as server:
        for target, headers in [(POLLING, {}), ("/socket.io/?EIO=4&transport=websocket", UPGRADE)]:
            async with await server.http() as http:
                refused = await http.request("GET", target, headers=headers)
                assert (refused.status, refused.headers.get("set-cookie")) == (403, None)


async def test_without_the_setting_there_is_none() -> None:
    async with open_test_server() as server, await server.http() as http:
        opened = await http.request("GET", POLLING)

        assert "set-cookie" not in opened.headers
        await http.request("POST", f"{POLLING}&sid={json.loads(opened.body[1:])['sid']}", body="1")


async def test_a_page_of_another_origin_gets_it_beside_the_cors_headers() -> None:
    config = Config(
        cookie=Cookie(same_site="none", secure=True), cors=CORS(origins="https://app.example", credentials=True), connect_timeout=0
    )
    async with open_test_server(config=config) as server, RawHttp(await server.connect_stream(secure=True)) as http:
        opened = await http.request("GET", POLLING, headers={"Origin": "https://app.example"})

        assert opened.headers["access-control-allow-credentials"] == "true"
        assert opened.headers["set-cookie"].endswith("; HttpOnly; Path=/; SameSite=None; Secure")


async def test_at_the_asgi_door_the_host_gets_it_for_its_101() -> None:
    to_app, app_receives = trio.open_memory_channel[MutableMapping[str, Any]](2)
    app_sends, from_app = trio.open_memory_channel[MutableMapping[str, Any]](10)
    scope = {"type": "websocket", "path": "/socket.io/", "query_string": b"EIO=4&transport=websocket", "headers": []}
    async with Server(config=Config(cookie="io")) as server, trio.open_nursery() as nursery:
        nursery.start_soon(server.asgi(), scope, app_receives.receive, app_sends.send)
        to_app.send_nowait({"type": "websocket.connect"})
        accepted = await from_app.receive()
        await trio.testing.wait_all_tasks_blocked()
        (sid,) = server.engine.sessions.by_id

        assert accepted["type"] == "websocket.accept"
        assert accepted["headers"] == [(b"set-cookie", f"io={sid}; {DEFAULTS}".encode())]
        to_app.send_nowait({"type": "websocket.disconnect"})


@pytest.mark.parametrize(
    ("cookie", "sid", "written"),
    [
        ("sticky", "abc", "sticky=abc; " + DEFAULTS),
        (Cookie(), "abc", "io=abc; " + DEFAULTS),
        (Cookie(http_only=False, path="/a b", same_site="strict"), "abc", "io=abc; Path=/a b; SameSite=Strict"),
        (
            Cookie(name="__Host-io", same_site="none", secure=True, domain="app.example", max_age=3_600),
            "abc",
            "__Host-io=abc; Domain=app.example; HttpOnly; Max-Age=3600; Path=/; SameSite=None; Secure",
        ),
        ("io", "-_.!~*'()", "io=-_.!~*'(); " + DEFAULTS),
        (
            "io",
            'a;b\r\nSet-Cookie: "é\N{GRINNING FACE}',
            "io=a%3Bb%0D%0ASet-Cookie%3A%20%22%C3%A9%F0%9F%98%80; " + DEFAULTS,
        ),
    ],
)
def test_how_it_is_written(cookie: str | Cookie, sid: str, written: str) -> None:
    assert cookie_headers(Config(cookie=cookie), sid) == [(b"Set-Cookie", written.encode())]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": ""}, "Cookie.name is ''; write letters, digits and hyphens, such as \"io\", but no name of an attribute."),
        ({"name": "a;b"}, "Cookie.name is 'a;b'; write"),
        ({"name": "a\n"}, "Cookie.name is 'a\\n'; write"),
        ({"name": "Path"}, "Cookie.name is 'Path'; write"),
        ({"path": "socket.io"}, "Cookie.path is 'socket.io'; write an absolute path in ASCII without a semicolon, such as \"/\"."),
        ({"path": "/a; Domain=x"}, "Cookie.path is '/a; Domain=x'; write"),
        ({"path": "/\r\n"}, "Cookie.path is '/\\r\\n'; write"),
        ({"path": "/é"}, "Cookie.path is '/é'; write"),
        ({"domain": "https://app.example"}, "Cookie.domain is 'https://app.example'; write a host name without scheme and port, such as"),
        ({"domain": "app.example; Secure"}, "Cookie.domain is 'app.example; Secure'; write"),
        ({"same_site": "Lax"}, 'Cookie.same_site is \'Lax\'; choose "strict", "lax" or "none".'),
        ({"same_site": "none"}, 'Cookie(same_site="none") is dropped by browsers unless it is secure as well; add secure=True.'),
        ({"max_age": 0}, "Cookie.max_age is 0; it must be an integer of at least 1."),
        ({"max_age": 1.5}, "Cookie.max_age is 1.5; it must be an integer of at least 1."),
    ],
)
def test_what_cannot_be_right_is_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        Cookie(**values)


def test_a_name_alone_is_checked_as_well() -> None:
    with pytest.raises(ConfigurationError, match=r"Cookie\.name is 'a b'"):
        Config(cookie="a b")
    with pytest.raises(ConfigurationError, match=r'Config\.cookie is True; it must be a name, such as "io", a Cookie, or None\.'):
        Config(cookie=True)  # type: ignore[arg-type]

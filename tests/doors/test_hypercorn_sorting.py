"""Whose a request at hypercorn's ports is, and whether anything stands before the server."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from typing import Any, cast
from urllib.parse import unquote

import h11
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from quart_trio import QuartTrio

from tests.doors.hypercorn_site import behind, below_quart, hypercorn_config, served
from tests.doors.pages_behind import with_pages
from trio_sio import Config, Server
from trio_sio.doors.asgi.messages import ASGIFramework, Receive, Scope, Send, path_below_root
from trio_sio.doors.hypercorn.application import server_in_front
from trio_sio.doors.hypercorn.sorter import RequestSorter

# Whose a target is.

SORTED = [
    ("/socket.io/?EIO=4", True),
    ("/socket.io/", True),
    ("/socket.io?EIO=4", True),
    ("/socket%2Eio/?EIO=4", True),
    ("/%73ocket.io%2f?EIO=4", True),
    ("http://localhost/socket.io/?EIO=4", True),
    ("HTTPS://localhost/socket.io/?EIO=4", True),
    ("/socket.io/socket.io.js", False),
    ("/socket%252Eio/", False),
    ("//socket.io/", False),
    ("/Socket.io/", False),
    ("/socket.io/#", False),
    ("/", False),
    ("*", False),
    ("/?/socket.io/", False),
    ("http://localhost", False),
    ("ftp://localhost/socket.io/", False),
]


@pytest.mark.parametrize(("target", "ours"), SORTED, ids=[target for target, _ in SORTED])
@pytest.mark.parametrize("before", ["", "\r\n"], ids=["at once", "after an empty line"])
def test_whose_a_request_is(target: str, ours: bool, before: str) -> None:
    sorter = RequestSorter(Server().engine, hypercorn_config(), {})
    whole = f"{before}GET {target} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    told = [sorter.is_ours(bytearray(whole[:size])) for size in range(len(whole))]
    known = len(before) + len(f"GET {target.partition('?')[0]}") + 1
    assert set(told[known:]) == {ours}
    assert set(told[:known]) == {None}


PIECES = st.sampled_from(
    [
        "GET",
        "POST",
        " ",
        "/",
        "socket.io",
        "%2E",
        ".",
        "%2f",
        "socket",
        "io",
        "?",
        "#",
        "http://",
        "localhost",
        ":",
        "\r\n",
        "\t",
        "\xe9",
        "%",
        "25",
    ]
)


@given(st.lists(PIECES, max_size=12).map("".join), st.sampled_from(["", "/api"]))
@example("GET /socket%2Eio/", "")
@example("GET /api/socket.io/?", "/api")
@example("\r\nGET /socket.io/", "")
def test_no_request_for_us_slips_to_the_other_side(start: str, root: str) -> None:
    whole = f"{start} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode("latin-1")
    engine = Server().engine
    sorter = RequestSorter(engine, hypercorn_config(root_path=root), {})
    told = [sorter.is_ours(bytearray(whole[:size])) for size in range(len(whole) + 1)]
    decided = [answer for answer in told if answer is not None]
    assert len(set(decided)) <= 1  # it never changes its mind
    assert told[-1] is not None
    hypercorns = h11.Connection(h11.SERVER)
    hypercorns.receive_data(whole)
    with suppress(h11.RemoteProtocolError):
        request = hypercorns.next_event()
        assert isinstance(request, h11.Request)
        path = unquote(request.target.partition(b"?")[0].decode("ascii"))
        if engine.owns(path_below_root({"path": path, "root_path": root})):
            assert told[-1] is True


@pytest.mark.parametrize(
    "start",
    [
        b"\x16\x03\x01",
        b"\n",
        b"GET\t/socket.io/ HTTP/1.1\r\n",
        b"GET  /socket.io/ HTTP/1.1\r\n",
        b" GET /socket.io/ HTTP/1.1\r\n",
        b"GET\r\n",
        b"GET /socket.io/\xff",
        b"PRI * HTTP/2.0\r\n",
        b"G" * 2_000,
        b"GET /" + b"x" * 2_000,
        b"\r\n" * 1_000,
    ],
)
def test_what_is_no_request_for_us_is_hypercorns(start: bytes) -> None:
    assert RequestSorter(Server().engine, hypercorn_config(), {}).is_ours(bytearray(start)) is False


def test_a_long_path_is_found_however_it_is_written() -> None:
    path = "/" + "x" * 1_000
    sorter = RequestSorter(Server(config=Config(path=path)).engine, hypercorn_config(), {})
    target = "".join(f"%{ord(letter):02x}" for letter in path)
    assert sorter.is_ours(bytearray(f"OPTIONS {target}".encode())) is None
    assert sorter.is_ours(bytearray(f"OPTIONS {target}?EIO=4".encode())) is True


# What stands before the server is not passed by.


class Guard:
    """Calls an application that it has under Quart's name for it, for those who may."""

    def __init__(self, app: ASGIFramework) -> None:
        self.asgi_app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or scope["path"] == "/open":
            await self.asgi_app(scope, receive, send)


class OwnQuart(QuartTrio):
    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await super().__call__(scope, receive, send)


def test_only_what_is_certainly_first_is_in_front() -> None:
    server = Server()
    app = server.asgi()
    assert server_in_front(app) is server
    assert server_in_front(below_quart(server)) is server
    assert server_in_front(behind(server)) is None
    assert server_in_front(Guard(app)) is None
    for quart, expected in ((OwnQuart("own"), None), (QuartTrio("usual"), server)):
        cast("Any", quart).asgi_app = app
        assert server_in_front(cast("ASGIFramework", quart)) is expected
        cast("Any", quart).asgi_app = Guard(app)
        assert server_in_front(cast("ASGIFramework", quart)) is None


@pytest.mark.parametrize(("app", "told"), [(behind, 1), (with_pages, 0)])
async def test_it_is_told_when_hypercorn_carries_all(
    app: Callable[[Server], ASGIFramework], told: int, caplog: pytest.LogCaptureFixture, natively: Callable[[], int]
) -> None:
    caplog.set_level(logging.INFO)
    async with served(app=app) as here:
        websocket = await here.join()
        assert natively() == 1 - told
        await websocket.close()
    assert [record.levelname for record in caplog.records if "Serve what server.asgi(...) returns" in record.message] == ["INFO"] * told

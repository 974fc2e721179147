"""Hostile HTTP, section H of the catalogue: what is not, or not yet, the head of a request."""

from __future__ import annotations

import re

import pytest

from tests.hostile.http import HEAD, NOTE, get, post, status
from tests.hostile.victim import POLLING, Victim, listener_only, native_only

pytestmark = pytest.mark.http


@pytest.mark.hostile("H27")
@native_only
@pytest.mark.parametrize("settings", [{"header_timeout": 0.2}], ids=["brisk"])
@pytest.mark.parametrize("data", [b"", b"G", b"GET /socket.io/ HTTP/1.1\r\nHost: x\r\n"])
async def test_head_that_never_ends(victim: Victim, data: bytes) -> None:
    answer = await victim.say(data)

    assert answer[:12] == (b"HTTP/1.1 408" if data else b"")


@pytest.mark.hostile("H28")
@native_only
@pytest.mark.parametrize("settings", [{"keep_alive_timeout": 0.2}], ids=["brisk"])
async def test_idle_connection(victim: Victim) -> None:
    answer = await victim.say(HEAD.encode() % (b"GET", b"/") + b"\r\n")

    assert status(answer) == 404


@pytest.mark.hostile("H29")
@native_only
@pytest.mark.parametrize(
    "fields",
    ["X: " + "x" * 20_000 + "\r\n", "X: x\r\n" * 3_000, "X: x\r\n" * 101, "Cookie: " + "x" * 1_000_000],
    ids=["long", "many", "101", "endless"],
)
async def test_head_too_large(victim: Victim, fields: str) -> None:
    assert status(await victim.say(get(fields=fields))) == 431


@pytest.mark.hostile("H30")
@native_only
@pytest.mark.parametrize("hosts", ["", "Host: a\r\nHost: a\r\n", "Host: a\r\nhost: b\r\n"], ids=["none", "twice", "two"])
async def test_host(victim: Victim, hosts: str) -> None:
    assert status(await victim.say(f"GET / HTTP/1.1\r\n{hosts}\r\n".encode())) == 400


@pytest.mark.hostile("H31")
@listener_only
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", {400, 505}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)), {400}),
        (bytes(range(255, 127, -1)), {400}),
        (b"\n\n\n\n", {400}),
        (b"GET\r\n\r\n", {400}),
    ],
    ids=["h2", "2.0", "tls", "noise", "newlines", "word"],
)
async def test_something_else_than_http_1(victim: Victim, data: bytes, expected: set[int]) -> None:
    assert status(await victim.say(data)) in expected


@pytest.mark.hostile("H31")
async def test_http_1_0(victim: Victim) -> None:
    answer = await victim.say(f"GET /socket.io/?{POLLING} HTTP/1.0\r\n\r\n".encode())

    assert status(answer) == 200
    (sid,) = re.findall(rb'\{"sid":"([A-Za-z0-9_-]{20})"', answer)
    assert (await victim.request(f"{POLLING}&sid={sid.decode()}", method="POST", body="1")).status == 200


@pytest.mark.hostile("H32")
@native_only
@pytest.mark.parametrize(
    "fields",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nContent-Length: 6\r\n",
        "Content-Length: 5\r\nContent-Length: 5\r\n",
        "Content-Length: 5, 5\r\n",
        "Content-Length: -1\r\n",
        "Content-Length: +5\r\n",
        "Content-Length: 5 \r\n",
        "Content-Length: 0x5\r\n",
        "Content-Length : 5\r\n",
        "Transfer-Encoding: chunked, chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "X: y\nContent-Length: 5\r\n",
        "X: y\r\n Content-Length: 5\r\n",
    ],
)
async def test_ambiguous_length(victim: Victim, fields: str) -> None:
    session = await victim.polling()

    answer = await victim.say(post(session, fields, b"5\r\n" + (NOTE % 1).encode()[:5] + b"\r\n0\r\n\r\n"))

    assert status(answer) in (400, 501)
    victim.no_note()

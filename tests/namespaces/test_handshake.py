"""What a socket knows about how it connected: its cookies above all, whatever else is in that header field."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import require_tool
from trio_sio.namespaces.cookies import parse_cookies
from trio_sio.namespaces.handshake import Handshake
from trio_sio.protocol.http import Headers

ROOT = Path(__file__).parent.parent.parent

# Header field -> what cookie 0.7.2 of Node makes of it; a test asks it.
COOKIES: dict[str, dict[str, str]] = {
    "": {},
    "a": {},
    "=": {},
    "a=b": {"a": "b"},
    "a=b; c=d": {"a": "b", "c": "d"},
    "a=b;c=d": {"a": "b", "c": "d"},
    # What made all the others disappear once.
    "a=b c; sid=1": {"a": "b c", "sid": "1"},
    "sid=1; flag": {"sid": "1"},
    "flag; sid=1": {"sid": "1"},
    "flag; other; sid=1; last": {"sid": "1"},
    'prefs={"theme":"dark","n":[1,2]}; sid=1': {"prefs": '{"theme":"dark","n":[1,2]}', "sid": "1"},
    "domain=x; path=/; expires=never; secure=1; httponly=; sid=1": {
        "domain": "x",
        "path": "/",
        "expires": "never",
        "secure": "1",
        "httponly": "",
        "sid": "1",
    },
    "$Version=1; a=b; $Path=/": {"$Version": "1", "a": "b", "$Path": "/"},
    "user@host=1; a/b=2; (c)=3; [d]=4; e f=5; sid=6": {"user@host": "1", "a/b": "2", "(c)": "3", "[d]": "4", "e f": "5", "sid": "6"},
    "a=b, c=d; sid=1": {"a": "b, c=d", "sid": "1"},
    # Where a value begins and ends.
    "a=b=c==; sid=1": {"a": "b=c==", "sid": "1"},
    "a=; b=1": {"a": "", "b": "1"},
    "a= ; b=1": {"a": "", "b": "1"},
    " \t a \t=\t b \t; c = d ": {"a": "b", "c": "d"},
    "a=b;": {"a": "b"},
    ";;a=b;;": {"a": "b"},
    "; ; =": {"": ""},
    "=b; c=d": {"": "b", "c": "d"},
    "==b": {"": "=b"},
    "a=\x0bb\x0b": {"a": "\x0bb\x0b"},
    # Twice.
    "a=1; a=2; A=3": {"a": "1", "A": "3"},
    "a; a=2": {"a": "2"},
    "a=; a=2": {"a": ""},
    # Quotes.
    'a="b"; c=d': {"a": "b", "c": "d"},
    'a="b c"; d=""': {"a": "b c", "d": ""},
    'a="; b=1': {"a": "", "b": "1"},
    'a="b; c=d"': {"a": '"b', "c": 'd"'},
    'a=""b""': {"a": '"b"'},
    r'a="\054\"x"': {"a": r"\054\"x"},
    "a='b'": {"a": "'b'"},
    # Escapes.
    "a=b%20c; d=%7B%22e%22%3A1%7D": {"a": "b c", "d": '{"e":1}'},
    "a=%E2%82%AC; b=%e2%82%ac": {"a": "€", "b": "€"},
    "a=%F0%9F%98%80": {"a": "😀"},
    "a=100%; sid=1": {"a": "100%", "sid": "1"},
    "a=%zz%20; sid=1": {"a": "%zz%20", "sid": "1"},
    "a=%20%; sid=1": {"a": "%20%", "sid": "1"},
    "a=%FF; b=%C3x; c=%C3%28; d=%ED%A0%80; e=%F4%90%80%80; f=%C0%80": {
        "a": "%FF",
        "b": "%C3x",
        "c": "%C3%28",
        "d": "%ED%A0%80",
        "e": "%F4%90%80%80",
        "f": "%C0%80",
    },
    "a=%C3%A9 %C3%BC": {"a": "é ü"},
    "a=%2525; b=+": {"a": "%25", "b": "+"},
    "a=%00%0D%0A": {"a": "\x00\r\n"},
    "a%20b=1": {"a%20b": "1"},
    'a="%22"': {"a": '"'},
    # Bytes beyond ASCII are latin-1, here and there.
    "a=\xc3\xa9; b=\xe9%C3%A9; \xe9=1": {"a": "\xc3\xa9", "b": "\xe9é", "\xe9": "1"},
}


@pytest.mark.hostile("R60")
@pytest.mark.parametrize("field", COOKIES, ids=repr)
def test_cookies_are_read_pair_by_pair(field: str) -> None:
    headers = Headers([(b"Cookie", field.encode("latin-1"))])
    assert Handshake({}, headers, {}, None, secure=False).cookies == COOKIES[field]


def test_they_are_what_node_makes_of_them() -> None:
    require_tool("node", "cookie")
    script = (
        "const {parse} = require('cookie');"
        "const fields = JSON.parse(require('fs').readFileSync(0));"
        "process.stdout.write(JSON.stringify(fields.map(field => parse(field))));"
    )
    process = subprocess.run(
        ["node", "-e", script], cwd=ROOT, input=json.dumps(list(COOKIES)), capture_output=True, text=True, timeout=30, check=True
    )
    assert dict(zip(COOKIES, json.loads(process.stdout), strict=True)) == COOKIES


def test_a_cookie_with_a_name_that_objects_have_in_javascript_is_a_cookie() -> None:
    assert parse_cookies("__proto__=1; constructor=2") == {"__proto__": "1", "constructor": "2"}


def test_no_cookies() -> None:
    assert Handshake({}, Headers(), {}, None, secure=False).cookies == {}


@pytest.mark.hostile("R60")
def test_cookies_in_fields_of_their_own_as_http_2_may_send_them() -> None:
    headers = Headers([(b"cookie", b"a=1"), (b"Cookie", b"b=2, 3"), (b"cookie", b"c=4"), (b"x", b"5"), (b"X", b"6")])
    assert headers["cookie"] == "a=1; b=2, 3; c=4"
    assert headers["x"] == "5, 6"
    assert Handshake({}, headers, {}, None, secure=False).cookies == {"a": "1", "b": "2, 3", "c": "4"}


@pytest.mark.hostile("R60")
@pytest.mark.parametrize("piece", ["a;", ";", "=", "a=%E2%82%AC;", "a=%", "a= ", '"'])
def test_a_long_field_is_read_in_no_time(piece: str) -> None:
    start = time.perf_counter()
    parse_cookies(piece * 20_000)
    assert time.perf_counter() - start < 1

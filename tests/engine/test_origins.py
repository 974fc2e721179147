"""Which pages may talk to the server, and with which CORS headers."""

from __future__ import annotations

import gc
import logging
import re
from collections.abc import AsyncIterator, Iterator
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tests.memory import kept_by
from trio_sio import CORS, Config, ConfigurationError, Server
from trio_sio.engine.origins import OriginPolicy
from trio_sio.protocol.http import Headers, Request
from trio_sio.testing import UpgradeRefused, open_test_server

Fields = list[tuple[bytes, bytes]]

HANDSHAKE = "/socket.io/?EIO=4&transport=polling"


def request(method: str = "GET", **headers: str) -> Request:
    fields = [(name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items()]
    return Request(method, "/socket.io/", b"", Headers(fields))


def is_allowed(origin: str, host: str, config: Config | None = None) -> bool:
    return OriginPolicy(config or Config()).headers(request(origin=origin, host=host)) is not None


@pytest.mark.parametrize(
    ("origin", "host", "allowed"),
    [
        ("https://app.example", "app.example", True),
        ("http://app.example", "app.example", True),  # a proxy may have ended TLS
        ("ws://app.example", "app.example", True),
        ("https://APP.example", "app.EXAMPLE", True),
        ("https://app.example:443", "app.example", True),
        ("http://app.example:80", "app.example", True),
        ("https://app.example", "app.example:443", True),
        ("http://app.example", "app.example:80", True),
        ("https://app.example:8443", "app.example:8443", True),
        ("http://[2001:db8::1]:3000", "[2001:db8::1]:3000", True),
        ("https://app.example:80", "app.example", False),
        ("https://app.example:8443", "app.example", False),
        ("https://app.example", "app.example:8443", False),
        ("https://evil.example", "app.example", False),
        ("https://app.example.evil.example", "app.example", False),
        ("https://evilapp.example", "app.example", False),
        ("https://app.example@evil.example", "app.example", False),
        ("https://app.example/", "app.example", False),
        ("https://app.example", "app.example, evil.example", False),
        ("https://app.example, https://evil.example", "app.example", False),
        ("app.example", "app.example", False),
        ("null", "app.example", False),
        ("null", "null", False),
        ("", "app.example", False),
        ("", "", False),
        ("https://app.example", "", False),
        ("http://localhost:5173", "localhost:3000", True),
        ("http://127.0.0.1:5173", "localhost:3000", True),
        ("http://[::1]:5173", "127.8.9.10:3000", True),
        ("http://app.localhost:5173", "localhost:3000", True),
        ("http://localhost:5173", "app.example", False),
        ("https://evil.example", "localhost:3000", False),
        ("http://localhost.evil.example", "localhost:3000", False),
        ("http://127.0.0.1.evil.example", "127.0.0.1:3000", False),
        ("http://notlocalhost", "localhost:3000", False),
    ],
)
async def test_a_page_may_talk_to_its_own_host(origin: str, host: str, allowed: bool) -> None:
    assert is_allowed(origin, host) is allowed


@pytest.mark.parametrize("host", ["app.example", "localhost:3000", ""])
def test_who_names_no_origin_is_not_a_foreign_page(host: str) -> None:
    assert OriginPolicy(Config()).headers(request(host=host)) == []


async def test_loopback_pages_can_be_shut_out() -> None:
    config = Config(allow_loopback_origins=False)

    assert not is_allowed("http://localhost:5173", "localhost:3000", config)
    assert is_allowed("http://localhost:3000", "localhost:3000", config)


@pytest.mark.parametrize(
    ("cors", "origin", "allowed"),
    [
        (CORS(origins="*"), "https://anybody.example", True),
        (CORS(origins="https://app.example"), "https://app.example", True),
        (CORS(origins="https://app.example"), "https://app.example:8443", False),
        (CORS(origins="https://app.example"), "http://app.example", False),
        (CORS(origins=["https://a.example", "https://b.example"]), "https://b.example", True),
        (CORS(origins=["https://a.example", "https://b.example"]), "https://c.example", False),
        (CORS(origins=["https://a.example", "*"]), "https://c.example", True),
        (CORS(origins=[]), "https://a.example", False),
        (CORS(origins=("https://a.example",)), "https://a.example", True),
        (CORS(origins={"https://a.example"}), "https://a.example", True),
        (CORS(origins=frozenset({"https://a.example"})), "https://b.example", False),
        (CORS(origins=(f"https://{name}.example" for name in "ab")), "https://b.example", True),
        (CORS(origins="null"), "null", True),
        (CORS(origins=["https://a.example", "null", "file://"]), "null", True),
        (CORS(origins=["https://a.example", "null", "file://"]), "file://", True),
        (CORS(origins=["https://a.example"]), "null", False),
        (CORS(origins=["capacitor://localhost", "app://.", "chrome-extension://abcdef"]), "app://.", True),
        (CORS(origins="http://[2001:db8::1]:3000"), "http://[2001:db8::1]:3000", True),
        (CORS(origins="https://xn--mnchen-3ya.example"), "https://xn--mnchen-3ya.example", True),
        (CORS(origins="http://192.0.2.1:8080"), "http://192.0.2.1:8080", True),
        (CORS(origins=re.compile(r"https://\w+\.example")), "https://app.example", True),
        (CORS(origins=re.compile(r"https://\w+\.example")), "https://app.example.evil", False),
        (CORS(origins=lambda origin: origin.endswith(".example")), "https://app.example", True),
        (CORS(origins=lambda origin: origin.endswith(".example")), "https://app.evil", False),
    ],
)
async def test_listed_pages_may_talk_to_the_server(cors: CORS, origin: str, allowed: bool) -> None:
    assert is_allowed(origin, "api.example", Config(cors=cors)) is allowed


def test_listing_others_does_not_shut_the_own_page_out() -> None:
    assert is_allowed("https://api.example", "api.example", Config(cors=CORS(origins="https://app.example")))


@pytest.mark.parametrize(
    ("cors", "origin", "host", "headers"),
    [
        (CORS(origins="*"), "https://a.example", "b.example", {b"Access-Control-Allow-Origin": b"*"}),
        (CORS(origins=["https://a.example", "*"]), "https://a.example", "b.example", {b"Access-Control-Allow-Origin": b"*"}),
        (
            CORS(origins=["https://a.example"]),
            "https://a.example",
            "b.example",
            {b"Access-Control-Allow-Origin": b"https://a.example", b"Vary": b"Origin"},
        ),
        (
            CORS(origins=["https://a.example"], credentials=True),
            "https://a.example",
            "b.example",
            {b"Access-Control-Allow-Origin": b"https://a.example", b"Vary": b"Origin", b"Access-Control-Allow-Credentials": b"true"},
        ),
        (
            None,
            "http://localhost:5173",
            "localhost:3000",
            {b"Access-Control-Allow-Origin": b"http://localhost:5173", b"Vary": b"Origin"},
        ),
        (None, "https://a.example", "a.example", {}),
    ],
    ids=["any", "any in a list", "listed", "with cookies", "loopback", "own page"],
)
def test_cors_headers(cors: CORS | None, origin: str, host: str, headers: dict[bytes, bytes]) -> None:
    fields = OriginPolicy(Config(cors=cors)).headers(request(origin=origin, host=host))

    assert fields is not None
    assert dict(fields) == headers


@pytest.mark.parametrize(
    ("cors", "asked_headers", "headers"),
    [
        (None, None, {b"Access-Control-Allow-Methods": b"GET,POST"}),
        (
            CORS(origins="*"),
            "x-token, content-type",
            {b"Access-Control-Allow-Methods": b"GET,POST", b"Access-Control-Allow-Headers": b"x-token, content-type"},
        ),
        (
            CORS(origins="*", methods=["POST"], headers=["x-a", "x-b"], max_age=600),
            "x-token",
            {
                b"Access-Control-Allow-Methods": b"POST",
                b"Access-Control-Allow-Headers": b"x-a,x-b",
                b"Access-Control-Max-Age": b"600",
            },
        ),
    ],
    ids=["default", "echoes the headers", "configured"],
)
def test_answers_to_preflight_requests(cors: CORS | None, asked_headers: str | None, headers: dict[bytes, bytes]) -> None:
    asked = {"origin": "http://localhost:1", "host": "localhost", "access_control_request_method": "POST"}
    if asked_headers is not None:
        asked["access_control_request_headers"] = asked_headers

    fields = OriginPolicy(Config(cors=cors)).preflight(request("OPTIONS", **asked))

    assert fields is not None
    assert dict(fields) == headers


@pytest.mark.parametrize(
    "other",
    [
        request("OPTIONS", origin="http://a.example", host="a.example"),
        request("OPTIONS", host="a.example", access_control_request_method="POST"),
        request("GET", origin="http://a.example", host="a.example", access_control_request_method="POST"),
    ],
    ids=["asks for nothing", "no origin", "not OPTIONS"],
)
def test_other_requests_are_no_preflight(other: Request) -> None:
    assert OriginPolicy(Config()).preflight(other) is None


async def test_a_refused_origin_is_warned_about_once(caplog: pytest.LogCaptureFixture) -> None:
    policy = OriginPolicy(Config())
    caplog.set_level(logging.DEBUG)

    for name in ("a", "a", "b", "a"):
        assert policy.headers(request(origin=f"https://{name}.example", host="own.example")) is None

    levels = [(record.levelno, name) for record in caplog.records for name in "ab" if f"{name}.example" in record.getMessage()]
    warning, debug = logging.WARNING, logging.DEBUG
    assert levels == [(warning, "a"), (debug, "a"), (warning, "b"), (debug, "a")]
    assert "add its origin: Config(cors=CORS(origins=[...]))" in caplog.text


@pytest.mark.hostile("R27")
async def test_origins_that_somebody_makes_up_hide_a_real_one_for_a_minute_at_most(
    caplog: pytest.LogCaptureFixture, mock_clock: trio.testing.MockClock
) -> None:
    policy = OriginPolicy(Config())
    caplog.set_level(logging.CRITICAL)
    with kept_by(__file__) as kept:
        for minute in range(20):
            mock_clock.jump(60)
            for number in range(80):
                policy.headers(request(origin=f"https://{minute}-{number}.example{'x' * 10_000}", host="own.example"))
        # A thousand names, each cut.
        assert 200_000 < kept() < 1_000_000
    caplog.set_level(logging.WARNING)
    mock_clock.jump(60)

    policy.headers(request(origin="https://app.example", host="own.example"))

    assert "'https://app.example'" in caplog.text


async def answer_later(origin: str) -> bool:
    return False


class AsyncCallable:
    async def __call__(self, origin: str) -> bool:
        return False


async def generate_answers(origin: str) -> AsyncIterator[bool]:
    yield False


def generate_answers_too(origin: str) -> Iterator[bool]:
    yield False


@pytest.mark.parametrize(
    "function",
    [answer_later, partial(answer_later), AsyncCallable(), partial(AsyncCallable()), generate_answers, generate_answers_too],
    ids=["async", "partial", "object", "partial of an object", "async generator", "generator"],
)
def test_a_function_whose_answer_would_have_to_be_awaited_is_refused(function: Any) -> None:
    with pytest.raises(
        ConfigurationError, match=r"CORS\.origins takes a function that answers at once, but .* is (async|a generator function)"
    ):
        CORS(origins=function)


class MadeUp:
    """True, as almost everything is in Python."""


@pytest.mark.parametrize("answer", [1, "no", [False], MadeUp(), re.match("a", "a")], ids=["1", "no", "list", "object", "match"])
async def test_only_true_lets_a_page_in(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    config = Config(cors=CORS(origins=lambda origin: answer, credentials=True))  # type: ignore[arg-type,return-value]

    assert not is_allowed("https://evil.example", "app.example", config)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        f"The function of CORS.origins returned {answer!r:.80}, which counts as no: only True is yes."
    ]


@pytest.mark.parametrize("answer", [False, None, 0, ""])
async def test_what_is_no_is_not_worth_a_line(answer: object, caplog: pytest.LogCaptureFixture) -> None:
    assert not is_allowed("https://evil.example", "app.example", Config(cors=CORS(origins=lambda origin: answer)))  # type: ignore[arg-type,return-value]
    assert not [record for record in caplog.records if record.levelno > logging.WARNING]


async def test_a_function_that_hands_out_a_coroutine_lets_nobody_in(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    config = Config(cors=CORS(origins=lambda origin: answer_later(origin + "/"), credentials=True))  # type: ignore[arg-type,return-value]

    assert not is_allowed("https://evil.example", "app.example", config)
    gc.collect()

    assert "The function of CORS.origins returned something that is still to be awaited" in caplog.text
    assert not recwarn.list


async def test_a_function_that_raises_lets_nobody_in_by_it(caplog: pytest.LogCaptureFixture) -> None:
    def fail(origin: str) -> bool:
        raise LookupError("a mistake of the application")

    config = Config(cors=CORS(origins=fail))
    assert not is_allowed("https://evil.example", "app.example", config)
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.ERROR] == [
        "The function of CORS.origins failed, so a page of 'https://evil.example' is not let in by it."
    ]
    assert is_allowed("https://app.example", "app.example", config)


async def test_a_foreign_page_gets_nothing_from_either_transport_and_leaves_nothing() -> None:
    foreign = {"Origin": "https://evil.example"}
    async with open_test_server(Server()) as server:
        async with await server.http() as http:
            answer = await http.request("GET", HANDSHAKE, headers=foreign)
            assert (answer.status, answer.body) == (403, b'{"code":4,"message":"Forbidden"}')
            assert "access-control-allow-origin" not in answer.headers
            preflight = {**foreign, "Access-Control-Request-Method": "POST"}
            assert (await http.request("OPTIONS", HANDSHAKE, headers=preflight)).status == 403
        with pytest.raises(UpgradeRefused) as refused:
            await server.websocket(headers=foreign)
        assert refused.value.response.status == 403
        assert server.server.engine.clients_count == 0


async def test_a_page_also_needs_the_right_origin_for_a_session_that_exists(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(Server()) as server, await server.http() as http:
        opened = await http.request("GET", HANDSHAKE)
        sid = opened.body.split(b'"')[3].decode()

        answer = await http.request("POST", f"{HANDSHAKE}&sid={sid}", headers={"Origin": "https://evil.example"}, body="40")
        assert answer.status == 403
        assert (await http.request("POST", f"{HANDSHAKE}&sid={sid}", body="40")).body == b"ok"


async def test_every_answer_to_a_listed_page_carries_the_cors_headers_also_the_bad_ones(autojump_clock: trio.testing.MockClock) -> None:
    page = {"Origin": "https://app.example"}
    config = Config(cors=CORS(origins="https://app.example", max_age=5))
    async with open_test_server(Server(config=config)) as server, await server.http() as http:
        preflight = await http.request("OPTIONS", HANDSHAKE, headers={**page, "Access-Control-Request-Method": "POST"})
        answers = [
            preflight,
            *[await http.request("GET", f"/socket.io/?{query}", headers=page) for query in ("EIO=4&transport=polling", "")],
        ]

    assert [answer.status for answer in answers] == [204, 200, 400]
    assert [answer.headers["access-control-allow-origin"] for answer in answers] == ["https://app.example"] * 3
    assert preflight.headers["access-control-max-age"] == "5"

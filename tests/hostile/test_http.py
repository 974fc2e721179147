"""Hostile HTTP: section H of the catalogue."""

from __future__ import annotations

import json
import re
import socket
import struct
from collections.abc import Mapping
from typing import Final

import pytest
import trio

from tests.hostile.journal import Journal
from tests.hostile.victim import BOUND, POLLING, WEBSOCKET, PollingSession, Victim, assert_refused
from trio_sio import CORS, Limits
from trio_sio.errors import ConfigurationError
from trio_sio.testing.raw import RawHttp, RawWebSocket, WebSocketClosed

NOTE: Final = '42["note",%s]'
HEAD: Final = "%s %s HTTP/1.1\r\nHost: localhost\r\n"
UPGRADE: Final = (
    f"GET /socket.io/?{WEBSOCKET} HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
)

# What hypercorn answers itself, and we never see.
native_only = pytest.mark.parametrize("door", ["native"])


def status(answer: bytes) -> int:
    """Return the status of the only response in ``answer``."""
    found = re.findall(rb"^HTTP/1\.1 ([0-9]{3}) ", answer, re.MULTILINE)
    assert len(found) == 1, answer
    return int(found[0])


def get(query: str = POLLING, fields: str = "") -> bytes:
    """Return a GET request that asks the server to close."""
    return f"{HEAD % ('GET', '/socket.io/?' + query)}Connection: close\r\n{fields}\r\n".encode("latin-1")


def post(session: PollingSession, fields: str, body: bytes = b"") -> bytes:
    """Return a POST request for ``session``."""
    return f"{HEAD % ('POST', '/socket.io/?' + session.query)}{fields}\r\n".encode("latin-1") + body


@pytest.mark.hostile("H01", "H02", "H03", "H56")
async def test_path_of_nobody(victim: Victim) -> None:
    for path in [
        "/",
        "/socket.iox/",
        "/socket.io/zzz/",
        "//socket.io/",
        "/socket.io//",
        "/SOCKET.IO/",
        "/socket.io/socket.io.js/../..",
        "/engine.io/",
    ]:
        assert (await victim.request(POLLING, path=path)).status == 404


@pytest.mark.hostile("H01")
async def test_path_without_slash(victim: Victim, journal: Journal) -> None:
    assert_refused(await victim.request("EIO=4", path="/socket.io"), 0)
    journal.expect("INFO Refused GET '/socket.io' ")


@pytest.mark.hostile("H03")
@native_only
async def test_absolute_form(victim: Victim, journal: Journal) -> None:
    for host, expected in [("localhost", 400), ("other", 404)]:
        request = f"GET http://{host}/socket.io/?EIO=4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert status(await victim.say(request.encode())) == expected
    journal.expect("INFO Refused GET .*Transport unknown")


@pytest.mark.hostile("H04", "H37")
@native_only
@pytest.mark.parametrize(
    "target", [f"/socket.io/?{POLLING}#x", f"/socket.io/?{POLLING}&a=\x01", "/socket.io/?a b", "/\rx: y", "/\x00", "/\x7f", "/é"]
)
async def test_illegal_target(victim: Victim, target: str) -> None:
    answer = await victim.say((HEAD % ("GET", target)).encode("latin-1") + b"\r\n")

    assert status(answer) == 400
    assert b"x: y" not in answer


@pytest.mark.hostile("H05", "H47")
async def test_protocol_version(victim: Victim, journal: Journal) -> None:
    for version in ["", "&EIO=3", "&EIO=5", "&EIO=", "&EIO=04", "&EIO=4&EIO=3", "&EIO=3&EIO=4", "&EIO=4&EIO=4", "&EIO=%004"]:
        assert_refused(await victim.request("transport=polling" + version), 5)
        assert_refused(await victim.refusal("transport=websocket" + version), 5)
        journal.expect("INFO Refused GET ", times=2)


@pytest.mark.hostile("H06", "H36")
async def test_unknown_transport(victim: Victim, journal: Journal) -> None:
    for query in [
        "EIO=4",
        "EIO=4&transport=",
        *(f"EIO=4&transport={name}" for name in ("foo", "constructor", "webtransport", "%zz", "%00")),
    ]:
        assert_refused(await victim.request(query), 0)
        assert_refused(await victim.refusal(query), 0)
        journal.expect("INFO Refused GET .*Transport unknown", times=2)


@pytest.mark.hostile("H07", "H13", "H45")
async def test_transport_and_upgrade_disagree(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    assert_refused(await victim.request(WEBSOCKET), 3)
    assert_refused(await victim.request(f"{WEBSOCKET}&sid={session.sid}"), 3)
    assert_refused(await victim.refusal(POLLING), 3)
    assert_refused(await victim.refusal(session.query), 3)

    await session.assert_lives()
    journal.expect("INFO Refused GET ", times=4)


@pytest.mark.hostile("H08")
async def test_handshake_with_another_verb(victim: Victim, journal: Journal) -> None:
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "FOO"]:
        response = await victim.request(POLLING, method=method) if method != "HEAD" else None

        if response is None:
            assert status(await victim.say(get().replace(b"GET", b"HEAD"))) == 400
        else:
            assert_refused(response, 2)
        journal.expect(f"INFO Refused {method} .*Bad handshake method")


@pytest.mark.hostile("H08")
@pytest.mark.parametrize("settings", [{"cors": CORS(origins="http://app.example")}], ids=["cors"])
async def test_preflight(victim: Victim) -> None:
    fields = {"Origin": "http://app.example", "Access-Control-Request-Method": "POST"}
    response = await victim.request(POLLING, method="OPTIONS", headers=fields)

    assert (response.status, response.body) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "http://app.example"


@pytest.mark.hostile("H09", "H10", "H36")
async def test_unknown_session(victim: Victim, journal: Journal) -> None:
    for sid in ["x", "", "__proto__", "constructor", "x" * 8_000, "%ff%fe", "%zz", "%00", "a%0aINFO%20forged", "0" * 20]:
        query = f"&sid={sid}"

        assert_refused(await victim.request(POLLING + query), 1)
        assert_refused(await victim.request(POLLING + query, method="POST", body=NOTE % 1), 1)
        assert_refused(await victim.refusal(WEBSOCKET + query), 1)

        journal.expect("INFO Refused POST .{,60}: session id '[^'\n]{,32}'…$", *["INFO Refused GET .{,60}: session id '[^'\n]{,32}'…$"] * 2)


@pytest.mark.hostile("H11")
async def test_two_session_ids(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    for query in (f"&sid={session.sid}", "&sid=x", "&sid="):
        assert_refused(await victim.request(session.query + query), 3)
        assert_refused(await victim.refusal(f"{WEBSOCKET}&sid={session.sid}{query}"), 3)

    await session.assert_lives()
    journal.expect("INFO Refused GET .*several session ids", times=6)


@pytest.mark.hostile("H12")
async def test_protocol_version_changes(victim: Victim, journal: Journal) -> None:
    for version in ["", "EIO=3", "EIO=5", "EIO=4&EIO=3"]:
        session = await victim.polling()
        query = f"&sid={session.sid}&{version}"

        assert_refused(await victim.request("transport=polling" + query), 3)
        assert_refused(await victim.request("transport=polling" + query, method="POST", body=NOTE % 1), 3)
        assert_refused(await victim.refusal("transport=websocket" + query), 3)

        victim.no_note()
        await session.assert_lives()
        journal.expect("INFO Refused POST .*version", *["INFO Refused GET .*version"] * 2)


@pytest.mark.hostile("H14")
async def test_another_verb_for_a_session(victim: Victim) -> None:
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "FOO"]:
        session = await victim.polling()

        response = await victim.request(session.query, method=method, body=NOTE % 1)

        assert response.status == 405
        assert response.headers["allow"] == "GET, POST"
        victim.no_note()
        await session.assert_lives()


@pytest.mark.hostile("H15")
async def test_two_polls(victim: Victim) -> None:
    session = await victim.polling()
    first = await session.start_poll()

    second = await session.get()

    assert_refused(second, 3)
    with trio.fail_after(BOUND):
        answer = await first.receive()
    assert (answer.status, answer.body) == (200, b"1")
    await session.assert_over("transport error")


@pytest.mark.hostile("H16")
async def test_two_posts(victim: Victim) -> None:
    session = await victim.polling()
    poll = await session.start_poll()
    first = await victim.connect()
    await first.send_all(post(session, "Content-Length: 100\r\nConnection: close\r\n", b"42"))
    await victim.settle()

    second = await session.post(NOTE % 1)

    assert second.status == 400
    with trio.fail_after(BOUND):
        assert (await first.receive_some(12)) == b"HTTP/1.1 400"
        assert (await poll.receive()).body == b"1"
    victim.no_note()
    await session.assert_over("transport error")


@pytest.mark.hostile("H17")
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_dropped_poll(victim: Victim, reset: bool) -> None:
    session = await victim.polling()
    poll = await session.start_poll()

    await hang_up(poll.stream, reset=reset)

    await session.assert_over("transport error")


async def hang_up(stream: trio.abc.Stream, *, reset: bool) -> None:
    assert isinstance(stream, trio.SocketStream)
    if reset:
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    await trio.aclose_forcefully(stream)


@pytest.mark.hostile("H18")
@pytest.mark.parametrize("content_type", ["application/octet-stream", "Application/Octet-Stream; charset=x"])
async def test_binary_post(victim: Victim, content_type: str) -> None:
    session = await victim.polling()

    response = await session.post(NOTE % 1, {"Content-Type": content_type})

    assert_refused(response, 3)
    victim.no_note()
    await session.assert_over("transport error")


@pytest.mark.hostile("H19")
@pytest.mark.parametrize(
    "fields", [{}, {"Content-Type": "application/json"}, {"Content-Type": "text/plain;charset=UTF-8"}, {"Content-Type": "\\"}]
)
async def test_content_type_of_posts(victim: Victim, fields: Mapping[str, str]) -> None:
    session = await victim.polling()

    assert (await session.post(NOTE % 1, fields)).status == 200

    assert await victim.note() == 1


@pytest.mark.hostile("H20")
async def test_empty_post(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    assert_refused(await session.post(""), 3)

    await session.assert_over("parse error")
    journal.expect("INFO .* ended: parse error")


@pytest.mark.hostile("H21", "H22")
async def test_largest_post(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()
    largest = NOTE % json.dumps("x" * (1_000_000 - len(NOTE % '""')))

    await session.send(largest)
    assert len(str(await victim.note())) == len(largest) - len(NOTE % '""')

    # It may be refused before all of it is out, so this is no client that reads only then.
    answer = await victim.say(post(session, "Content-Length: 1000001\r\nConnection: close\r\n", largest.encode() + b" "))
    assert status(answer) == 413
    victim.no_note()
    await session.assert_lives()
    journal.expect("INFO Refused a POST .*limit is 1000000.*max_http_buffer_size")


@pytest.mark.hostile("H23")
async def test_chunked_post_grows_past_the_limit(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()
    chunk = b"%x\r\n%b\r\n" % (100_000, b"x" * 100_000)

    answer = await victim.say(post(session, "Transfer-Encoding: chunked\r\n", chunk * 11))

    assert status(answer) == 413
    await session.assert_lives()
    journal.expect("INFO Refused a POST .*limit|INFO Refused a POST .*larger than 1000000 bytes")


@pytest.mark.hostile("H24")
async def test_enormous_content_length(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    stream = await victim.connect()
    await stream.send_all(post(session, f"Content-Length: {10**18}\r\n", b"4"))

    with trio.fail_after(BOUND):
        assert await stream.receive_some(12) == b"HTTP/1.1 413"
    await session.assert_lives()
    journal.expect("INFO Refused a POST .*limit")


@pytest.mark.hostile("H25")
@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
async def test_truncated_post(victim: Victim, reset: bool) -> None:
    session = await victim.polling()
    stream = await victim.connect()
    await stream.send_all(post(session, "Content-Length: 100\r\n", (NOTE % 1).encode()))
    await victim.settle()

    await hang_up(stream, reset=reset)

    await session.assert_over("transport error")
    victim.no_note()


@pytest.mark.hostile("H25")
@native_only
async def test_truncated_post_of_a_client_that_listens(victim: Victim) -> None:
    session = await victim.polling()
    stream = await victim.connect()
    await stream.send_all(post(session, "Content-Length: 100\r\n", (NOTE % 1).encode()))
    await stream.send_eof()

    with trio.fail_after(BOUND):
        assert await stream.receive_some(12) == b"HTTP/1.1 400"
    await session.assert_over("transport error")


@pytest.mark.hostile("H26")
@pytest.mark.parametrize("settings", [{"http_stall_timeout": 0.2}], ids=["brisk"])
async def test_post_that_stalls(victim: Victim) -> None:
    session = await victim.polling()

    answer = await victim.say(post(session, "Content-Length: 100\r\n", (NOTE % 1).encode()))

    assert status(answer) == 408
    victim.no_note()
    await session.assert_over("transport error")


@pytest.mark.hostile("H27")
@native_only
@pytest.mark.parametrize("settings", [{"header_timeout": 0.2}], ids=["brisk"])
@pytest.mark.parametrize("data", [b"", b"G", b"GET / HTTP/1.1\r\nHost: x\r\n"])
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
@native_only
@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"GET / HTTP/1.0\r\n\r\n", {404}),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", {400, 505}),
        (b"GET / HTTP/2.0\r\nHost: x\r\n\r\n", {400, 505}),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(200)), {400}),
        (bytes(range(255, 127, -1)), {400}),
        (b"\n\n\n\n", {400}),
        (b"GET\r\n\r\n", {400}),
    ],
    ids=["1.0", "h2", "2.0", "tls", "noise", "newlines", "word"],
)
async def test_something_else_than_http_1_1(victim: Victim, data: bytes, expected: set[int]) -> None:
    assert status(await victim.say(data)) in expected


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


@pytest.mark.hostile("H32")
@native_only
@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nabc",
        b"-1\r\nabc",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"1;" + b"x" * 300_000,
        (b"1;" + b"x" * 1_000 + b"\r\n6\r\n") * 300,
    ],
    ids=["hex", "negative", "newline", "size", "endless-extension", "extensions"],
)
async def test_bad_chunks(victim: Victim, body: bytes) -> None:
    session = await victim.polling()

    answer = await victim.say(post(session, "Transfer-Encoding: chunked\r\n", body))

    assert status(answer) in (400, 431)
    await session.assert_over("transport error")


@pytest.mark.hostile("H33")
@native_only
async def test_expectations(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()
    fields = "Content-Length: %d\r\nExpect: 100-continue\r\n"
    too_much, right = await victim.connect(), await victim.connect()

    with trio.fail_after(BOUND):
        await too_much.send_all(post(session, fields % 1_000_001))
        assert await too_much.receive_some(12) == b"HTTP/1.1 413"
        await right.send_all(post(session, fields % len(NOTE % 1)))
        assert await right.receive_some(12) == b"HTTP/1.1 100"
        await right.send_all((NOTE % 1).encode())
    assert await victim.note() == 1

    assert status(await victim.say(post(session, "Content-Length: 5\r\nExpect: more\r\n"))) == 417
    await session.assert_lives()
    journal.expect("INFO Refused a POST .*limit")


@pytest.mark.hostile("H34")
async def test_compressed_post(victim: Victim) -> None:
    for coding in ["gzip", "deflate", "br", "identity, gzip"]:
        session = await victim.polling()

        response = await session.post(NOTE % 1, {"Content-Encoding": coding})

        assert response.status == 415
        victim.no_note()
        await session.assert_lives()


@pytest.mark.hostile("H35")
@pytest.mark.parametrize(
    "text", [b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80"], ids=["ff", "cut", "surrogate", "overlong", "beyond"]
)
async def test_post_that_is_not_utf8(victim: Victim, journal: Journal, text: bytes) -> None:
    # Not in packets whose data means nothing either.
    for packet in (b'42["note","%b"]', b"6%b", b'2["%b"]'):
        session = await victim.polling()

        response = await session.post(packet % text)

        assert_refused(response, 3)
        victim.no_note()
        await session.assert_over("parse error")
        journal.expect("INFO .* ended: parse error")


@pytest.mark.hostile("H36")
async def test_bad_escapes_where_nobody_looks(victim: Victim) -> None:
    session = await victim.polling()

    response = await victim.request(f"{session.query}&t=%zz&%&a=%00&b=%c0%80&c=%ff", method="POST", body=NOTE % 1)

    assert response.status == 200
    assert await victim.note() == 1


FOREIGN_ORIGINS: Final = [
    "http://evil.example",
    "http://localhost.evil.example",
    "http://localhost@evil.example",
    "null",
    "",
    "localhost",
    "http://localhost/",
    "http://localhost, http://localhost",
    "http://locallost",
    "http://" + "x" * 4_000,
]


@pytest.mark.hostile("H38", "H39")
async def test_foreign_origin(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()
    sessions = victim.server.engine.clients_count

    for origin in FOREIGN_ORIGINS:
        fields = {"Origin": origin}
        assert_refused(await victim.request(POLLING, headers=fields), 4, 403)
        assert_refused(await victim.refusal(WEBSOCKET, fields), 4, 403)
        assert_refused(await victim.request(session.query, headers=fields), 4, 403)
        assert_refused(await session.post(NOTE % 1, fields), 4, 403)
        assert_refused(await victim.refusal(f"{WEBSOCKET}&sid={session.sid}", fields), 4, 403)
        # One warning for each new origin, however often it comes.
        journal.expect(r"WARNING Refused a request from a page of .*CORS\(origins=", *["INFO Refused .*origin"] * 5)

    assert victim.server.engine.clients_count == sessions
    victim.no_note()
    await session.assert_lives()


@pytest.mark.hostile("H39")
@pytest.mark.parametrize("origin", ["http://\xe9vil.example", "http://localhost\xff", "http://a\x01b"])
async def test_origin_that_is_not_ascii(victim: Victim, journal: Journal, origin: str) -> None:
    assert status(await victim.say(get(fields=f"Origin: {origin}\r\n"))) == 403
    journal.expect("WARNING Refused a request from a page of ", "INFO Refused GET .*origin")


@pytest.mark.hostile("H40")
def test_every_origin_with_credentials() -> None:
    with pytest.raises(ConfigurationError):
        CORS(origins="*", credentials=True)


@pytest.mark.hostile("H41")
async def test_pipelined_handshakes(victim: Victim) -> None:
    request = HEAD.encode() % (b"GET", b"/socket.io/?" + POLLING.encode())

    answer = await victim.say((request + b"\r\n") * 2 + get())

    sids = re.findall(rb'\{"sid":"([A-Za-z0-9_-]{20})"', answer)
    assert answer.count(b"HTTP/1.1 200") == len(set(sids)) == 3
    for sid in sids:
        assert (await victim.request(f"{POLLING}&sid={sid.decode()}", method="POST", body="1")).status == 200


@pytest.mark.hostile("H41")
@native_only
@pytest.mark.parametrize("settings", [{"ping_interval": 0.4}], ids=["brisk"])
async def test_poll_before_a_post_on_one_connection(victim: Victim) -> None:
    session = await victim.polling()
    http = await victim.http()
    target = f"/socket.io/?{session.query}"

    poll = (HEAD % ("GET", target)).encode() + b"\r\n"
    await http.stream.send_all(poll + post(session, "Content-Length: 12\r\nConnection: close\r\n", (NOTE % 1).encode()))
    await victim.settle()

    # The poll comes first, so the POST waits behind it until the next ping.
    victim.no_note()
    assert await victim.note() == 1


@pytest.mark.hostile("H42")
async def test_post_behind_a_close_packet(victim: Victim) -> None:
    session = await victim.polling()

    await session.send("1")

    assert_refused(await session.post(NOTE % 1), 1)
    victim.no_note()
    victim.journal.expect("INFO Refused POST .*session id")
    await session.assert_over("transport close")


@pytest.mark.hostile("H43")
async def test_jsonp(victim: Victim, journal: Journal) -> None:
    for j in ["0", "", "alert(1)"]:
        assert_refused(await victim.request(f"{POLLING}&j={j}"), 3)
        journal.expect("INFO Refused GET .*JSONP")


@pytest.mark.hostile("H44")
@native_only
async def test_other_upgrades_are_ignored(victim: Victim) -> None:
    session = await victim.polling()
    fields = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}

    assert (await session.post(NOTE % 1, fields)).status == 200

    assert await victim.note() == 1


@pytest.mark.hostile("H46", "H51")
@native_only
@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ("Version: 13", "Version: 12", 426),
        ("Version: 13", "Version: x", 426),
        ("Sec-WebSocket-Version: 13\r\n", "", 400),
        ("Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n", "", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=", 400),
        ("dGhlIHNhbXBsZSBub25jZQ==", "\xe9", 400),
        ("GET", "POST", 400),
        ("\r\n\r\n", "\r\nContent-Length: 5\r\n\r\n", 400),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a,a,,\r\n\r\n", 400),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: \xe9\r\n\r\n", 400),
        ("\r\n\r\n", "\r\nSec-WebSocket-Protocol: a b\r\n\r\n", 400),
        ("/socket.io/", "/elsewhere/", 404),
    ],
)
@pytest.mark.hostile("H48")
async def test_bad_handshake(victim: Victim, old: str, new: str, expected: int) -> None:
    answer = await victim.say(UPGRADE.replace(old, new).replace("Connection: Upgrade", "Connection: Upgrade, close").encode("latin-1"))

    assert status(answer) == expected
    assert (expected == 426) == (b"Sec-WebSocket-Version: 13\r\n" in answer)


@pytest.mark.hostile("H49")
@native_only
async def test_frames_behind_the_handshake(victim: Victim) -> None:
    stream = await victim.connect()
    frames = b"".join(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode() for text in ("3", "6", "40"))

    await stream.send_all(UPGRADE.encode() + frames)

    answer = b""
    with trio.fail_after(BOUND):
        while b"40{" not in answer:
            answer += await stream.receive_some(4_096)
    assert answer.startswith(b"HTTP/1.1 101 ")
    assert answer.index(b'0{"sid"') < answer.index(b'40{"sid"')


@pytest.mark.hostile("H50")
@native_only
async def test_stray_bytes_behind_the_handshake(victim: Victim, journal: Journal) -> None:
    answer = await victim.say(UPGRADE.encode() + b"\r\n")

    assert answer.endswith(b"\x03\xea", answer.index(b"\x88"), answer.index(b"\x88") + 4)
    journal.expect("INFO .* ended: transport error")


@pytest.mark.hostile("H52")
@native_only
@pytest.mark.parametrize("offer", ["permessage-deflate; client_max_window_bits=99", ";;;", "x" * 1_000, "permessage-deflate"])
async def test_extensions_are_declined(victim: Victim, offer: str) -> None:
    http = RawHttp(await victim.connect())
    fields = dict(line.split(": ") for line in UPGRADE.split("\r\n")[2:-2])
    with trio.fail_after(BOUND):
        await http.send("GET", f"/socket.io/?{WEBSOCKET}", headers=fields | {"Sec-WebSocket-Extensions": offer})
        response = await http.receive()

    assert response.status == 101
    assert "sec-websocket-extensions" not in response.headers


@pytest.mark.hostile("H53")
@pytest.mark.parametrize("settings", [{"limits": Limits(handshakes_per_address=4)}], ids=["four"])
async def test_more_handshakes_than_an_address_may_have(victim: Victim, journal: Journal) -> None:
    # The bystander's was the first.
    polling, websocket = await victim.polling(), await victim.websocket()
    await victim.open_websocket()

    for number in range(3):
        made_up = {"X-Forwarded-For": f"192.0.2.{number}"}
        response = await victim.request(POLLING, headers=made_up)
        refused = await victim.refusal(WEBSOCKET, made_up)

        assert (response.status, refused.status) == (429, 429)
        assert 1 <= int(response.headers["retry-after"]) <= 60
        assert 1 <= int(refused.headers["retry-after"]) <= 60
    journal.expect("INFO Refused GET '/socket.io/' from 127.0.0.1: Too many handshakes from this address", times=6)
    assert victim.server.engine.clients_count == 4
    await polling.assert_lives()
    await websocket.assert_lives()


@pytest.mark.hostile("H53")
@pytest.mark.parametrize("settings", [{"limits": Limits(connections_per_address=3)}], ids=["three"])
async def test_more_connections_than_an_address_may_have(victim: Victim, journal: Journal) -> None:
    # The bystander's is the first.
    polling, websocket = await victim.polling(), await victim.websocket()

    response = await victim.request(POLLING, headers={"X-Forwarded-For": "192.0.2.1"})
    refused = await victim.refusal(WEBSOCKET, {"X-Forwarded-For": "192.0.2.1"})

    assert (response.status, refused.status) == (429, 429)
    assert "retry-after" in response.headers
    assert "retry-after" in refused.headers
    journal.expect("INFO Refused GET '/socket.io/' from 127.0.0.1: Too many connections from this address", times=2)
    await polling.assert_lives()
    await trio.aclose_forcefully(websocket.websocket.stream)
    with trio.fail_after(BOUND):
        while len(victim.server.engine._running) == 3:  # noqa: ASYNC110  # nothing tells, and asking would be a handshake
            await trio.sleep(0.005)
    await (await victim.websocket()).assert_lives()


@pytest.mark.hostile("H53")
@pytest.mark.parametrize(
    "settings", [{"limits": Limits(handshakes_per_address=1, connections_per_address=1), "trusted_proxies": 1}], ids=["proxy"]
)
async def test_more_than_one_client_of_a_proxy_may_have(victim: Victim, journal: Journal) -> None:
    for address in ("192.0.2.1", "2001:db8::1"):
        websocket = await victim.open_websocket(headers={"X-Forwarded-For": f"192.0.2.77, {address}"})
        assert str(await websocket.receive()).startswith("0")
        for number in range(2):
            assert (await victim.refusal(WEBSOCKET, {"X-Forwarded-For": f"192.0.2.{number}, {address}"})).status == 429
        journal.expect(f"INFO Refused GET '/socket.io/' from {address}: Too many handshakes", times=2)
    # What no proxy has vouched for counts as the proxy's own, as the bystander does.
    for nonsense in ("", "unknown", "192.0.2.3,", "192.0.2.3 192.0.2.4"):
        assert (await victim.request(POLLING, headers={"X-Forwarded-For": nonsense})).status == 429
    journal.expect("INFO Refused GET '/socket.io/' from 127.0.0.1: Too many handshakes", times=4)


@pytest.mark.hostile("H53")
@pytest.mark.parametrize("settings", [{"limits": Limits(unconnected_sessions=3)}], ids=["three"])
async def test_more_sessions_than_join(victim: Victim) -> None:
    sids = [json.loads((await victim.request(POLLING)).body[1:])["sid"] for _ in range(3)]

    response = await victim.request(POLLING)
    refused = await victim.refusal(WEBSOCKET)

    assert (response.status, refused.status) == (503, 503)
    assert "retry-after" in response.headers
    assert "retry-after" in refused.headers
    for sid in sids:
        await victim.request(f"{POLLING}&sid={sid}", method="POST", body="1")
    await (await victim.websocket()).assert_lives()


@pytest.mark.hostile("H54")
@pytest.mark.parametrize(
    "settings", [{"connect_timeout": 0.2}, {"ping_interval": 0.1, "ping_timeout": 0.4, "connect_timeout": 0.6}], ids=["connect", "ping"]
)
async def test_handshake_and_silence(victim: Victim, journal: Journal) -> None:
    response = await victim.request(POLLING)
    sid = json.loads(response.body[1:])["sid"]
    websocket: RawWebSocket = await victim.open_websocket()

    with pytest.raises(WebSocketClosed), trio.fail_after(BOUND):
        while True:
            assert str(await websocket.receive())[:1] in ("0", "2")
    with trio.fail_after(BOUND):
        while sid in victim.server.engine._sessions:  # noqa: ASYNC110  # nothing tells: a poll would change what is tested
            await trio.sleep(0.01)

    assert_refused(await victim.request(f"{POLLING}&sid={sid}"), 1)
    journal.expect("INFO Refused GET .*session id")
    await trio.aclose_forcefully(websocket.stream)


@pytest.mark.hostile("H55")
async def test_session_ids(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", session.sid)
    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", session.socket_id)
    assert session.sid != session.socket_id
    await session.assert_lives()  # each request on a connection of its own
    await session.send("1")
    assert_refused(await session.get(), 1)
    journal.expect(f"INFO Refused GET .*: session id '{session.sid[:6]}'…$")

"""Hostile HTTP, section H of the catalogue: the bodies of POSTs."""

from __future__ import annotations

import json
from collections.abc import Mapping

import pytest
import trio

from tests.hostile.http import NOTE, hang_up, post, status
from tests.hostile.journal import Journal
from tests.hostile.victim import BOUND, Victim, assert_refused, native_only

pytestmark = pytest.mark.http


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


@pytest.mark.hostile("H32")
@pytest.mark.parametrize(
    "body",
    [
        b"zz\r\nabc",
        b"-1\r\nabc",
        b"3\nabc\r\n0\r\n\r\n",
        b"3\r\nabcd\r\n0\r\n\r\n",
        b"1;" + b"x" * 300_000,
    ],
    ids=["hex", "negative", "newline", "size", "endless-extension"],
)
async def test_bad_chunks(victim: Victim, body: bytes) -> None:
    session = await victim.polling()

    answer = await victim.say(post(session, "Transfer-Encoding: chunked\r\n", body))

    assert status(answer) in (400, 431)
    await session.assert_over("transport error")


@pytest.mark.hostile("R28")
@native_only
@pytest.mark.parametrize("framing", [b"3;a\rb", b"3\r", b"3;\r"], ids=["inside", "alone", "at the end"])
async def test_carriage_return_in_a_chunk_extension(victim: Victim, framing: bytes) -> None:
    session = await victim.polling()

    answer = await victim.say(post(session, "Transfer-Encoding: chunked\r\n", framing + b"\r\nabc\r\n0\r\n\r\n"))

    assert status(answer) == 400
    victim.no_note()
    await session.assert_over("transport error")


@pytest.mark.hostile("H32")
@native_only
async def test_flood_of_chunk_extensions(victim: Victim) -> None:
    session = await victim.polling()

    answer = await victim.say(post(session, "Transfer-Encoding: chunked\r\n", (b"1;" + b"x" * 1_000 + b"\r\n6\r\n") * 300))

    assert status(answer) in (400, 431)
    await session.assert_over("transport error")


@pytest.mark.hostile("H33")
@native_only
async def test_permission_to_go_on(victim: Victim, journal: Journal) -> None:
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
    await session.assert_lives()
    journal.expect("INFO Refused a POST .*limit")


@pytest.mark.hostile("H33")
async def test_unknown_expectation(victim: Victim) -> None:
    session = await victim.polling()

    answer = await victim.say(post(session, "Content-Length: 12\r\nConnection: close\r\nExpect: more\r\n", (NOTE % 1).encode()))

    assert status(answer) == 417
    victim.no_note()
    await session.assert_lives()


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

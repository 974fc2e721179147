"""Hostile HTTP, section H of the catalogue: polls and POSTs that meet."""

from __future__ import annotations

import re

import pytest
import trio

from tests.hostile.http import HEAD, NOTE, get, hang_up, post
from tests.hostile.victim import BOUND, POLLING, Victim, assert_refused

pytestmark = pytest.mark.http


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


@pytest.mark.hostile("H41")
async def test_pipelined_handshakes(victim: Victim) -> None:
    request = HEAD.encode() % (b"GET", b"/socket.io/?" + POLLING.encode())

    answer = await victim.say((request + b"\r\n") * 2 + get())

    sids = re.findall(rb'\{"sid":"([A-Za-z0-9_-]{20})"', answer)
    assert answer.count(b"HTTP/1.1 200") == len(set(sids)) == 3
    for sid in sids:
        assert (await victim.request(f"{POLLING}&sid={sid.decode()}", method="POST", body="1")).status == 200


@pytest.mark.hostile("H41")
async def test_poll_before_a_post_on_one_connection(victim: Victim) -> None:
    session = await victim.polling()
    http = await victim.http()
    target = f"/socket.io/?{session.query}"

    poll = (HEAD % ("GET", target)).encode() + b"\r\n"
    await http.stream.send_all(poll + post(session, "Content-Length: 12\r\nConnection: close\r\n", (NOTE % 1).encode()))
    await victim.settle()

    # The poll comes first, so the POST waits behind it until there is something to say.
    victim.no_note()
    await victim.server.to(session.socket_id).emit("x")
    assert await victim.note() == 1


@pytest.mark.hostile("H42")
async def test_post_behind_a_close_packet(victim: Victim) -> None:
    session = await victim.polling()

    await session.send("1")

    assert_refused(await session.post(NOTE % 1), 1)
    victim.no_note()
    victim.journal.expect("INFO Refused POST .*session id")
    await session.assert_over("transport close")

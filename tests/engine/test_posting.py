"""Packets that are posted: in which order they are taken, and what a post waits for."""

from __future__ import annotations

import base64
import itertools
from itertools import pairwise

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from tests.engine.polling import GET, open_polling
from trio_sio import Config, Limits
from trio_sio.engine.connection import Connection
from trio_sio.errors import ForcedClose


async def test_the_packets_of_a_post_are_taken_in_order(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling() as polling:
        post = await polling.start("POST", b"4a\x1eb" + base64.b64encode(b"\x00") + b"\x1e4b")

        assert (post.status, post.body) == (200, b"ok")
        assert polling.messages == ["a", b"\x00", "b"]


async def test_a_post_of_very_many_packets_lets_others_have_a_turn(autojump_clock: trio.testing.MockClock) -> None:
    seen = [0]
    config = Config(path="/socket.io", limits=Limits(inbox_events=10_000))
    async with open_polling(config, reading=False) as polling, trio.open_nursery() as nursery:

        async def watch() -> None:
            while True:
                seen.append(len(polling.session._messages))
                await trio.lowlevel.checkpoint()

        exchange = FakeExchange(f"{GET}&sid={polling.sid}", "POST", b"\x1e".join([b"4x"] * 2_000))
        nursery.start_soon(watch)
        await polling.server.engine.handle_http(exchange)
        seen.append(len(polling.session._messages))
        nursery.cancel_scope.cancel()

    assert (exchange.body, seen[-1]) == (b"ok", 2_000)
    # Between two turns of the one who watches the POST may have two, of 256 packets each.
    assert max(after - before for before, after in pairwise(seen)) <= 512


async def test_good_packets_before_a_bad_one_count() -> None:
    async with open_polling() as polling:
        post = await polling.start("POST", b"4a\x1e9\x1e4b")

        assert post.status == 400
        assert polling.messages == ["a"]
        assert polling.session.reason == "parse error"


@pytest.mark.parametrize(
    ("body", "content_type", "status", "reason"),
    [
        (b"", "text/plain", 400, "parse error"),
        (b"\xff", "text/plain", 400, "parse error"),
        (b"4a", "application/octet-stream", 400, "transport error"),
        (b"4a", "Application/Octet-Stream; charset=x", 400, "transport error"),
        (b"1", "text/plain", 200, "transport close"),
        (b"2", "text/plain", 400, "transport error"),
    ],
    ids=["empty", "not UTF-8", "binary", "binary in other letters", "close", "ping"],
)
async def test_posts_that_end_the_session(body: bytes, content_type: str, status: int, reason: str) -> None:
    async with open_polling() as polling:
        post = await polling.start("POST", body, content_type)

        assert (post.status, polling.session.reason) == (status, reason)
        assert polling.messages == []


@pytest.mark.parametrize(("size", "status"), [(10, 200), (11, 413)])
async def test_a_body_at_the_limit_is_taken_and_a_larger_one_is_not(size: int, status: int, autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling(Config(path="/socket.io", max_http_buffer_size=10)) as polling:
        post = await polling.start("POST", b"4" + b"x" * (size - 1))

        assert post.status == status
        assert polling.session.reason is None


async def test_a_post_of_somebody_who_went_ends_the_session() -> None:
    async with open_polling() as polling:
        exchange = FakeExchange(f"{GET}&sid={polling.sid}", "POST", b"4a")
        exchange.gone.set()
        await polling.server.engine.handle_http(exchange)

        assert polling.session.reason == "transport error"


async def test_a_post_is_answered_once_the_application_has_room(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", limits=Limits(inbox_events=2))
    async with open_polling(config, reading=False) as polling:
        post = await polling.start("POST", b"4a\x1e4b\x1e4c")
        assert post.response is None
        polling.reading.set()
        await trio.testing.wait_all_tasks_blocked()

        assert post.body == b"ok"
        assert polling.messages == ["a", "b", "c"]


async def test_a_post_is_answered_when_its_last_packet_found_room(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", limits=Limits(inbox_events=2))
    async with open_polling(config, reading=False) as polling:
        assert (await polling.start("POST", b"4a\x1e4b")).body == b"ok"
        assert not polling.connection.accepting
        waiting = await polling.start("POST", b"4c")
        assert waiting.response is None
        polling.reading.set()
        await trio.testing.wait_all_tasks_blocked()

        assert waiting.body == b"ok"
        assert polling.messages == ["a", "b", "c"]


async def test_a_post_is_answered_after_inbox_stall_timeout_and_its_rest_still_waits_for_room(
    autojump_clock: trio.testing.MockClock,
) -> None:
    config = Config(path="/socket.io", inbox_stall_timeout=7, ping_interval=1_000, limits=Limits(inbox_events=2))
    async with open_polling(config, reading=False) as polling:
        post, start = FakeExchange(f"{GET}&sid={polling.sid}", "POST", b"4a\x1e4b\x1e4c\x1e4d"), trio.current_time()
        await polling.server.engine.handle_http(post)
        assert (post.body, trio.current_time()) == (b"ok", start + 7)
        assert len(polling.session._messages) == 2

        # The next one is not even read before that, however long it takes.
        next_post = await polling.start("POST", b"4e")
        await trio.sleep(100)
        assert (next_post.response, next_post.read) == (None, False)
        assert len(polling.session._messages) == 2
        polling.reading.set()
        await trio.testing.wait_all_tasks_blocked()

        assert next_post.body == b"ok"
        assert polling.messages == ["a", "b", "c", "d", "e"]
        assert not polling.transport.posting


async def test_the_whole_of_a_post_has_inbox_stall_timeout(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", inbox_stall_timeout=7, limits=Limits(inbox_events=2))
    async with open_polling(config, reading=False) as polling:
        post, start = FakeExchange(f"{GET}&sid={polling.sid}", "POST", b"\x1e".join([b"4x"] * 20)), trio.current_time()

        async def read_slowly() -> None:
            while True:
                await trio.sleep(5)
                await anext(polling.session)

        polling.nursery.start_soon(read_slowly)
        await polling.server.engine.handle_http(post)
        assert (post.body, trio.current_time()) == (b"ok", start + 7)


async def test_the_rest_of_a_post_ends_with_the_session(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", inbox_stall_timeout=7, limits=Limits(inbox_events=2))
    async with open_polling(config, reading=False) as polling:
        assert (await polling.start("POST", b"4a\x1e4b\x1e4c\x1e4d")).response is None
        await trio.sleep(8)
        waiting = await polling.start("POST", b"4e")
        polling.connection.end(ForcedClose("the test ends it"))
        await trio.testing.wait_all_tasks_blocked()

        assert (waiting.status, waiting.read) == (400, False)
        assert len(polling.session._messages) == 2
        assert not polling.transport.posting


async def test_a_bad_packet_in_the_rest_of_a_post_ends_the_session(autojump_clock: trio.testing.MockClock) -> None:
    config = Config(path="/socket.io", inbox_stall_timeout=7, limits=Limits(inbox_events=2))
    async with open_polling(config, reading=False) as polling:
        assert (await polling.start("POST", b"4a\x1e4b\x1e4c\x1ebad")).response is None
        await trio.sleep(8)
        assert polling.session.reason is None
        polling.reading.set()
        await trio.testing.wait_all_tasks_blocked()

        assert polling.messages == ["a", "b", "c"]
        assert polling.session.reason == "parse error"


async def test_packets_that_take_their_time_leave_turns_to_others(
    autojump_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, turns = list[bytes](), list[int]()

    def take(_: Connection, payload: bytes) -> None:
        taken.append(payload)
        autojump_clock.jump(0.002)

    async def watch() -> None:
        while True:
            turns.append(len(taken))
            await trio.lowlevel.checkpoint()

    async with open_polling() as polling:
        monkeypatch.setattr(Connection, "text", take)
        exchange = FakeExchange(f"{GET}&sid={polling.sid}", "POST", b"\x1e".join([b"4" + bytes(511)] * 30))
        polling.nursery.start_soon(watch)
        await polling.server.engine.handle_http(exchange)

    assert exchange.body == b"ok"
    # Three at a time; and who comes first in a turn of the scheduler may come last in the one before.
    assert max(after - before for before, after in itertools.pairwise(turns)) <= 6


async def test_two_posts_at_once_end_the_session_and_the_first_does_not_wait_on() -> None:
    config = Config(path="/socket.io", limits=Limits(inbox_events=1))
    async with open_polling(config, reading=False) as polling:
        first = await polling.start("POST", b"4a\x1e4b")
        second = await polling.start("POST", b"4c")

        assert (first.status, second.status) == (400, 400)
        assert polling.session.reason == "transport error"


async def test_other_verbs_are_refused_and_change_nothing(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling() as polling:
        answer = await polling.start("DELETE")

        assert answer.status == 405
        assert answer.response is not None
        assert (b"Allow", b"GET, POST") in answer.response.headers
        assert polling.session.reason is None


class StuckExchange(FakeExchange):
    """A POST whose body does not come."""

    async def read_body(self, limit: int) -> bytes:
        await trio.sleep_forever()
        raise AssertionError


async def test_a_post_whose_body_does_not_come_is_answered_when_the_session_is_broken() -> None:
    async with open_polling() as polling:
        post = StuckExchange(f"{GET}&sid={polling.sid}", "POST")
        polling.nursery.start_soon(polling.server.engine.handle_http, post)
        await trio.testing.wait_all_tasks_blocked()
        assert polling.transport.posting
        second = await polling.start("POST", b"4a")

        assert (post.status, second.status) == (400, 400)
        assert polling.session.reason == "transport error"
        assert polling.messages == []

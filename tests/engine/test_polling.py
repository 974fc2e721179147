"""HTTP long-polling: who may ask when, what a POST's answer means, and how a session that polls ends."""

from __future__ import annotations

import base64
from types import SimpleNamespace
from typing import TYPE_CHECKING, cast

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from tests.engine.polling import GET, Polling, open_polling
from trio_sio import Config
from trio_sio.engine.polling import OVERLAP
from trio_sio.engine.roles import NO_TRANSPORT
from trio_sio.engine.states import ConnectionState, TransportState
from trio_sio.engine.upgrade import Probe
from trio_sio.errors import ForcedClose
from trio_sio.protocol.engineio import NOOP_PACKET
from trio_sio.protocol.http import Response

if TYPE_CHECKING:
    from trio_sio.engine.door import WebSocketPipe


# Asking.


async def test_a_poll_waits_for_packets_and_gets_all_there_are(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling() as polling:
        poll = await polling.start()
        assert poll.response is None
        await polling.session.send("a")
        await polling.session.send(b"\x00\xff")
        await trio.testing.wait_all_tasks_blocked()
        assert poll.body == b"4a\x1eb" + base64.b64encode(b"\x00\xff")

        await polling.session.send("b")
        assert (await polling.start()).body == b"4b"


async def test_what_a_poll_gets_is_bounded(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling(Config(path="/socket.io", max_http_buffer_size=len(b"40123\x1e41123"))) as polling:
        for number in range(4):
            await polling.session.send(f"{number}123")

        assert [(await polling.start()).body for _ in range(2)] == [b"40123\x1e41123", b"42123\x1e43123"]


class SlowExchange(FakeExchange):
    """One whose body, or whose response, needs so many seconds."""

    seconds = 1.0

    async def read_body(self, limit: int) -> bytes:
        await trio.sleep(self.seconds)
        return await super().read_body(limit)

    async def respond(self, response: Response) -> None:
        await trio.sleep(self.seconds)
        await super().respond(response)


@pytest.mark.parametrize(("method", "body"), [("GET", b""), ("POST", b"3")])
async def test_a_request_that_begins_just_before_the_ping_time_out_does_not_postpone_it(
    method: str, body: bytes, autojump_clock: trio.testing.MockClock
) -> None:
    async with open_polling() as polling:
        await trio.sleep(44.5)
        exchange = SlowExchange(f"{GET}&sid={polling.sid}", method, body, length=len(body))
        polling.nursery.start_soon(polling.server.engine.handle_http, exchange)
        await trio.sleep(0.4)
        assert polling.session.reason is None
        await trio.sleep(0.2)
        assert polling.session.reason == "ping timeout"


@pytest.mark.parametrize("length", [1_024, None])
async def test_a_post_that_is_still_coming_postpones_it(length: int | None, autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling() as polling:
        await trio.sleep(44.5)
        body = b"4" + b"x" * 1_022
        exchange = SlowExchange(f"{GET}&sid={polling.sid}", "POST", body, length=length)
        polling.nursery.start_soon(polling.server.engine.handle_http, exchange)
        await trio.sleep(2.5)
        assert (polling.session.reason, exchange.status) == (None, 200)
        await trio.sleep(18.4)  # it ended with a message, which postpones it once
        assert polling.session.reason is None
        await trio.sleep(0.2)
        assert polling.session.reason == "ping timeout"


async def test_a_response_that_is_still_leaving_postpones_it(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling() as polling:
        await trio.sleep(26)
        await polling.session.send("x" * 1_021)
        await trio.sleep(18.5)
        exchange = SlowExchange(f"{GET}&sid={polling.sid}")
        polling.nursery.start_soon(polling.server.engine.handle_http, exchange)
        await trio.sleep(20)
        assert polling.session.reason is None
        await trio.sleep(1)
        assert polling.session.reason == "ping timeout"


async def test_two_polls_at_once_end_the_session() -> None:
    async with open_polling() as polling:
        first, second = await polling.start(), await polling.start()

        assert (first.body, second.status) == (b"1", 400)
        assert polling.session.reason == "transport error"
        assert (await polling.start()).status == 400


async def test_a_dropped_poll_ends_the_session() -> None:
    async with open_polling() as polling:
        poll = await polling.start()
        poll.gone.set()
        await trio.testing.wait_all_tasks_blocked()

        assert polling.session.reason == "transport error"
        assert polling.state() is ConnectionState.CLOSED


async def test_a_poll_whose_client_only_stopped_sending_is_dropped_too() -> None:
    class HalfClosed(FakeExchange):
        async def wait_woken(self) -> bool:
            await trio.lowlevel.checkpoint()
            return False

    async with open_polling() as polling:
        await polling.server.engine.handle_http(HalfClosed(f"{GET}&sid={polling.sid}"))

        assert polling.session.reason == "transport error"


async def test_packets_that_a_poll_could_not_deliver_end_the_session() -> None:
    async with open_polling() as polling:
        poll = await polling.start()
        await polling.session.send("lost")
        poll.gone.set()
        await trio.testing.wait_all_tasks_blocked()

        assert polling.session.reason == "transport error"


class HeldExchange(FakeExchange):
    """A response that is on its way until the test says so."""

    def __init__(self, query: str) -> None:
        super().__init__(query)
        self.arrived = trio.Event()

    async def respond(self, response: Response) -> None:
        await self.arrived.wait()
        await super().respond(response)


async def start_slow(polling: Polling, packets: list[str], scope: trio.CancelScope | None = None) -> HeldExchange:
    """Begin a poll whose answer, with ``packets``, stays on its way."""
    for packet in packets:
        await polling.session.send(packet)
    exchange = HeldExchange(f"{GET}&sid={polling.sid}" if polling.sid else GET)

    async def poll() -> None:
        with scope or trio.CancelScope():
            await polling.server.engine.handle_http(exchange)

    polling.nursery.start_soon(poll)
    await trio.testing.wait_all_tasks_blocked()
    return exchange


@pytest.mark.hostile("R41")
async def test_a_poll_while_another_is_being_answered_ends_the_session(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling() as polling:
        await start_slow(polling, ["a"])
        await polling.session.send("b")
        start = trio.current_time()
        second = FakeExchange(f"{GET}&sid={polling.sid}")
        await polling.server.engine.handle_http(second)

        assert second.status == 400
        assert trio.current_time() == start + OVERLAP
        assert polling.session.reason == "transport error"


@pytest.mark.hostile("R41")
async def test_a_third_one_does_so_at_once() -> None:
    async with open_polling() as polling:
        await start_slow(polling, ["a"])
        second, third = await polling.start(), await polling.start()

        assert (second.status, third.status) == (None, 400)
        assert polling.session.reason == "transport error"


async def test_a_poll_that_comes_before_the_answer_to_the_last_is_over_for_us_too_is_answered_after_it(
    autojump_clock: trio.testing.MockClock,
) -> None:
    async with open_polling() as polling:
        first = await start_slow(polling, ["a"])
        await polling.session.send("b")
        second = await polling.start()
        assert second.status is None
        first.arrived.set()
        await trio.testing.wait_all_tasks_blocked()

        assert (first.body, second.body) == (b"4a", b"4b")
        await polling.session.send("c")
        assert (await polling.start()).body == b"4c"
        assert polling.state() is ConnectionState.OPEN


@pytest.mark.hostile("R42")
async def test_a_poll_that_is_cancelled_while_it_is_answered_ends_the_session() -> None:
    async with open_polling() as polling:
        scope = trio.CancelScope()
        await start_slow(polling, ["lost"], scope)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

        assert polling.session.reason == "transport error"
        assert polling.state() is ConnectionState.CLOSED


async def test_a_handshake_that_is_cancelled_leaves_no_session(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling() as polling:
        before = polling.server.engine.clients_count
        scope = trio.CancelScope()
        polling.sid = ""
        await start_slow(polling, [], scope)
        assert polling.server.engine.clients_count == before + 1
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

        assert polling.server.engine.clients_count == before


@pytest.mark.parametrize(("packets", "state"), [([], ConnectionState.OPEN), (["lost"], ConnectionState.CLOSED)], ids=["a noop", "packets"])
async def test_packets_that_are_lost_behind_an_upgrade_end_the_session_and_a_noop_does_not(
    packets: list[str], state: ConnectionState
) -> None:
    async with open_polling() as polling:
        connection, scope = polling.connection, trio.CancelScope()
        transport = polling.transport
        pipe = cast("WebSocketPipe", SimpleNamespace(nonblocking=False))
        connection.change_transport("probe opened", Probe(connection, transport, pipe, base64=False))
        if not packets:
            connection.outbox.put(NOOP_PACKET)
        await start_slow(polling, packets, scope)
        transport.retire()
        connection.change_transport("probe succeeded", NO_TRANSPORT[TransportState.WEBSOCKET])
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

        assert polling.state() is state


# The end.


async def test_last_packets_wait_for_the_next_poll_and_the_goodbye_for_the_one_after() -> None:
    async with open_polling() as polling:
        await polling.session.send("last words")
        polling.session.close()
        assert polling.state() is ConnectionState.CLOSING
        assert polling.server.engine.clients_count == 1

        # The official client drops what comes in one response with the goodbye.
        assert [(await polling.start()).body for _ in range(2)] == [b"4last words", b"1"]
        assert polling.state() is ConnectionState.CLOSED
        assert polling.server.engine.clients_count == 0
        assert (await polling.start()).status == 400


async def test_a_poll_that_waits_gets_the_goodbye() -> None:
    async with open_polling() as polling:
        poll = await polling.start()
        polling.session.close()
        await trio.testing.wait_all_tasks_blocked()

        assert poll.body == b"1"
        assert polling.state() is ConnectionState.CLOSED


async def test_a_server_that_stops_does_not_wait_for_polls_that_may_never_come(autojump_clock: trio.testing.MockClock) -> None:
    start = trio.current_time()
    async with open_polling() as polling:
        await polling.session.send("last words")
        polling.session.close()

    assert trio.current_time() == start + 5  # a quarter of drain_timeout


async def test_last_packets_do_not_wait_for_ever(autojump_clock: trio.testing.MockClock) -> None:
    async with open_polling() as polling:
        polling.session.close()
        await trio.sleep(29)
        assert polling.server.engine.clients_count == 1
        await trio.sleep(2)

        assert polling.server.engine.clients_count == 0
        assert polling.state() is ConnectionState.CLOSED


async def test_a_client_that_closes_is_let_go_with_a_noop() -> None:
    async with open_polling() as polling:
        poll = await polling.start()
        post = await polling.start("POST", b"1")

        assert (poll.body, post.body) == (b"6", b"ok")
        assert polling.session.reason == "transport close"


async def test_a_poll_that_is_cancelled_while_it_says_goodbye_does_not_keep_the_session() -> None:
    async with open_polling() as polling:
        scope = trio.CancelScope()

        async def poll() -> None:
            with scope:
                await polling.server.engine.handle_http(FakeExchange(f"{GET}&sid={polling.sid}"))

        polling.nursery.start_soon(poll)
        await trio.testing.wait_all_tasks_blocked()
        polling.connection.end(ForcedClose("without lingering"))
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked()

        assert polling.state() is ConnectionState.CLOSED

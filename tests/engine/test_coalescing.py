"""What events bring that came together leaves together, and nothing waits for long."""

from __future__ import annotations

import math
from itertools import chain
from typing import Final

import pytest
import trio
import trio.testing

from tests.engine.walking import open_walkers
from trio_sio import Config, Limits, Server, Socket
from trio_sio.engine import flusher as flusher_module
from trio_sio.engine.flusher import TURNS_POSTPONED
from trio_sio.namespaces.dispatcher import EVENTS_PER_TURN

AT_ONCE: Final = 4
"""Turns until a broadcast has left: the dispatcher takes one, `emit` is a checkpoint, then the flusher; and this one comes to its end."""


@pytest.fixture(autouse=True)
def no_hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Count turns alone, so that a busy machine changes nothing."""
    monkeypatch.setattr(flusher_module, "SECONDS_POSTPONED", math.inf)


def make_server(config: Config | None = None) -> Server:
    """A server that broadcasts, echoes, and waits for ever."""
    server = Server(config=config or Config())

    @server.on("tell")
    async def tell(socket: Socket, number: int) -> int:
        await socket.namespace.emit("told", number)
        return number

    @server.on("tell at once")
    def tell_at_once(socket: Socket, number: int) -> None:
        socket.namespace.emit_nowait("told", number)

    @server.on("stall")
    async def stall(socket: Socket) -> None:
        await trio.sleep_forever()

    @server.on("leave")
    async def leave(socket: Socket) -> None:
        await socket.namespace.emit("told", "left")
        await socket.disconnect(close=True)

    return server


def tell(*numbers: int) -> list[str]:
    return [f'42{number}["tell",{number}]' for number in numbers]


def told(*numbers: int) -> list[str]:
    return [f'42["told",{number}]' for number in numbers]


async def test_what_came_together_leaves_in_one_call_for_each_member_and_in_order() -> None:
    async with open_walkers(make_server(), 3) as (first, second, third):
        first.emit(*tell(1, 2, 3, 4))
        await trio.testing.wait_all_tasks_blocked()

        assert second.take() == third.take() == [told(1, 2, 3, 4)]
        assert first.take() == [[text for number in (1, 2, 3, 4) for text in (*told(number), f"43{number}[{number}]")]]


async def test_many_leave_in_few_calls() -> None:
    async with open_walkers(make_server(), 2) as (first, second):
        first.emit(*tell(*range(64)))
        await trio.testing.wait_all_tasks_blocked()

        sends = second.take()
        assert list(chain.from_iterable(sends)) == told(*range(64))
        assert len(sends) <= 64 / (TURNS_POSTPONED - 1) + 1


async def turns_until_sent(*emitted: str) -> list[int]:
    """Return after how many turns something left for the second client, for each time that the first one sends ``emitted``."""
    counts = []
    async with open_walkers(make_server(), 2) as (first, second):
        for _ in range(20):
            first.emit(*emitted)
            counts.append(await second.wait_sent())
            await trio.testing.wait_all_tasks_blocked()
            second.take()
    return counts


async def test_one_event_waits_for_nothing() -> None:
    assert max(await turns_until_sent(*tell(1))) <= AT_ONCE


async def test_a_handler_that_always_has_more_to_do_delays_nothing_for_long() -> None:
    assert max(await turns_until_sent(*tell(*range(60)))) <= AT_ONCE + TURNS_POSTPONED


async def test_nothing_waits_longer_than_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher_module, "SECONDS_POSTPONED", 0)
    assert max(await turns_until_sent(*tell(*range(60)))) <= AT_ONCE + 1


async def test_a_handler_that_waits_delays_others_once() -> None:
    async with open_walkers(make_server(), 3) as (stalled, second, third):
        stalled.emit('42["stall"]', *tell(1))
        await trio.lowlevel.checkpoint()
        await trio.lowlevel.checkpoint()
        for bound in (AT_ONCE + TURNS_POSTPONED, AT_ONCE, AT_ONCE, AT_ONCE):
            second.emit(*tell(2))
            assert await third.wait_sent() <= bound
            assert third.take() == [told(2)]
            await trio.testing.wait_all_tasks_blocked()


async def test_who_closes_does_not_wait() -> None:
    async with open_walkers(make_server(), 2) as (first, second):
        first.emit('42["leave"]', *tell(1, 2, 3))
        await first.wait_sent()

        assert list(chain.from_iterable(first.take())) == ['42["told","left"]', "41", "close"]
        await trio.testing.wait_all_tasks_blocked()
        assert second.take() == [['42["told","left"]']]


async def test_a_drain_lets_everything_out(autojump_clock: trio.testing.MockClock) -> None:
    server = make_server()
    async with open_walkers(server, 2) as (first, second):
        first.emit(*tell(1, 2), '42["stall"]', *tell(3))
        await second.wait_sent()
        server.of("/").emit_nowait("told", 9)
        await server.drain()

        assert list(chain.from_iterable(second.take())) == [*told(1, 2, 9), "close"]


@pytest.mark.parametrize(("event", "most"), [("tell", TURNS_POSTPONED + 2), ("tell at once", 2 * EVENTS_PER_TURN)])
async def test_outboxes_are_no_fuller_than_for_a_handler_that_never_waits(event: str, most: int) -> None:
    # Its dispatcher may have two turns in a row before the flusher has one.
    limits = Limits(outbox_packets=2 * EVENTS_PER_TURN)
    assert most <= limits.outbox_packets
    server = make_server(Config(limits=limits))
    async with open_walkers(server, 2) as (first, second):
        first.emit(*(f'42["{event}",{number}]' for number in range(64)))
        await trio.testing.wait_all_tasks_blocked()

        sends = second.take()
        assert list(chain.from_iterable(sends)) == told(*range(64))
        assert max(map(len, sends)) <= most
        assert len(server.engine.connections) == 2


async def test_who_has_left_is_not_waited_for() -> None:
    server = make_server()
    async with open_walkers(server, 1) as (only,):
        only.emit('42["stall"]', *tell(1))
        await trio.testing.wait_all_tasks_blocked()
        (connection,) = server.engine.connections
        flusher = connection.services.flusher
        assert flusher.busy is not None
        (socket,) = server.of("/").sockets.values()
        await socket.disconnect()
        await trio.testing.wait_all_tasks_blocked()

        assert flusher.busy is None

"""The stream of states of one socket."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_sio.client.states import STATES_KEPT, Connected, Connecting, Ended, Lost, State, States, StateStream, Upgraded, Waiting

CONNECTED = Connected("id", recovered=False, transport="polling")
LOST = Lost("transport close", "the network is gone")


async def take(stream: StateStream, count: int) -> list[State]:
    return [await anext(stream) for _ in range(count)]


async def test_the_current_state_comes_first_then_every_change() -> None:
    states = States()
    states.publish(CONNECTED)
    with states.subscribe() as stream:
        for state in (LOST, Waiting(1, 0.5), Connecting(1)):
            states.publish(state)

        assert await take(stream, 4) == [CONNECTED, LOST, Waiting(1, 0.5), Connecting(1)]


async def test_who_comes_after_an_upgrade_sees_it_in_the_current_state() -> None:
    states = States()
    states.publish(CONNECTED)
    with states.subscribe() as early:
        states.publish(Upgraded("websocket"))
        with states.subscribe() as late:
            assert await anext(late) == Connected("id", recovered=False, transport="websocket")
        assert await take(early, 2) == [CONNECTED, Upgraded("websocket")]


async def test_a_reader_waits_for_the_next_state(autojump_clock: trio.testing.MockClock) -> None:
    states = States()
    states.publish(CONNECTED)
    with states.subscribe() as stream:
        await anext(stream)

        async def later() -> None:
            await trio.sleep(1)
            states.publish(LOST)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(later)
            assert await anext(stream) == LOST
        assert trio.current_time() == 1


async def test_it_ends_with_the_socket() -> None:
    states = States()
    states.publish(CONNECTED)
    with states.subscribe() as stream:
        states.publish(Ended("io server disconnect"))

        assert await take(stream, 2) == [CONNECTED, Ended("io server disconnect")]
        with pytest.raises(StopAsyncIteration):
            await anext(stream)


async def test_it_goes_on_when_its_reader_connects_the_socket_again() -> None:
    states = States()
    states.publish(Ended("io server disconnect"))
    seen: list[State] = []
    with states.subscribe() as stream:
        async for state in stream:
            seen.append(state)
            if len(seen) == 1:
                states.publish(CONNECTED)
                states.publish(Ended("io client disconnect"))

    assert seen == [Ended("io server disconnect"), CONNECTED, Ended("io client disconnect")]


async def test_a_reader_that_lags_loses_the_oldest_and_is_told_how_many() -> None:
    states = States()
    states.publish(CONNECTED)
    with states.subscribe() as lagging, states.subscribe() as quick:
        for attempt in range(STATES_KEPT + 4):
            states.publish(Connecting(attempt))
            await anext(quick)

        assert (lagging.missed, quick.missed) == (5, 0)
        assert await anext(lagging) == Connecting(4)


async def test_a_reader_that_is_gone_is_not_told() -> None:
    states = States()
    states.publish(CONNECTED)
    with states.subscribe() as stream:
        pass
    states.publish(LOST)

    assert await take(stream, 1) == [CONNECTED]
    with trio.move_on_after(0), pytest.raises(trio.Cancelled):
        await anext(stream)

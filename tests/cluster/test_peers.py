"""Who is there, who has fallen silent, and what was lost on the way."""

from __future__ import annotations

import trio
import trio.testing

from trio_sio.cluster.peers import MOST, Peers

Clock = trio.testing.MockClock


async def test_who_is_silent_for_too_long_is_dead(mock_clock: Clock) -> None:
    peers = Peers(10)
    assert (peers.heard("a"), peers.heard("b"), peers.heard("a")) == (True, True, False)
    mock_clock.jump(9)
    assert peers.heard("b") is False
    mock_clock.jump(1.5)
    assert peers.dead() == ["a"]
    assert peers.forget("a", is_dead=True)
    assert not peers.forget("a", is_dead=True)
    assert (list(peers), len(peers), "a" in peers, "b" in peers) == (["b"], 1, False, True)
    assert peers.heard("a")


async def test_numbers_tell_what_is_lost_and_what_comes_twice() -> None:
    peers = Peers(10)
    peers.heard("a")
    assert [peers.numbered("a", number) for number in (7, 8, 8, 7, 12, 11, 13)] == [0, 0, -1, -1, 3, -1, 0]


async def test_who_comes_back_after_silence_is_known_by_its_number() -> None:
    peers = Peers(10)
    peers.heard("a")
    peers.numbered("a", 1)
    peers.forget("a", is_dead=True)
    peers.heard("a")
    assert peers.numbered("a", 5) == 3


async def test_who_has_said_goodbye_is_forgotten_with_its_number() -> None:
    peers = Peers(10)
    peers.heard("a")
    peers.numbered("a", 1)
    peers.forget("a", is_dead=False)
    peers.heard("a")
    assert peers.numbered("a", 5) == 0


async def test_whoever_invents_servers_costs_no_memory(mock_clock: Clock) -> None:
    peers = Peers(10)
    peers.heard("real")
    for number in range(5 * MOST):
        peers.heard(f"invented {number}")
        peers.numbered(f"invented {number}", 2**53)
    assert (len(peers), "real" in peers, peers.heard("one more"), peers.numbered("one more", 1)) == (MOST, True, False, 0)
    for _ in range(5):
        mock_clock.jump(11)
        for uid in peers.dead():
            peers.forget(uid, is_dead=True)
        for number in range(MOST):
            peers.heard(f"invented at {trio.current_time()}, {number}")
            peers.numbered(f"invented at {trio.current_time()}, {number}", 1)
    assert (len(peers), len(peers._numbers)) == (MOST, 2 * MOST)

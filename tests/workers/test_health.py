"""What load balancers are told of all workers."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from trio_sio.health import Ready
from trio_sio.workers import board as boards
from trio_sio.workers.board import Board, State, make_board
from trio_sio.workers.health import WorkersReady

DRAINS = Ready(ready=False, reason="The server drains.")


@pytest.fixture
def board() -> Iterator[Board]:
    """Yield what two workers know of each other: that both serve, with three clients each."""
    board = make_board(2)
    for number in range(2):
        board.enter(number, State.SERVING)
        board.set_connections(number, 3)
        board.set_beat(number, 3, ready=True)
    yield board
    os.close(board.descriptor)
    board.close()


def test_new_clients_may_come_as_long_as_one_takes_any(board: Board) -> None:
    told = WorkersReady.of(board, DRAINS, 0)
    assert (told.ready, told.reason, told.sessions) == (True, "", 6)
    assert [worker.ready for worker in told.workers] == [False, True]


@pytest.mark.parametrize("state", [State.GONE, State.STARTING, State.DRAINING])
def test_one_that_does_not_serve_takes_none(board: Board, state: State) -> None:
    board.enter(1, state)
    told = WorkersReady.of(board, DRAINS, 0)
    assert (told.ready, told.reason) == (False, DRAINS.reason)
    assert told.workers[1].state == state.name.lower()


def test_one_that_hangs_takes_none(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another one is replaced nobody accepts then, although both were ready a moment ago."""
    then = boards.now() + 1_000
    monkeypatch.setattr(boards, "now", lambda: then)
    told = WorkersReady.of(board, DRAINS, 0)
    assert (told.ready, told.reason) == (False, DRAINS.reason)
    assert WorkersReady.of(board, Ready(ready=True), 0).ready, "who answers does not hang"

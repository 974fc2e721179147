"""Ctrl-C as a cancellation."""

from __future__ import annotations

import signal

import pytest
import trio

from trio_sio.cli.interrupts import until_interrupted


async def press() -> str:
    signal.raise_signal(signal.SIGINT)
    for _ in range(10):
        await trio.lowlevel.checkpoint()
    return "done"


@pytest.mark.parametrize(("handler", "value"), [(signal.default_int_handler, "interrupted"), (signal.SIG_IGN, "done")])
def test_what_runs_in_the_background_ignores_it(handler: signal.Handlers, value: str) -> None:
    before = signal.signal(signal.SIGINT, handler)
    try:
        assert trio.run(until_interrupted, press, "interrupted") == value
    finally:
        signal.signal(signal.SIGINT, before)

"""What several tests of the doors ask."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from trio_sio.doors.native.websocket import NativePipe


@pytest.fixture
def natively(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Return how many WebSockets the native door has got in this test."""
    got = 0
    make = NativePipe.__init__

    def count(pipe: NativePipe, *args: Any, **options: Any) -> None:
        nonlocal got
        got += 1
        make(pipe, *args, **options)

    monkeypatch.setattr(NativePipe, "__init__", count)
    return lambda: got

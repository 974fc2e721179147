"""The namespaces of the tests of hostile Socket.IO packets."""

from __future__ import annotations

import re
from collections.abc import Sequence

import pytest

from tests.hostile.socketio.speaking import Application, Gate, Holder, Unreachable
from trio_sio import Route


@pytest.fixture
def holder() -> Holder:
    """The controller of the namespace ``/hold``."""
    return Holder()


@pytest.fixture
def gate() -> Gate:
    """The middleware of the namespace ``/gate``."""
    return Gate()


@pytest.fixture
def routes(gate: Gate, holder: Holder) -> Sequence[Route]:
    """``/gate`` lets nobody in; ``/app`` and ``/app-1``, ``/app-2``, ... do things; ``/hold`` does not finish any."""
    return [
        Route("/hold", holder),
        Route("/gate", Unreachable, connection_middleware=[gate]),
        Route("/app", Application),
        Route(re.compile(r"/app-\d+"), Application),
    ]

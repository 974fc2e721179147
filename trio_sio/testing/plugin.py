"""A pytest plugin with fixtures for tests of Socket.IO applications; pytest loads it wherever trio_sio is installed.

Async tests and fixtures are run by pytest-trio, which comes with ``trio-sio[test]``. ``pytest -p no:trio_sio`` leaves the
plugin out. What a fixture needs is imported when it is used: most tests of the world use none of them.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from typing import TYPE_CHECKING, Protocol

import pytest
import trio

if TYPE_CHECKING:
    from ..config import Config
    from ..engine_server import EngineServer
    from ..routing.table import RoutingTable
    from ..server import Server
    from .server import InMemoryServer

__all__ = ["StartServer", "l0", "socketio_server"]


class StartServer(Protocol):
    """What the fixture `socketio_server` is."""

    async def __call__(self, served: RoutingTable | Server | EngineServer | None = None, config: Config | None = None) -> InMemoryServer:
        """Start a server in memory; arguments and errors as of `open_test_server`."""


@pytest.fixture
async def socketio_server() -> AsyncIterator[StartServer]:
    """A function that starts servers in memory: ``server = await socketio_server(routes)``. They are drained after the test."""
    from .server import open_test_server

    done = trio.Event()

    async def run(
        served: RoutingTable | Server | EngineServer | None, config: Config | None, task_status: trio.TaskStatus[InMemoryServer]
    ) -> None:
        async with open_test_server(served, config) as server:
            task_status.started(server)
            await done.wait()

    async def start(served: RoutingTable | Server | EngineServer | None = None, config: Config | None = None) -> InMemoryServer:
        server: InMemoryServer = await nursery.start(run, served, config)
        return server

    async with trio.open_nursery() as nursery:
        yield start
        done.set()


@pytest.fixture
def l0() -> Callable[..., AbstractAsyncContextManager[None]]:
    """`unchanged`: ``async with l0(server.server):`` requires that nothing is left after the block."""
    from .level import unchanged

    return unchanged

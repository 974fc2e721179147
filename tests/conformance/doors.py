"""Runs a server at one of its doors, on a free loopback port."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final, Literal

import anycorn
import hypercorn.trio
import trio
from hypercorn.config import Config as HypercornConfig

from tests.conformance.official import MODES
from tests.doors.hypercorn_site import behind, below_quart
from trio_sio import Server
from trio_sio.doors.asgi.messages import ASGIFramework
from trio_sio.doors.hypercorn import serve as serve_hypercorn
from trio_sio.doors.trio_websocket import serve as serve_trio_websocket

DoorName = Literal["native", "hypercorn", "asgi", "trio-websocket", "bare hypercorn", "anycorn"]

# "asgi" is hypercorn, too, where something stands before the server in the application, so that it gets all requests.
DOORS: Final[tuple[DoorName, ...]] = ("native", "hypercorn", "asgi", "trio-websocket")
HTTP_DOORS: Final[tuple[DoorName, ...]] = ("native", "hypercorn", "asgi")
# Hosts that get nothing of ours but the application; where it matters who the host is.
OTHER_HOSTS: Final[tuple[DoorName, ...]] = ("bare hypercorn", "anycorn")

# What the official client can do where: each mode at each door, but WebSockets only where there is no HTTP.
DOORS_AND_MODES: Final = [(door, mode) for door in DOORS for mode in MODES if door in HTTP_DOORS or mode == "websocket"]


class Door:
    """A server that listens, and can be stopped and started again.

    Attributes:
      server: The server of the present start; each start makes a new one.
      port: Its port, the same for every start.
    """

    server: Server

    def __init__(self, kind: DoorName, make_server: Callable[[], Server], nursery: trio.Nursery) -> None:
        self.kind = kind
        self.port = 0
        self._make_server = make_server
        self._nursery = nursery
        self._stop = trio.Event()
        self._stopped = trio.Event()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        return f"http://127.0.0.1:{self.port}"

    async def start(self) -> None:
        """Listen, with a new server."""
        self.server, self._stop, self._stopped = self._make_server(), trio.Event(), trio.Event()
        run = {"native": self._run_native, "trio-websocket": self._run_trio_websocket}.get(self.kind, self._run_asgi)
        self.port = await self._nursery.start(run, self._stopped)

    async def stop(self) -> None:
        """Let the server say goodbye, and return when it has closed everything."""
        with trio.fail_after(10):
            await self.server.drain()
            self._stop.set()
            await self._stopped.wait()

    async def restart(self) -> None:
        """Stop, and start again on the same port."""
        await self.stop()
        await self.start()

    async def _run_native(self, stopped: trio.Event, *, task_status: trio.TaskStatus[int]) -> None:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(self.server.serve, "127.0.0.1", self.port)
            task_status.started(listeners[0].sockname[1])
            await self._stop.wait()
            nursery.cancel_scope.cancel()
        stopped.set()

    async def _run_asgi(self, stopped: trio.Event, *, task_status: trio.TaskStatus[int]) -> None:
        config = anycorn.Config() if self.kind == "anycorn" else HypercornConfig()
        config.bind = [f"127.0.0.1:{self.port}"]
        config.accesslog = config.errorlog = None
        # Each has annotations of its own for the same thing.
        hosts: dict[str, Any] = {"bare hypercorn": hypercorn.trio.serve, "anycorn": anycorn.serve}
        app = self._application()
        async with trio.open_nursery() as nursery:
            serve = partial(hosts.get(self.kind, serve_hypercorn), app, config, shutdown_trigger=self._stop.wait)
            urls: list[str] = await nursery.start(serve)
            task_status.started(int(urls[0].rpartition(":")[2]))
        stopped.set()

    def _application(self) -> ASGIFramework:
        if self.kind == "asgi":
            return behind(self.server)
        # As most have it, except where there is no room for anything beside.
        return below_quart(self.server) if self.kind == "hypercorn" and not self.server.engine.owns("/") else self.server.asgi()

    async def _run_trio_websocket(self, stopped: trio.Event, *, task_status: trio.TaskStatus[int]) -> None:
        async with trio.open_nursery() as nursery:
            urls: list[str] = await nursery.start(serve_trio_websocket, self.server, "127.0.0.1", self.port)
            task_status.started(int(urls[0].rpartition(":")[2]))
            await self._stop.wait()
            nursery.cancel_scope.cancel()
        stopped.set()


@asynccontextmanager
async def open_door(kind: DoorName, make_server: Callable[[], Server]) -> AsyncIterator[Door]:
    """Run a server at the door ``kind`` while the block runs, then stop it."""
    async with trio.open_nursery() as nursery:
        door = Door(kind, make_server, nursery)
        await door.start()
        yield door
        await door.stop()

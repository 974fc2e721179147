"""What one message costs, counted and not timed: it may become less, and whoever makes it more has to say so here.

Counted are the steps of tasks that Trio runs, and in our own code the calls of functions and the bytecodes, for one message of
a burst; the application's handler and Trio itself are left out. A burst is measured several times, as Trio runs the tasks of
one turn in any order.
"""

from __future__ import annotations

import math
import select
import socket
import sys
from collections.abc import Awaitable, Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Any, Final, NamedTuple

import orjson
import pytest
import trio
import trio.testing

import trio_sio
from tests.engine.walking import Walker, open_walkers
from trio_sio import Route, RoutingTable, Server, Socket, on_message
from trio_sio.doors.native.http import NativeDoor, handle_connection
from trio_sio.doors.native.listener import open_stream
from trio_sio.engine import flusher as flusher_module

PACKAGE: Final = str(Path(trio_sio.__file__).parent)
BURSTS: Final = 8
MEMBERS: Final = 100

# Python 3.12 does without a function of their own for comprehensions.
_INLINED: Final = ("<listcomp>", "<setcomp>", "<dictcomp>")


class Cost(NamedTuple):
    """Of one message, except for the steps, which are those of the whole burst.

    Attributes:
      steps: Steps of tasks.
      calls: Calls of our own functions, coroutines that go on included.
      bytecodes: Of our own functions, by version of Python.
    """

    steps: int
    calls: float
    bytecodes: dict[tuple[int, int], float]


class Burst(NamedTuple):
    """Messages that arrive together.

    Attributes:
      packets: What the first client sends.
      messages: How many messages that makes: answers, or deliveries.
    """

    packets: list[str]
    messages: int


ECHO: Final = Burst(['421["echo","x"]'], 1)
ECHOES: Final = Burst(ECHO.packets * 16, 16)
BROADCAST: Final = Burst(['42["broadcast","x"]'], MEMBERS)
BROADCASTS: Final = Burst(BROADCAST.packets * 4, 4 * MEMBERS)

COSTS: Final = [
    ("an echo", ECHO, Cost(2, 37, {(3, 11): 1075, (3, 12): 985, (3, 13): 1008})),
    ("one of 16 echoes", ECHOES, Cost(2, 21.2, {(3, 11): 786, (3, 12): 729, (3, 13): 737})),
    ("a delivery", BROADCAST, Cost(3, 7.5, {(3, 11): 237, (3, 12): 220, (3, 13): 233})),
    ("a delivery of one of 4 broadcasts", BROADCASTS, Cost(9, 4.7, {(3, 11): 129, (3, 12): 119, (3, 13): 124})),
]


class Controller:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("echo")
    async def echo(self, data: str) -> str:
        return data

    @on_message("broadcast")
    async def broadcast(self, data: str) -> None:
        await self.socket.namespace.emit("msg", data)


class Steps(trio.abc.Instrument):
    """Counts the steps of all tasks but one."""

    def __init__(self, but: trio.lowlevel.Task) -> None:
        self.count = 0
        self._but = but

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.count += task is not self._but


class Trace:
    """Counts what runs in this package."""

    def __init__(self) -> None:
        self.calls = self.bytecodes = 0

    def called(self, frame: FrameType, event: str, arg: object) -> Any:
        code = frame.f_code
        if not code.co_filename.startswith(PACKAGE):
            return None
        self.calls += code.co_name not in _INLINED
        frame.f_trace_lines, frame.f_trace_opcodes = False, True
        return self._went_on

    def _went_on(self, frame: FrameType, event: str, arg: object) -> Any:
        self.bytecodes += event == "opcode"
        return self._went_on


async def steps_of(run: Callable[[], Awaitable[None]]) -> int:
    """Return the steps that ``run`` takes."""
    steps = Steps(trio.lowlevel.current_task())
    trio.lowlevel.add_instrument(steps)
    try:
        await run()
    finally:
        trio.lowlevel.remove_instrument(steps)
    return steps.count


async def count(run: Callable[[], Awaitable[None]]) -> tuple[int, int]:
    """Return the calls and the bytecodes that ``run`` takes."""
    trace, before = Trace(), sys.gettrace()
    sys.settrace(trace.called)
    try:
        await run()
    finally:
        sys.settrace(before)
    return trace.calls, trace.bytecodes


async def let_through(walkers: list[Walker], burst: Burst) -> None:
    """Let one burst arrive, and everything leave that it brings."""
    walkers[0].emit(*burst.packets)
    await trio.testing.wait_all_tasks_blocked()
    assert sum(len(packets) for walker in walkers for packets in walker.take()) == burst.messages


@pytest.mark.parametrize(("burst", "most"), [pytest.param(burst, most, id=name) for name, burst, most in COSTS])
async def test_what_a_message_costs(burst: Burst, most: Cost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(flusher_module, "SECONDS_POSTPONED", math.inf)
    async with open_walkers(Server(RoutingTable(Route("/", Controller))), 1 if burst in (ECHO, ECHOES) else MEMBERS) as walkers:
        await check(partial(let_through, walkers, burst), burst.messages, most)


async def check(run: Callable[[], Awaitable[None]], messages: int, most: Cost) -> None:
    """Check that ``run``, which brings so many ``messages``, takes no more than ``most``."""
    await run()
    steps = [await steps_of(run) for _ in range(BURSTS)]
    counted = [await count(run) for _ in range(BURSTS)]
    del counted[0]  # Python begins to trace a function that runs already in the middle of it, or not at all
    assert max(steps) <= most.steps
    assert max(calls for calls, _ in counted) <= most.calls * messages
    if (limit := most.bytecodes.get(sys.version_info[:2])) is not None:
        assert max(bytecodes for _, bytecodes in counted) <= limit * messages


class Poller:
    """A client with long polling, on two connections to our own door."""

    def __init__(self, server: Server, nursery: trio.Nursery) -> None:
        self._door = NativeDoor(server.engine, None, server.readiness)
        self._nursery = nursery
        self._get, self._post = self._connect(), self._connect()
        self._target = b"/socket.io/?EIO=4&transport=polling"

    async def open(self) -> None:
        """Join the main namespace."""
        opened = await self._ask(self._get, b"GET")
        self._target += b"&sid=" + orjson.loads(opened[1:])["sid"].encode()
        assert await self._ask(self._post, b"POST", b"40") == b"ok"
        assert (await self._ask(self._get, b"GET")).startswith(b"40")

    async def fetch(self) -> None:
        """Post an event, and fetch its acknowledgement with the next poll."""
        assert await self._ask(self._post, b"POST", b'421["echo","x"]') == b"ok"
        assert await self._ask(self._get, b"GET") == b'431["x"]'

    async def wait(self) -> None:
        """Post an event while a poll waits, which brings the acknowledgement."""
        self._send(self._get, b"GET")
        await trio.testing.wait_all_tasks_blocked()
        assert await self._ask(self._post, b"POST", b'421["echo","x"]') == b"ok"
        assert self._answer(self._get) == b'431["x"]'

    def close(self) -> None:
        """Close both."""
        self._get.close()
        self._post.close()

    def _connect(self) -> socket.socket:
        client, sock = socket.socketpair()
        client.setblocking(False)
        stream = open_stream(sock, 30)
        assert stream is not None
        self._nursery.start_soon(partial(handle_connection, self._door, stream, sock, address=None, secure=False))
        return client

    def _send(self, client: socket.socket, method: bytes, body: bytes = b"") -> None:
        length = b"Content-Length: %d\r\n" % len(body) if body else b""
        client.send(b"%s %s HTTP/1.1\r\nHost: localhost\r\n%s\r\n%s" % (method, self._target, length, body))

    def _answer(self, client: socket.socket) -> bytes:
        return client.recv(10_000).partition(b"\r\n\r\n")[2]

    async def _ask(self, client: socket.socket, method: bytes, body: bytes = b"") -> bytes:
        self._send(client, method, body)
        await trio.testing.wait_all_tasks_blocked()
        return self._answer(client)


# A readiness task and one of a connection for each request, and the dispatcher; a poll that waits is woken besides.
POLLING_COSTS: Final = [
    ("a poll that finds it", Poller.fetch, Cost(5, 193, {(3, 11): 4858})),
    ("a poll that waits", Poller.wait, Cost(6, 213, {(3, 11): 5084})),
]


@pytest.mark.skipif(not hasattr(select, "epoll"), reason="without an epoll requests are waited for in another way")
@pytest.mark.parametrize(("way", "most"), [pytest.param(way, most, id=name) for name, way, most in POLLING_COSTS])
async def test_what_a_round_trip_of_polling_costs(
    way: Callable[[Poller], Awaitable[None]],
    most: Cost,
    mock_clock: trio.testing.MockClock,  # it stands still, so all answers have one Date
) -> None:
    server = Server(RoutingTable(Route("/", Controller)))
    async with trio.open_nursery() as nursery, server:
        poller = Poller(server, nursery)
        with closing(poller):
            await poller.open()
            await check(partial(way, poller), 1, most)
        nursery.cancel_scope.cancel()

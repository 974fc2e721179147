"""Whoever is cancelled at whichever step of a hand-over: the connection is in one place, or closed, and nobody keeps a copy."""

from __future__ import annotations

import itertools
import socket
from collections import Counter
from collections.abc import Awaitable, Callable

import pytest
import trio

from tests.workers.crew import ENGINE, Crew, descriptors, open_crew
from tests.workers.processes import eventually
from trio_sio.doors.native.listener import open_listeners
from trio_sio.testing.raw import RawHttp
from trio_sio.workers.channel import make_pair
from trio_sio.workers.handover import Mailbox, PostBox


class StopAfter(trio.abc.Instrument):
    """Cancels a scope after so many steps of any task."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self.scope = scope
        self.left = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


async def keep_stepping() -> None:
    """Make steps, so that there is always a next one, until cancelled."""
    for _ in itertools.count():
        await trio.lowlevel.checkpoint()


async def test_cancelled_at_any_step_a_connection_is_in_one_place_or_closed() -> None:
    """Of a sender that is cancelled: the client is answered, or sees the end; nobody keeps a copy, and descriptors are flat."""
    for steps in range(1, 120):
        here, there = make_pair()
        with here, there:
            client, server = socket.socketpair()
            before = descriptors()
            taken = list[socket.socket]()
            with trio.CancelScope() as scope:
                instrument = StopAfter(scope, steps)
                trio.lowlevel.add_instrument(instrument)
                try:
                    async with trio.open_nursery() as nursery:
                        nursery.start_soon(Mailbox(here).take, lambda sock, *_, taken=taken: taken.append(sock))
                        with server:
                            await PostBox(there).put(server, None, b"x")
                        nursery.start_soon(keep_stepping)
                finally:
                    trio.lowlevel.remove_instrument(instrument)
            assert server.fileno() == -1
            # What was on its way when its receiver was cancelled is for the next one.
            with trio.move_on_after(0.005 if not taken else 0):
                await Mailbox(here).take(lambda sock, *_, taken=taken: taken.append(sock))
            assert len(taken) <= 1
            for sock in taken:
                sock.send(b"served")
                sock.close()
            assert client.recv(10) == (b"served" if taken else b"")
            client.close()
            assert descriptors() == before - 2


POLL = f"{ENGINE}&transport=polling"


class EndAfter(trio.abc.Instrument):
    """Cancels a worker after so many steps of its tasks; nobody else's count."""

    def __init__(self, crew: Crew, number: int, steps: int) -> None:
        self.scope = crew.scopes[number]
        self.serving = crew.tasks[number]
        self.left = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        ancestor: trio.lowlevel.Task | None = task
        while ancestor is not None and ancestor is not self.serving:
            nursery = ancestor.parent_nursery
            ancestor = None if nursery is None else nursery.parent_task
        if ancestor is None:
            return
        self.left -= 1
        if self.left == 0:
            self.scope.cancel()


async def keep(crew: Crew, number: int) -> None:
    """Let that worker have a successor whenever it has ended: one that has its sessions still."""
    while True:
        (listener,) = await open_listeners("127.0.0.1", 0)
        sockname = listener.sockname
        assert not isinstance(sockname, str)
        crew.ports[number] = sockname[1]
        await crew.serve(number, listener.socket)


async def end_at_every_step(crew: Crew, number: int, play: Callable[[RawHttp], Awaitable[str]]) -> Counter[str]:
    """Let a client of worker 0 ``play`` until that takes fewer steps than the worker ``number`` makes; return what became of it."""
    outcomes = Counter[str]()
    async with trio.open_nursery() as nursery:
        crew.scopes[number].cancel()
        nursery.start_soon(keep, crew, number)
        await eventually(lambda: not crew.scopes[number].cancel_called)
        before = descriptors()
        for steps in itertools.count(1):
            with trio.fail_after(10):
                instrument = EndAfter(crew, number, steps)
                trio.lowlevel.add_instrument(instrument)
                try:
                    async with await crew.http(0) as client:
                        outcomes[await play(client)] += 1
                except (trio.BrokenResourceError, OSError):
                    outcomes["closed"] += 1
                finally:
                    trio.lowlevel.remove_instrument(instrument)
                if instrument.left > 0:
                    break
                assert instrument.scope.cancel_called
                await eventually(lambda: not crew.scopes[number].cancel_called)
                await eventually(lambda: descriptors() == before and crew.board.connections(0) == crew.board.connections(1) == 0)
        nursery.cancel_scope.cancel()
    return outcomes


@pytest.mark.hostile("K06")
@pytest.mark.parametrize("number", [0, 1], ids=["sender", "receiver"])
async def test_a_worker_that_ends_at_any_step_of_a_request(number: int, caplog: pytest.LogCaptureFixture) -> None:
    """The client is answered, by whoever has the connection then, or sees the end; descriptors and counts are as before."""
    async with open_crew() as crew:
        sid = await crew.open_session(1)

        async def play(client: RawHttp) -> str:
            # The body comes when the head has gone to the other one, or has not.
            target = f"{POLL}&sid={sid}"
            await client.stream.send_all(f"POST {target} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\n\r\n".encode())
            await trio.sleep(0.002)
            await client.stream.send_all(b"3")
            data = await client.stream.receive_some()
            assert not data or data.startswith(b"HTTP/1.1 200 "), data
            return "answered" if data else "closed"

        outcomes = await end_at_every_step(crew, number, play)
    assert outcomes["answered"] > 1, "a connection that is on its way is for the successor, and it was there at no step"
    assert outcomes["closed"] > 0
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]

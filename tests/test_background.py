"""`start_soon` of a server: work that begins and ends with it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from trio_sio import EngineServer, Route, RoutingTable, Server, Session, Socket, on_message
from trio_sio.testing import open_test_server


class Recorder:
    def __init__(self) -> None:
        self.events: list[str] = []

    async def work(self, name: str = "work") -> None:
        self.events.append(f"{name} begins")
        try:
            await trio.sleep_forever()
        finally:
            self.events.append(f"{name} ends")

    @asynccontextmanager
    async def lifespan(self, server: Server) -> AsyncIterator[None]:
        self.events.append("opened")
        yield
        self.events.append("closed")


async def fails() -> None:
    raise OSError("the disk is full")


async def test_it_begins_with_the_server_or_at_once_and_ends_before_the_lifespan() -> None:
    recorder = Recorder()
    server = Server(lifespan=recorder.lifespan)
    server.start_soon(recorder.work, "early")
    async with open_test_server(server):
        await trio.testing.wait_all_tasks_blocked()
        assert recorder.events == ["opened", "early begins"]
        server.start_soon(recorder.work, "late")
        await trio.testing.wait_all_tasks_blocked()
        assert recorder.events == ["opened", "early begins", "late begins"]
    assert sorted(recorder.events[3:5]) == ["early ends", "late ends"]
    assert recorder.events[5:] == ["closed"]


async def test_a_drain_ends_it_and_nothing_new_begins() -> None:
    recorder = Recorder()
    async with open_test_server(Server()) as memory:
        server = memory.server
        server.start_soon(recorder.work)
        await trio.testing.wait_all_tasks_blocked()
        await server.drain()
        await trio.testing.wait_all_tasks_blocked()
        assert recorder.events == ["work begins", "work ends"]
        with pytest.raises(RuntimeError, match=r"The server drains, or is over, so Recorder.work cannot begin."):
            server.start_soon(recorder.work)


async def test_what_fails_is_logged_and_nothing_else_happens(caplog: pytest.LogCaptureFixture) -> None:
    recorder = Recorder()

    async def group() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(fails)
            nursery.start_soon(trio.sleep_forever)

    async with open_test_server(Server()) as memory:
        for function in (fails, group, recorder.work):
            memory.server.start_soon(function)
        await trio.testing.wait_all_tasks_blocked()
        assert memory.server.running
        assert recorder.events == ["work begins"]
    messages = [record.getMessage() for record in caplog.records if record.name == "trio_sio.engine"]
    assert sorted(message.partition(",")[0].rpartition(".")[2] for message in messages) == ["fails", "group"]
    assert all(message.endswith(", which start_soon() of the server began, failed; the server goes on.") for message in messages)


async def test_what_fails_ends_the_server_where_that_is_wanted() -> None:
    server, recorder = Server(), Recorder()

    async def run() -> None:
        async with server:
            server.start_soon(recorder.work)
            server.start_soon(fails, failure="raise")
            await trio.sleep_forever()

    with pytest.RaisesGroup(OSError, flatten_subgroups=True):
        await run()
    assert recorder.events == ["work begins", "work ends"]
    assert not server.running


async def test_what_the_block_raises_comes_out_as_it_was() -> None:
    async def run() -> None:
        async with open_test_server(Server()) as memory:
            memory.server.start_soon(trio.sleep_forever)
            raise KeyError

    with pytest.raises(KeyError):
        await run()


async def test_handlers_reach_it_through_their_socket() -> None:
    recorder = Recorder()

    class Controller:
        @on_message("start")
        def start(self, socket: Socket) -> None:
            socket.server.start_soon(recorder.work)

    async with open_test_server(RoutingTable(Route("/", Controller))) as server:
        async with server.client() as client:
            await client.emit_with_ack("start")
        await trio.testing.wait_all_tasks_blocked()
        assert recorder.events == ["work begins"]


async def test_engine_io_alone_has_it_too() -> None:
    async def handler(session: Session) -> None: ...

    recorder = Recorder()
    server = EngineServer(handler)
    server.start_soon(recorder.work)
    async with open_test_server(server):
        await trio.testing.wait_all_tasks_blocked()
    assert recorder.events == ["work begins", "work ends"]


@pytest.mark.parametrize(
    ("call", "error", "sentence"),
    [
        (lambda server: server.start_soon(print), TypeError, ""),
        (lambda server: server.start_soon(fails()), TypeError, "start_soon"),
        (lambda server: server.start_soon(fails, failure="ignore"), ValueError, 'is neither "log" nor "raise"'),
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine 'fails' was never awaited")
def test_misuse_is_said_where_it_is(call: Callable[[Any], object], error: type[Exception], sentence: str) -> None:
    if sentence:
        with pytest.raises(error, match=sentence):
            call(Server())

"""What every row of the catalogue requires besides its own answer: nothing is left over, nobody else notices, one log line.

A test asks for `victim` and attacks it. Around it stand the level (`tests.level`), a `bystander` that gets its echoes all
the while, and `journal`, which fails the test for every log line that it does not expect.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from functools import partial
from typing import Any

import hypercorn.trio
import pytest
import trio
from hypercorn.config import Config as HypercornConfig

from tests.hostile.journal import Journal
from tests.hostile.process import Application, Record
from tests.hostile.victim import Door, Victim, WebSocketSession
from tests.level import unchanged
from trio_sio import Config, Route, RoutingTable, Server

ECHO_WITHIN = 1.0  # seconds
ECHO_INTERVAL = 0.02


@pytest.fixture
def journal() -> Iterator[Journal]:
    """What is logged; `Journal.expect` says what may be."""
    journal = Journal()
    loggers = [logging.getLogger("trio_sio"), logging.getLogger("hypercorn.error")]
    for logger in loggers:
        logger.addHandler(journal)
    loggers[0].setLevel(logging.DEBUG)
    loggers[1].setLevel(logging.ERROR)
    yield journal
    for logger in loggers:
        logger.removeHandler(journal)
        logger.setLevel(logging.NOTSET)


@pytest.fixture(params=["native", pytest.param("hypercorn", marks=pytest.mark.slow)])
def door(request: pytest.FixtureRequest) -> Door:
    """Where the server is attacked; ``@pytest.mark.parametrize("door", ["native"])`` restricts it."""
    kind: Door = request.param
    return kind


@pytest.fixture
def settings() -> Mapping[str, Any]:
    """`Config` values; ``@pytest.mark.parametrize("settings", [{...}])`` gives others."""
    return {}


@pytest.fixture
def routes() -> Sequence[Route]:
    """Routes besides the main namespace, of which `tests.hostile.victim` has its own; overridden like `settings`."""
    return ()


@pytest.fixture
async def running(door: Door, settings: Mapping[str, Any], routes: Sequence[Route], journal: Journal) -> AsyncIterator[Victim]:
    """The server, running, untouched."""
    victim = Victim(door, Config(**settings), routes, journal)
    async with trio.open_nursery() as nursery:
        if door == "native":
            listeners = await nursery.start(victim.server.serve, "127.0.0.1", 0)
            victim.port = listeners[0].sockname[1]
        else:
            config = HypercornConfig()
            config.bind = ["127.0.0.1:0"]
            config.keep_alive_timeout = 0.5  # it keeps what it knows of an idle connection for that long, although that is closed
            config.errorlog = logging.getLogger("hypercorn.error")
            # hypercorn's annotations want TypedDicts of its own.
            app: Any = victim.server.asgi()
            binds: list[str] = await nursery.start(hypercorn.trio.serve, app, config)
            victim.port = int(binds[0].rpartition(":")[2])
        yield victim
        nursery.cancel_scope.cancel()
    journal.check()


@pytest.fixture
async def bystander(running: Victim) -> AsyncIterator[WebSocketSession]:
    """A healthy client, which gets every echo within a second for as long as the test runs."""
    session = await running.websocket()
    running._streams.remove(session.websocket.stream)  # type: ignore[arg-type]  # it stays when the attacker leaves
    session.answers_pings = True
    await session.assert_lives()
    async with trio.open_nursery() as nursery:
        stop = trio.Event()
        nursery.start_soon(_echo, session, stop)
        yield session
        stop.set()


async def _echo(session: WebSocketSession, stop: trio.Event) -> None:
    while not stop.is_set():
        with trio.fail_after(ECHO_WITHIN):
            await session.assert_lives()
        with trio.move_on_after(ECHO_INTERVAL):
            await stop.wait()
    with trio.fail_after(ECHO_WITHIN):
        await session.assert_lives()
    await session.websocket.stream.aclose()


@pytest.fixture
async def victim(running: Victim, bystander: WebSocketSession) -> AsyncIterator[Victim]:
    """The server that a test attacks; whatever the test does, nothing of it may be left afterwards."""
    async with trio.open_nursery() as nursery:
        async with unchanged(running.server):
            yield running
            await running.leave()
            # Stands in for the task of the test, which was counted before and is over now.
            nursery.start_soon(trio.sleep_forever)
        nursery.cancel_scope.cancel()


@pytest.fixture
def record() -> Record:
    """What the handlers of `server` saw."""
    return Record()


@pytest.fixture
def server(record: Record) -> Server:
    """A server with `tests.hostile.process.Application` in the main namespace, not running yet; for section P."""
    return Server(RoutingTable(Route("/", partial(Application, record))))

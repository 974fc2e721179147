"""What every row of the catalogue requires besides its own answer: nothing is left over, nobody else notices, one log line.

A test asks for `victim` and attacks it. Around it stand the level (`tests.level`), a `bystander` that gets its echoes all
the while, and `journal`, which fails the test for every log line that it does not expect.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio
from hypercorn.config import Config as HypercornConfig

from tests.doors.hypercorn_site import behind
from tests.hostile.journal import Journal
from tests.hostile.process import Application, Record
from tests.hostile.victim import BOUND, DOORS, HTTP_DOORS, TRANSPORTS, Door, Victim, WebSocketSession
from tests.level import unchanged
from trio_sio import Config, Route, RoutingTable, Server
from trio_sio.doors import hypercorn, trio_websocket

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
    packets = logging.getLogger("trio_sio.packets")
    packets.setLevel(logging.INFO)  # there can be half a million of them
    yield journal
    for logger in loggers:
        logger.removeHandler(journal)
    for logger in (*loggers, packets):
        logger.setLevel(logging.NOTSET)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Attack at every door, and, where a test asks for a `transport`, by each that the door has.

    ``@native_only`` restricts a test to the native door, ``@pytest.mark.http`` to those where there is more than WebSockets.
    """
    if "door" not in metafunc.fixturenames or any("door" in mark.args[0] for mark in metafunc.definition.iter_markers("parametrize")):
        return
    doors = HTTP_DOORS if metafunc.definition.get_closest_marker("http") else DOORS
    if "transport" in metafunc.fixturenames:
        runs = [(door, transport) for door in doors for transport in TRANSPORTS[door]]
        metafunc.parametrize(("door", "transport"), [pytest.param(*run, marks=_marks(run[0])) for run in runs])
    else:
        metafunc.parametrize("door", [pytest.param(door, marks=_marks(door)) for door in doors])


def _marks(door: Door) -> list[pytest.MarkDecorator]:
    return [] if door == "native" else [pytest.mark.slow]


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
        elif door == "trio-websocket":
            addresses: list[str] = await nursery.start(trio_websocket.serve, victim.server, "127.0.0.1", 0)
            victim.port = int(addresses[0].rpartition(":")[2])
        else:
            config = HypercornConfig()
            config.bind = ["127.0.0.1:0"]
            config.keep_alive_timeout = 0.5  # it keeps what it knows of an idle connection for that long, although that is closed
            config.errorlog = logging.getLogger("hypercorn.error")
            timeout = victim.server.config.write_stall_timeout
            app = behind(victim.server) if door == "asgi" else victim.server.asgi()
            if door == "asgi":
                journal.expect("INFO hypercorn carries the Socket.IO connections of this application, too, ")
            urls: list[str] = await nursery.start(partial(hypercorn.serve, app, config, write_stall_timeout=timeout))
            victim.port = int(urls[0].rpartition(":")[2])
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
        await _echo_once(session)
        with trio.move_on_after(ECHO_INTERVAL):
            await stop.wait()
    await _echo_once(session)
    await session.websocket.stream.aclose()


async def _echo_once(session: WebSocketSession) -> None:
    asked_at, waited_at_first = trio.current_time(), _waited_for_a_core()
    with trio.fail_after(BOUND):
        await session.assert_lives()
    took = trio.current_time() - asked_at
    assert took - (_waited_for_a_core() - waited_at_first) < ECHO_WITHIN, f"The bystander's echo took {took:.1f} seconds."


def _waited_for_a_core() -> float:
    """How many seconds this thread, in which server and bystander live, could have run and did not, because others ran."""
    with suppress(FileNotFoundError):  # only Linux tells
        return int(Path("/proc/thread-self/schedstat").read_text().split()[1]) / 1e9
    return 0


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

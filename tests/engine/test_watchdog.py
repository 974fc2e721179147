"""What keeps the event loop from turning is named while it does, by a thread that belongs to the server."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

import pytest
import trio
import trio.testing

from tests.instruments.ledger import Ledger
from trio_sio import Route, RoutingTable, Server, on_connection, on_message
from trio_sio.engine import watchdog as watchdog_module
from trio_sio.testing import open_test_server

AT_MOST: Final = 20.0  # seconds that a handler here blocks if it is not named
LONG: Final = 1.5


@pytest.fixture(autouse=True)
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "BLOCKED", 0.2)
    monkeypatch.setattr(watchdog_module, "LOOK", 0.05)
    monkeypatch.setattr(watchdog_module, "_LATE", 1_000)  # the machine of the tests is never idle


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return those of the engine: on a busy machine others say that handlers are slow."""
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING and record.name == "trio_sio.engine"]


async def told(ledger: Ledger, count: int) -> None:
    """Wait until an instrument was told so often of a loop that turns again."""
    with trio.fail_after(10):
        while len(ledger.of("loop_blocked")) < count:  # noqa: ASYNC110  # an instrument has nobody to wake
            await trio.sleep(0.01)


class Controller:
    """Blocks the loop until that was noticed, so many times."""

    def __init__(self, caplog: pytest.LogCaptureFixture, noticed: Callable[[], int]) -> None:
        self._caplog = caplog
        self._noticed = noticed

    def _lines(self) -> list[str]:
        return warnings(self._caplog)

    @on_message("block")
    async def block(self, times: int) -> list[str]:
        await trio.lowlevel.checkpoint()
        self.compute(times)
        return self._lines()

    def compute(self, times: int) -> None:
        end = time.perf_counter() + AT_MOST
        while self._noticed() < times and time.perf_counter() < end:
            time.sleep(0.01)

    @on_message("spin")
    def spin(self, times: int) -> list[str]:
        end = time.perf_counter() + AT_MOST
        while self._noticed() < times and time.perf_counter() < end:
            pass
        return self._lines()

    def rest(self) -> None:
        time.sleep(0.02)

    @on_message("turn")
    async def turn(self) -> list[str]:
        end = time.perf_counter() + LONG
        while True:
            await trio.lowlevel.checkpoint()
            self.rest()  # which is where it is found nearly always
            if time.perf_counter() >= end:
                return self._lines()

    @on_message("wait")
    async def wait(self) -> list[str]:
        await trio.sleep(LONG)
        return self._lines()


@pytest.fixture
def controller(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Controller:
    described = 0
    describe = watchdog_module._describe

    def count(thread: int) -> tuple[str, str]:
        nonlocal described
        found = describe(thread)
        threading.Timer(0.1, noticed).start()  # when it is in the log
        return found

    def noticed() -> None:
        nonlocal described
        described += 1

    monkeypatch.setattr(watchdog_module, "_describe", count)
    return Controller(caplog, lambda: described)


def watchdogs() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "trio_sio watchdog"]


async def test_its_thread_ends_with_the_server() -> None:
    others = watchdogs()
    async with Server():
        assert len(watchdogs()) == len(others) + 1
    assert watchdogs() == others
    with trio.CancelScope() as scope:
        async with Server():
            scope.cancel()
            await trio.lowlevel.checkpoint()
    assert watchdogs() == others


@pytest.mark.parametrize("event", ["block", "spin"])
async def test_a_handler_that_blocks_is_named_while_it_does(event: str, controller: Controller) -> None:
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", controller)), instruments=[ledger])
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        (line,) = await client.emit_with_ack(event, 1)
        where = line.partition(" has kept the event loop from turning for ")[0]
        assert where.startswith(f"Controller.{event}, at test_watchdog.py:")
        assert f"in {event}\n" in line
        if event == "block":
            assert "in compute\n" in line  # the stack goes down to where it is
        await told(ledger, 1)
        ((seconds, place),) = ledger.of("loop_blocked")
        assert place == where
        assert 0.2 < seconds < AT_MOST


async def test_who_lets_others_have_their_turn_is_not_named(controller: Controller, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watchdog_module, "BLOCKED", 1.0)
    monkeypatch.setattr(watchdog_module, "_LATE", 2)  # nor does it blame anybody for that
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", controller)), instruments=[ledger])
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        assert await client.emit_with_ack("turn") == []
        assert await client.emit_with_ack("wait") == []
        assert not ledger.of("loop_blocked")


async def test_the_same_place_is_named_once_in_a_minute(controller: Controller) -> None:
    ledger = Ledger()
    server = Server(RoutingTable(Route("/", controller)), instruments=[ledger])
    async with open_test_server(server) as in_memory, in_memory.strict_client() as client:
        for times in (1, 2):
            assert len(await client.emit_with_ack("block", times)) == 1
            await told(ledger, times)


async def test_hooks_are_named_as_well(controller: Controller, caplog: pytest.LogCaptureFixture) -> None:
    class Hooked:
        @on_connection
        def joined(self) -> None:
            controller.compute(1)

    async with open_test_server(RoutingTable(Route("/", Hooked))) as in_memory, in_memory.strict_client():
        pass
    (line,) = warnings(caplog)
    assert line.startswith("Hooked.joined, at test_watchdog.py:")


@pytest.mark.hostile("O06")
async def test_where_no_thread_can_be_started_the_server_runs_without(
    controller: Controller, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    def refuse(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    async with open_test_server(RoutingTable(Route("/", controller))) as in_memory, in_memory.strict_client() as client:
        assert await client.emit_with_ack("wait") == [
            "There is no thread that could name what blocks the event loop: can't start new thread"
        ]


def test_it_blames_nobody_once_its_loop_is_over(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr(watchdog_module, "_identity", lambda thread: 1)  # something is found each time
    others = watchdogs()
    manager = watchdog_module.Watchdog().watching()

    async def never_leave() -> None:
        manager.__enter__()
        await trio.lowlevel.checkpoint()

    trio.run(never_leave)
    (thread,) = [one for one in watchdogs() if one not in others]
    thread.join(10)
    assert not thread.is_alive()
    assert warnings(caplog) == []

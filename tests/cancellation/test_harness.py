"""`cancel_everywhere` itself: what it counts, what it strikes, what it tolerates and what it refuses."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import trio

from trio_sio import RoutingTable, Server, Socket
from trio_sio.testing import CancellationFailure, InMemoryServer, cancel_everywhere, serving, striking
from trio_sio.testing.cancellation import PARTS


@asynccontextmanager
async def notes() -> AsyncIterator[list[str]]:
    """What the scenario did; once it is over it must have said so."""
    made: list[str] = []
    yield made
    assert made[-1:] == ["over"]


async def three_steps(made: list[str]) -> None:
    try:
        for number in range(3):
            made.append(str(number))
            await trio.sleep(1)
    finally:
        made.append("over")


def test_each_step_is_struck_once() -> None:
    seen: list[list[str]] = []

    async def note(made: list[str]) -> None:
        seen.append(made)
        await three_steps(made)

    report = cancel_everywhere(note, notes)

    assert (report.steps, report.struck, report.findings) == (3, 3, [])
    assert seen == [["0", "1", "2", "over"], ["0", "over"], ["0", "1", "over"], ["0", "1", "2", "over"]]


def test_each_seed_is_a_round() -> None:
    assert cancel_everywhere(three_steps, notes, seeds=range(3)).steps == 9


def test_a_function_is_a_part() -> None:
    async def inner() -> None:
        await trio.sleep(1)
        await trio.sleep(1)

    async def outer(made: list[str]) -> None:
        try:
            await trio.sleep(1)
            await inner()
        finally:
            made.append("over")

    assert cancel_everywhere(outer, notes, part=inner).steps == 2


def test_an_error_is_raised_by_the_wait() -> None:
    async def inner(made: list[str]) -> None:
        try:
            await trio.sleep(1)
        except OSError as error:
            made.append(str(error))

    async def outer(made: list[str]) -> None:
        await inner(made)
        seen.append(made)
        made.append("over")

    seen: list[list[str]] = []
    report = cancel_everywhere(outer, notes, part=inner, error=lambda: OSError("disk full"))

    assert report.struck == 1
    assert seen == [["over"], ["disk full", "over"]]


def test_what_was_thrown_may_come_out_and_nothing_else() -> None:
    @asynccontextmanager
    async def nothing() -> AsyncIterator[None]:
        yield

    async def inner() -> None:
        await trio.sleep(1)

    async def outer(_: None) -> None:
        await inner()

    async def wrong(_: None) -> None:
        try:
            await inner()
        except OSError:
            raise LookupError("another") from None

    assert cancel_everywhere(outer, nothing, part=inner, error=OSError).struck == 1
    with pytest.raises(CancellationFailure, match=r"at test_harness\.py:\d+ in .*inner: LookupError: another \(test_harness"):
        cancel_everywhere(wrong, nothing, part=inner, error=OSError)


def test_a_scenario_that_fails_undisturbed_fails_as_it_is() -> None:
    async def fail(_: list[str]) -> None:
        raise LookupError("a mistake in the scenario")

    with pytest.raises(LookupError, match="a mistake in the scenario"):
        cancel_everywhere(fail, notes)


def test_the_client_must_be_told() -> None:
    server: Server

    def make() -> Server:
        nonlocal server
        server = Server()

        @server.on("ask")
        async def ask(socket: Socket) -> None:
            await trio.sleep(1)

        return server

    async def scenario(memory: InMemoryServer) -> None:
        async with memory.strict_client() as client:
            await client.emit("ask")
            await client.once("what never comes", timeout=10)

    with pytest.raises(trio.TooSlowError):
        cancel_everywhere(scenario, serving(make))


def test_who_waits_forever_is_named() -> None:
    async def scenario(made: list[str]) -> None:
        try:
            await trio.sleep(1)
            made.append("over")
        finally:
            with trio.CancelScope(shield=made != ["over"]):
                while made != ["over"]:
                    await trio.sleep_forever()  # noqa: ASYNC102  # that there is no deadline is the mistake

    with pytest.raises(CancellationFailure) as info:
        cancel_everywhere(scenario, notes)
    assert "it hangs: task trio_sio.testing.striking.Run._play_and_watch at test_harness.py:" in str(info.value)


def test_the_parts_are_there() -> None:
    for name in PARTS.values():
        assert inspect.iscoroutinefunction(pkgutil.resolve_name(name))


@pytest.mark.parametrize("part", ["everything", "client"])
def test_what_is_not_one_task_cannot_take_an_error(part: str) -> None:
    with pytest.raises(ValueError, match=f"and {part} has many; name one of reader, writer,"):
        cancel_everywhere(three_steps, notes, part=part, error=OSError)


def test_an_unknown_part() -> None:
    with pytest.raises(ValueError, match="There is no part 'readers'; name one of everything, client, reader, "):
        cancel_everywhere(three_steps, notes, part="readers")


def test_everything_includes_the_server() -> None:
    servers: list[Server] = []

    def make() -> Server:
        servers.append(Server(RoutingTable()))
        return servers[-1]

    async def scenario(memory: InMemoryServer) -> None:
        await trio.sleep(1)
        alive.append(memory.server)

    alive: list[object] = []
    report = cancel_everywhere(scenario, serving(make))

    assert report.struck == len(servers) - 1
    assert alive[0] is servers[0]
    assert servers[1] not in alive


def test_a_failure_of_the_harness_is_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_task: object) -> str:
        raise LookupError("a mistake in the harness")

    monkeypatch.setattr(striking, "where", fail)
    with pytest.raises(LookupError, match="a mistake in the harness"):
        cancel_everywhere(three_steps, notes)

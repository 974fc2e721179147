"""Every socket is described in portions, and a page gets them as they all are at one moment."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

from tests.admin.opening import Administered, make_server, open_admin
from trio_sio import Instrument
from trio_sio.admin import survey
from trio_sio.admin.messages import show_socket
from trio_sio.concurrency.streams import SECONDS_PER_TURN
from trio_sio.testing import LoopbackNetwork, StrictSocket


async def everybody(page: StrictSocket) -> list[Any]:
    (sockets,) = await page.once("all_sockets")
    return list(sockets)


def ids(sockets: list[Any]) -> list[str]:
    return [socket["id"] for socket in sockets]


class Slowly:
    """Lets each description take a millisecond, by the clock that turns are measured with.

    Attributes:
      described: Who was described, in order.
      most: How many were, at the most, in one turn of the event loop.
      in_turn: How many were in this one.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.described: list[str] = []
        self.most = 0
        self._now = 0.0
        self.in_turn = 0
        monkeypatch.setattr(survey, "perf_counter", lambda: self._now)
        monkeypatch.setattr("trio_sio.admin.watch.show_socket", self._show)

    def _show(self, id: str, *args: Any, **options: Any) -> Any:
        self._now += 0.001
        self.described.append(id)
        self.in_turn += 1
        self.most = max(self.most, self.in_turn)
        return show_socket(id, *args, **options)

    @asynccontextmanager
    async def watching(self) -> AsyncIterator[None]:
        """Count turns of the event loop."""
        instrument = Turned(self)
        self.described.clear()
        self.most = 0
        trio.lowlevel.add_instrument(instrument)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(instrument)


class Turned(trio.abc.Instrument):
    def __init__(self, slowly: Slowly) -> None:
        self._slowly = slowly

    def before_io_wait(self, timeout: float) -> None:
        self._slowly.in_turn = 0


@pytest.fixture
def slowly(monkeypatch: pytest.MonkeyPatch) -> Slowly:
    return Slowly(monkeypatch)


class Pause:
    """Stops a page that comes, after so many sockets were looked at, until it is let go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, after: int) -> None:
        self._left = after
        self.reached = trio.Event()
        self.over = trio.Event()
        monkeypatch.setattr(survey.Turn, "may_end", lambda turn: self._may_end())

    async def _may_end(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.reached.set()
            await self.over.wait()
        await trio.lowlevel.checkpoint()


@asynccontextmanager
async def crowd(count: int) -> AsyncIterator[tuple[Administered, list[StrictSocket]]]:
    """Run a server with an admin page, and so many clients."""
    async with open_admin() as administered, AsyncExitStack() as stack:
        yield administered, [await stack.enter_async_context(administered.client()) for _ in range(count)]


@pytest.mark.hostile("O20")
@pytest.mark.parametrize("pages", [1, 3])
async def test_so_many_are_described_in_a_turn_however_many_pages_come(slowly: Slowly, pages: int) -> None:
    async with crowd(40) as (administered, clients):

        async def look() -> None:
            async with administered.page() as page:
                shown = ids(await everybody(page))
                assert shown[:40] == [client.id for client in clients]
                assert len(set(shown)) == len(shown)

        async with slowly.watching(), trio.open_nursery() as nursery:
            for _ in range(pages):
                nursery.start_soon(look)
        # One page at a time; what it is told as another page comes is not among them.
        assert slowly.most <= round(SECONDS_PER_TURN / 0.001) + pages
        assert len(slowly.described) >= 40 * pages


async def test_a_turn_ends_only_when_its_time_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0
    monkeypatch.setattr(survey, "perf_counter", lambda: now)
    turn = survey.Turn()
    now = SECONDS_PER_TURN * 0.99
    with trio.testing.assert_no_checkpoints():
        await turn.may_end()
    now = SECONDS_PER_TURN
    with trio.testing.assert_checkpoints():
        await turn.may_end()
    now = SECONDS_PER_TURN * 1.99
    with trio.testing.assert_no_checkpoints():
        await turn.may_end()


async def test_who_comes_and_goes_meanwhile_is_neither_missing_nor_there_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    async with crowd(6) as (administered, clients), AsyncExitStack() as stack:
        one, other, entering, leaving, late, later = clients
        await leaving.emit_with_ack("enter", "room")
        root = administered.server.of("/")
        pause = Pause(monkeypatch, after=4)
        page = await stack.enter_async_context(administered.page())
        await pause.reached.wait()
        # Four were described, the other two and the page itself are yet to be.
        root.sockets[one.id].disconnect_nowait()
        root.sockets[late.id].disconnect_nowait()
        await entering.emit_with_ack("enter", "hall")
        await leaving.connection.join("/chat")
        await root.sockets[leaving.id].leave("room")
        await later.emit_with_ack("enter", "hall")
        new = await stack.enter_async_context(administered.client())
        await new.emit_with_ack("enter", "hall")
        brief = await stack.enter_async_context(administered.client())
        root.sockets[brief.id].disconnect_nowait()
        pause.over.set()

        heard = []
        while (event := await page.receive()).name != "all_sockets":
            heard.append(event.name)
        (shown,) = event.args
        assert len(set(ids(shown))) == len(shown)
        rooms = {socket["id"]: sorted(set(socket["rooms"]) - {socket["id"]}) for socket in shown if socket["nsp"] == "/"}
        assert rooms == {other.id: [], entering.id: ["hall"], leaving.id: [], later.id: ["hall"], new.id: ["hall"]}
        assert list(rooms) == [other.id, entering.id, leaving.id, later.id, new.id]
        assert sorted(socket["nsp"] for socket in shown if socket["nsp"] != "/") == ["/admin", "/chat"]
        # What happened meanwhile it has heard before, so that this does not contradict what follows.
        assert {"socket_connected", "socket_disconnected", "room_joined", "room_left"} < set(heard)
        await trio.testing.wait_all_tasks_blocked()
        assert {event.name for event in page.pending} <= {"server_stats"}


async def test_a_socket_that_moves_meanwhile_is_shown_where_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    def show(*args: Any, **options: Any) -> Any:
        return show_socket(*args, **options | {"transport": transport})

    monkeypatch.setattr("trio_sio.admin.watch.show_socket", show)
    transport = "polling"
    async with crowd(1) as (administered, (client,)):
        pause = Pause(monkeypatch, after=1)
        async with administered.page() as page:
            await pause.reached.wait()
            transport = "websocket"
            instrument, connection = (
                administered.server.of("/").instrument,
                administered.server.of("/").sockets[client.id].client.connection,
            )
            assert isinstance(instrument, Instrument)
            instrument.session_moved(connection.sid, transport)
            pause.over.set()
            assert [socket["transport"] for socket in await everybody(page) if socket["id"] == client.id] == ["websocket"]


@pytest.mark.parametrize("leave", [StrictSocket.disconnect, lambda page: page.connection.abort()])
async def test_for_a_page_that_has_gone_nobody_is_described(
    monkeypatch: pytest.MonkeyPatch, slowly: Slowly, leave: Callable[[StrictSocket], Awaitable[object]]
) -> None:
    async with crowd(8) as (administered, _):
        pause = Pause(monkeypatch, after=3)
        async with administered.page() as page:
            await pause.reached.wait()
            described = len(slowly.described)
            await leave(page)
            await trio.testing.wait_all_tasks_blocked()
            pause.over.set()
            await trio.testing.wait_all_tasks_blocked()
            assert len(slowly.described) == described
        async with administered.page() as page:
            assert len(await everybody(page)) == 9


@pytest.mark.hostile("O20")
async def test_sockets_that_never_rest_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    turns = 0
    monkeypatch.setattr("trio_sio.admin.everybody.MOST_SOCKETS", 10)
    async with crowd(5) as (administered, clients):
        root = administered.server.of("/")

        async def may_end(turn: survey.Turn) -> None:
            nonlocal turns
            turns += 1
            assert turns <= 20
            for client in clients:
                await root.sockets[client.id].join(f"room {turns}")

        monkeypatch.setattr(survey.Turn, "may_end", may_end)
        async with administered.page() as page:
            shown = {socket["id"]: socket for socket in await everybody(page)}
            assert shown.keys() == {page.id, *(client.id for client in clients)}
            # Not even then is anything left out.
            assert all(f"room {turns}" in shown[client.id]["rooms"] for client in clients)


async def test_what_another_server_tells_is_as_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    network = LoopbackNetwork()
    async with AsyncExitStack() as stack:
        here = await stack.enter_async_context(open_admin(make_server(cluster=network.cluster())))
        there = await stack.enter_async_context(open_admin(make_server(cluster=network.cluster())))
        clients = [await stack.enter_async_context(there.client()) for _ in range(3)]
        pause = Pause(monkeypatch, after=2)
        page = await stack.enter_async_context(here.page())
        await pause.reached.wait()
        there.server.of("/").sockets[clients[0].id].disconnect_nowait()
        pause.over.set()
        assert sorted(ids(await everybody(page))) == sorted([page.id, clients[1].id, clients[2].id])

"""Clients that send faster than they are handled: honest ones are slowed down, the others cost no more than they may.

How much memory that is, tests/namespaces/test_inbox.py measures.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Final

import pytest
import trio

from tests.hostile.http import hang_up
from tests.hostile.journal import Journal
from tests.hostile.socketio.speaking import enter, receive, send
from tests.hostile.test_websocket import TEXT, frame
from tests.hostile.victim import BOUND, Session, Victim, WebSocketSession
from trio_sio import Limits, Route, Socket, on_disconnection, on_message
from trio_sio.namespaces.client import Client

LARGE: Final = "x" * 900_000
DICTS: Final = '42/slow,["take",[' + "{}," * 190_000 + "0]]"
OVERFLOW: Final = r"INFO Connection .* ended: inbox overflow \(more than 1024 events, or"
STOPPED: Final = "INFO Slow.ask stopped on event 'ask': the client left"


class Slow:
    """Shared by all its sockets: handles events when a test says so, and takes as long for goodbyes.

    Attributes:
      began: How many events are being handled, or were.
      go_on: Lets them end.
    """

    def __init__(self) -> None:
        self.began = 0
        self.go_on = trio.Event()

    @on_message("take")
    async def take(self, value: object) -> int:
        self.began += 1
        await self.go_on.wait()
        return len(value) if isinstance(value, str) else 0

    @on_message("ask")
    async def ask(self, socket: Socket) -> None:
        await socket.emit_with_ack("question")

    @on_disconnection
    async def gone(self) -> None:
        await self.go_on.wait()


@pytest.fixture
def slow() -> Slow:
    return Slow()


@pytest.fixture
def routes(slow: Slow) -> Sequence[Route]:
    return [Route("/slow", slow)]


def client_of(victim: Victim, session: Session) -> Client:
    receiver = victim.server.engine.sessions.by_id[session.sid].receiver
    assert isinstance(receiver, Client)
    return receiver


async def wait_until(condition: Callable[[], bool]) -> None:
    with trio.fail_after(BOUND):
        while not condition():  # noqa: ASYNC110  # nothing tells
            await trio.sleep(0.005)


@pytest.mark.hostile("R01")
async def test_large_events_that_come_faster_than_they_are_handled(victim: Victim, slow: Slow, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session, "/slow")
    answers: list[str] = []

    async def send_all() -> None:
        for number in range(6):
            await send(session, f'42/slow,{number}["take","{LARGE}"]')

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all)
        await wait_until(lambda: not client_of(victim, session).connection.accepting)
        await victim.settle()
        assert slow.began == 1
        slow.go_on.set()
        while len(answers) < 6:
            answers += await receive(session, 1) if isinstance(session, WebSocketSession) else (await session.poll()).decode().split("\x1e")
    assert answers == [f"43/slow,{number}[{len(LARGE)}]" for number in range(6)]
    await session.assert_lives()


@pytest.mark.hostile("R02")
async def test_small_events_to_a_handler_that_waits_for_its_client(victim: Victim, slow: Slow, journal: Journal) -> None:
    session = await victim.websocket()
    await enter(session, "/slow")
    await session.send('42/slow,["ask"]')
    await session.receive()
    data = frame(TEXT, b'42/slow,["take",1]') * 2_000

    async with trio.open_nursery() as nursery:

        async def flood() -> None:
            # The server closes before it has read all of it.
            with contextlib.suppress(trio.BrokenResourceError):
                await session.websocket.stream.send_all(data)

        nursery.start_soon(flood)
        assert await victim.reason(session.socket_id) == "inbox overflow"
        slow.go_on.set()
    journal.expect(OVERFLOW)
    journal.expect(STOPPED)
    await hang_up(session.websocket.stream, reset=True)


@pytest.mark.hostile("R03")
async def test_events_that_are_small_on_the_wire_only(victim: Victim, slow: Slow, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session, "/slow")

    async def send_all() -> None:
        for _ in range(4):
            await send(session, DICTS)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send_all)
        await wait_until(lambda: slow.began == 1 and not client_of(victim, session).connection.accepting)
        await victim.settle()
        # One that is handled, and one that found room: the others are still to be read.
        assert client_of(victim, session).inbox.events == 1
        slow.go_on.set()
        await wait_until(lambda: slow.began == 4)
    await session.assert_lives()


@pytest.mark.hostile("R04")
@pytest.mark.parametrize("settings", [{"limits": Limits(namespaces_per_connection=3)}], ids=["three-namespaces"])
async def test_joining_and_leaving_in_a_loop(victim: Victim, slow: Slow) -> None:
    session = await victim.websocket()
    client = client_of(victim, session)
    most = 0
    for _ in range(4):
        if client.connection.fault is None and client.connection.accepting:
            await enter(session, "/slow")
            await session.send("41/slow,")
            await victim.settle()
            most = max(most, client._living)
    assert (most, client.connection.accepting, client.connection.fault) == (4, False, None)
    slow.go_on.set()
    await session.assert_lives()
    assert client._living == 1


@pytest.mark.hostile("R05")
@pytest.mark.parametrize("settings", [{"limits": Limits(namespaces_per_connection=2)}], ids=["two-namespaces"])
async def test_a_client_that_comes_back_while_its_old_socket_cleans_up(victim: Victim, slow: Slow, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session, "/slow")
    await send(session, "41/slow,")
    await enter(session, "/slow")
    slow.go_on.set()
    await send(session, '42/slow,1["take","abc"]')
    assert await receive(session) == ["43/slow,1[3]"]
    await session.assert_lives()


@pytest.mark.hostile("R06")
@pytest.mark.parametrize("settings", [{"attachment_stall_timeout": 0.2, "limits": Limits(inbox_events=2)}], ids=["brisk"])
async def test_an_attachment_that_is_here_and_not_read(victim: Victim, slow: Slow) -> None:
    session = await victim.websocket()
    await enter(session, "/slow")
    await session.send('42/slow,["take",1]', '42/slow,["take",2]')
    await session.send('451-/slow,1["take",{"_placeholder":true,"num":0}]')
    await victim.settle()
    client = client_of(victim, session)
    client.inbox.queued(1)  # now it is full
    await session.websocket.send(b"abc")
    await trio.sleep(0.5)
    assert (client.connection.accepting, client.connection.fault) == (False, None)
    client.inbox.taken(1)
    slow.go_on.set()
    assert await session.receive() == "43/slow,1[0]"
    await session.assert_lives()


@pytest.mark.hostile("R07")
@pytest.mark.http
@pytest.mark.parametrize("settings", [{"inbox_stall_timeout": 0.2, "limits": Limits(inbox_events=8)}], ids=["brisk"])
async def test_a_post_that_finds_no_room_in_time(victim: Victim, slow: Slow) -> None:
    session = await victim.polling()
    await enter(session, "/slow")
    await session.send("\x1e".join(['42/slow,["take",1]'] * 2_000))  # answered, although nothing was handled
    inbox = client_of(victim, session).inbox
    assert (slow.began, inbox.events) == (1, 7)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.send, '42/slow,7["take","abc"]')
        await trio.sleep(0.5)
        assert inbox.events == 7
        slow.go_on.set()
    assert await receive(session) == ["43/slow,7[3]"]
    assert slow.began == 2_001
    await session.assert_lives()


@pytest.mark.hostile("R08")
@pytest.mark.http
@pytest.mark.parametrize(
    "settings", [{"inbox_stall_timeout": 0.2, "upgrade_timeout": 0.4, "limits": Limits(inbox_events=8)}], ids=["brisk"]
)
async def test_an_upgrade_behind_a_post_that_finds_no_room(victim: Victim, slow: Slow) -> None:
    session = await victim.polling()
    await enter(session, "/slow")
    await session.send("\x1e".join([f'42/slow,{number}["take","abc"]' for number in range(100)]))
    websocket = await session.probe()
    await websocket.send("5")
    await websocket.send('42/slow,100["take","abc"]')
    await victim.server.to(session.socket_id).emit("x", 1)
    assert await websocket.receive() == '42["x",1]'
    await trio.sleep(0.6)
    slow.go_on.set()
    with trio.fail_after(BOUND):
        assert [await websocket.receive() for _ in range(101)] == [f"43/slow,{number}[3]" for number in range(101)]


@pytest.mark.hostile("R09")
@pytest.mark.http
async def test_a_post_of_more_than_may_wait_while_a_handler_waits_for_its_client(victim: Victim, slow: Slow, journal: Journal) -> None:
    session = await victim.polling()
    await enter(session, "/slow")
    await session.send('42/slow,["ask"]')
    response = await session.post("\x1e".join(['42/slow,["take",1]'] * 10_000))
    assert response.status == 400
    assert await victim.reason(session.socket_id) == "inbox overflow"
    journal.expect(OVERFLOW)
    journal.expect(STOPPED)
    slow.go_on.set()

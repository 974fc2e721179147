"""Hostile Socket.IO packets: section S of the catalogue, as far as a connection is concerned.

What the decoder says to each of them is proved in tests/protocol/test_socketio.py. Here the packets arrive on a joined
connection, by WebSocket and by polling: it is closed, its socket is told "forced close", and nobody else notices.
"""

from __future__ import annotations

import base64
import gc
import json
import re
from collections.abc import Sequence
from typing import Final

import pytest
import trio

from tests.hostile.http import hang_up
from tests.hostile.journal import Journal
from tests.hostile.test_websocket import TEXT, frame
from tests.hostile.victim import (
    BOUND,
    CLEAN_CODES,
    POLLING,
    RECORD_SEPARATOR,
    PollingSession,
    Session,
    Victim,
    WebSocketSession,
    assert_refused,
)
from trio_sio import Context, Limits, Next, Route, Socket, on_connection, on_disconnection, on_message
from trio_sio.namespaces.client import Client
from trio_sio.testing import WebSocketClosed

PLACEHOLDER: Final = '{"_placeholder":true,"num":0}'
BINARY: Final = f'451-["note",{PLACEHOLDER}]'
FORCED_CLOSE: Final = "forced close"
ENDED: Final = r"ended: forced close \("


class Gate:
    """Connection middleware that lets nobody pass.

    Attributes:
      arrived: How many came.
    """

    def __init__(self) -> None:
        self.arrived = 0
        self._waiting = 0
        self._changed = trio.Event()
        self._open = trio.Event()

    async def __call__(self, ctx: Context, call_next: Next) -> object:
        self.arrived += 1
        self._change(1)
        try:
            await self._open.wait()
        finally:
            self._change(-1)
        return await call_next()

    def _change(self, number: int) -> None:
        self._waiting += number
        self._changed.set()
        self._changed = trio.Event()

    async def wait_for(self, number: int) -> None:
        """Return when ``number`` clients wait before it."""
        with trio.fail_after(BOUND):
            while self._waiting != number:
                await self._changed.wait()


class Unreachable:
    """Behind the gate: whatever runs here is a failure."""

    def __init__(self, socket: Socket) -> None:
        raise AssertionError(f"{socket!r} passed the gate.")

    @on_connection
    @on_disconnection
    @on_message("note")
    def fail(self, *args: object) -> None:
        raise AssertionError(f"A handler behind the gate ran with {args!r}.")


class Application:
    """What the rows need besides `tests.hostile.victim.Application`."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("echo")
    def echo(self, value: object) -> object:
        return value

    @on_message("leave")
    async def leave(self) -> None:
        await self.socket.disconnect()

    @on_message("join")
    async def join(self, *rooms: str) -> str:
        try:
            await self.socket.join(*rooms)
        except ValueError as error:
            return str(error)
        return f"in {len(self.socket.rooms)} rooms"

    @on_message("ask", concurrent=True)
    async def ask(self, timeout: float | None) -> object:
        try:
            return await self.socket.emit_with_ack("question", timeout=timeout)
        except trio.TooSlowError:
            return "too slow"

    @on_message("pending")
    def pending(self) -> int:
        return len(self.socket._core.waiters._answers or ())


class Holder:
    """Shared by all its sockets: keeps every event.

    Attributes:
      held: How many handlers began.
      go_on: Lets them end.
    """

    def __init__(self) -> None:
        self.held = 0
        self.go_on = trio.Event()

    @on_message("one by one")
    async def hold(self) -> None:
        self.held += 1
        await self.go_on.wait()

    @on_message("all at once", concurrent=True)
    async def hold_more(self) -> None:
        await self.hold()


@pytest.fixture
def holder() -> Holder:
    """The controller of the namespace ``/hold``."""
    return Holder()


@pytest.fixture
def gate() -> Gate:
    """The middleware of the namespace ``/gate``."""
    return Gate()


@pytest.fixture
def routes(gate: Gate, holder: Holder) -> Sequence[Route]:
    """``/gate`` lets nobody in; ``/app`` and ``/app-1``, ``/app-2``, ... do things; ``/hold`` does not finish any."""
    return [
        Route("/hold", holder),
        Route("/gate", Unreachable, connection_middleware=[gate]),
        Route("/app", Application),
        Route(re.compile(r"/app-\d+"), Application),
    ]


async def unjoined(victim: Victim, transport: str) -> Session:
    """Return a client that has not sent CONNECT."""
    if transport == "websocket":
        websocket = await victim.open_websocket()
        with trio.fail_after(BOUND):
            opened = str(await websocket.receive())
        return WebSocketSession(victim, websocket, json.loads(opened[1:]), "")
    response = await victim.request(POLLING)
    return PollingSession(victim, json.loads(response.body[1:]))


def payload(*messages: str | bytes) -> bytes:
    """Return ``messages`` as the body of a POST."""
    return RECORD_SEPARATOR.join(m.encode() if isinstance(m, str) else b"b" + base64.b64encode(m) for m in messages)


async def send(session: Session, *messages: str | bytes) -> None:
    """Send what the server has to take."""
    await (session.send(*messages) if isinstance(session, WebSocketSession) else session.send(payload(*messages)))


async def receive(session: Session, count: int = 1) -> list[str]:
    """Return the next ``count`` text messages."""
    if isinstance(session, WebSocketSession):
        return [str(await session.receive()) for _ in range(count)]
    received: list[str] = []
    while len(received) < count:
        received += (await session.poll()).decode().split("\x1e")
    assert len(received) == count
    return received


async def enter(session: Session, namespace: str = "/app") -> str:
    """Join ``namespace`` and return the answer: what comes before it may not be said."""
    await send(session, f"40{namespace},")
    (connected,) = await receive(session)
    assert connected.startswith(f'40{namespace},{{"sid":')
    return connected


async def send_fatal(session: Session, *messages: str | bytes) -> None:
    """Send something of which the last message has to close the connection, and assert that it did."""
    if isinstance(session, WebSocketSession):
        await session.send(*messages)
        assert await session.closed() in CLEAN_CODES
    else:
        assert_refused(await session.post(payload(*messages)), 3)


async def assert_forced_close(session: Session, *messages: str | bytes) -> None:
    """Assert that ``messages`` close the connection of a joined client, and that this is what its socket is told."""
    await send_fatal(session, *messages)
    assert await session.victim.reason(session.socket_id) == FORCED_CLOSE


def deep(opening: str, closing: str, levels: int = 100_000) -> str:
    return f'42["note",{opening * levels}{closing * levels}]'


# Every row with the messages each of which, on a joined connection, is its end.
FATAL: Final[dict[str, Sequence[str]]] = {
    "S01": ["4"],
    "S02": ["47", "49", "4x", '47["note",1]'],
    "S03": ['44{"message":"refused"}', '44"refused"'],
    "S05": ["40", '40{"token":1}', "40/,"],
    "S09": ["40/" + "n" * 255, "40/" + "n" * 100_000 + ",", '42/a\nb,["note",1]'],
    "S10": ["40/app,[]", '40/app,"x"', "40/app,null", "40/app,{", "40/app,{}{}"],
    "S12": ['40/app,{"token":"' + "x" * (64 * 1024) + '"}'],
    "S14": ['42/app,["note",1]', "43/app,1[]", "41/app,", f'451-/app,["note",{PLACEHOLDER}]'],
    "S16": ["41{}", "41[]", '41"bye"', "41/app,{}"],
    "S18": ["42", "421"],
    "S19": ["42{}", "42[]", '42"note"', "42null", "42[null]", "42[{}]", "42[[]]", "42[true]"],
    "S20": ["42[1.5]"],
    "S22": ['42["note"', '42["note",1]x', "42['note']", '42["note",]'],
    "S23": ['42 ["note"]', '42\ufeff["note"]', '4 2["note"]'],
    "S24": [f'42["{name}",1]' for name in ("connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener")],
    "S27": ['42["note",NaN]', '42["note",Infinity]', '42["note",-Infinity]', '42["note",{"a":[NaN]}]'],
    "S28": ['42["note",1e999]', '42["note",-1e999]'],
    "S29": ['42["note",' + "1" * 5_000 + "]"],
    "S31": [deep("[", "]"), deep('{"a":', "}").replace('{"a":}', '{"a":1}'), '42["note",' + "[" * 100_000, deep("[", "]", 513)],
    "S32": ['451-["note",' + "[" * 600 + PLACEHOLDER + "]" * 600 + "]"],
    "S33": ['42["note"' + ",1" * 100_000 + "]", '42["note"' + ",1" * 1_025 + "]"],
    "R10": ['42["note",[' + "[]," * 330_000 + "1]]", '42["note",[' + "[[]]," * 198_000 + "1]]"],
    "S35": [f'42{2**53}["note",1]'],
    "S36": ["42" + "9" * 400 + '["note",1]', "43" + "9" * 400 + "[]"],
    "S37": ['42-1["note",1]', '421.5["note",1]', '420x1["note",1]', '42²["note",1]', '42١["note",1]'],
    "S41": ["431{}", '431"x"', "431null"],
    "S45": ['450-["note",1]', f'450-["note",{PLACEHOLDER}]', "460-1[1]"],
    "S46": ['45["note",1]', '45-1-["note",1]', '451.5-["note",1]', '45-["note",1]', '45 -["note",1]', "45" + "1" * 100_000 + '-["note"]'],
    "S47": ['451e1-["note",1]', '450x1-["note",1]', '45²-["note",1]'],
    "S48": ['4511-["note",1]', '451000000000-["note",1]', '4599999999999999999999-["note",1]'],
    "S53": [
        f'451-["note",{{"_placeholder":true,"num":{num}}}]'
        for num in ("1", "-1", '"0"', "null", "true", "[0]", "1e0", "99999999999999999999")
    ]
    + ['451-["note",{"_placeholder":true}]'],
    "S54": ['451-["note",{"_placeholder":true,"num":0.5}]'],
    "S55": ['451-["note",{"_placeholder":true,"num":0.0}]'],
    "S59": [
        f"451-[{PLACEHOLDER}]",
        f'451-{{"a":{PLACEHOLDER}}}',
        f'451-["disconnect",{PLACEHOLDER}]',
        f'451-["newListener",{PLACEHOLDER}]',
    ],
}


@pytest.mark.parametrize("packets", [pytest.param(FATAL[row], marks=pytest.mark.hostile(row), id=row) for row in FATAL])
async def test_packet_closes_the_connection(victim: Victim, transport: str, journal: Journal, packets: Sequence[str]) -> None:
    for packet in packets:
        session = await victim.join(transport)
        await assert_forced_close(session, packet)
    victim.no_note()
    journal.expect(ENDED, times=len(packets))


# Before, and beside, the CONNECT of a namespace.


@pytest.mark.hostile("S03", "S04")
@pytest.mark.parametrize("packet", ['42["note",1]', "431[]", "41", '44{"message":"no"}', BINARY, f"461-1[{PLACEHOLDER}]"])
async def test_packet_before_connect(victim: Victim, transport: str, journal: Journal, packet: str) -> None:
    # Of the binary packets only the header is sent: they are refused before anything is kept for them.
    await send_fatal(await unjoined(victim, transport), packet)
    victim.no_note()
    journal.expect(ENDED + ".*not joined|" + ENDED + "a client does not send CONNECT_ERROR")


@pytest.mark.hostile("S06")
async def test_connect_again_while_middleware_runs(victim: Victim, transport: str, gate: Gate, journal: Journal) -> None:
    session = await victim.join(transport)
    await assert_forced_close(session, "40/gate,", "40/gate,", "40/gate,")
    await gate.wait_for(0)
    assert gate.arrived <= 1
    assert not victim.server.of("/gate").sockets
    journal.expect(ENDED + "a second CONNECT for namespace '/gate'")


@pytest.mark.hostile("S06")
async def test_connect_again_later(victim: Victim, transport: str, gate: Gate, journal: Journal) -> None:
    session = await victim.join(transport)
    await send(session, "40/gate,")
    await gate.wait_for(1)
    await assert_forced_close(session, "40/gate,")
    await gate.wait_for(0)
    assert gate.arrived == 1
    journal.expect(ENDED + "a second CONNECT for namespace '/gate'")


@pytest.mark.hostile("S07")
@pytest.mark.parametrize("packet", ['42/gate,["note",1]', "43/gate,1[]", "41/gate,", f'451-/gate,["note",{PLACEHOLDER}]'])
async def test_packet_while_connect_is_pending(victim: Victim, transport: str, gate: Gate, journal: Journal, packet: str) -> None:
    session = await victim.join(transport)
    await assert_forced_close(session, "40/gate,", packet)
    await gate.wait_for(0)
    assert gate.arrived <= 1
    journal.expect(ENDED + ".*not joined")


@pytest.mark.hostile("S08")
async def test_unknown_namespace(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "40/nope,")
    assert await receive(session) == ['44/nope,{"message":"Invalid namespace"}']
    await session.assert_lives()


@pytest.mark.hostile("S11")
async def test_ack_id_on_connect(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "40/app,5", '40/app-1,12{"token":1}')
    first, second = sorted(await receive(session, 2))
    assert first.startswith('40/app,{"sid":')
    assert second.startswith('40/app-1,{"sid":')


@pytest.mark.hostile("S13")
async def test_too_many_namespaces(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    names = [f"/app-{number}" for number in range(99)]
    namespaces = victim.server.namespaces
    before = len(list(namespaces))
    await send(session, *(f"40{name}," for name in names))
    assert len(await receive(session, 99)) == 99
    assert len(list(namespaces)) == before + 99
    await assert_forced_close(session, "40/app-99,")
    journal.expect(ENDED + "too many namespaces")
    with trio.fail_after(BOUND):
        while len(list(namespaces)) > before:
            gc.collect()
            await trio.lowlevel.checkpoint()


@pytest.mark.hostile("S13")
@pytest.mark.parametrize("settings", [{"limits": Limits(dynamic_namespaces=2)}])
async def test_too_many_dynamic_namespaces(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "40/app-1,", "40/app-2,", "40/app-3,")
    # A refusal needs no middleware, so it comes first.
    answers = sorted(await receive(session, 3))
    assert answers[2] == '44/app-3,{"message":"Invalid namespace"}'
    await send(session, "41/app-1,")
    await enter(session, "/app-3")


@pytest.mark.hostile("S14")
async def test_packets_that_cross_our_disconnect(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    connected = await enter(session)
    await send(session, '42/app,["leave"]')
    assert await receive(session) == ["41/app,"]
    # What a client may have sent before it heard of that.
    await send(session, '42/app,["echo",1]', '42/app,7["echo",1]', "43/app,1[]", f'451-/app,["echo",{PLACEHOLDER}]', b"x", "41/app,")
    await session.assert_lives()
    assert victim.server.engine.counters.crossed_packets == 5
    assert await enter(session) != connected
    await send(session, '42/app,8["echo",2]')
    assert await receive(session) == ["43/app,8[2]"]


@pytest.mark.hostile("S14")
async def test_packets_after_our_disconnect_was_heard(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    await enter(session)
    await send(session, '42/app,["leave"]')
    assert await receive(session) == ["41/app,"]
    # From its next CONNECT on the client has no excuse any more.
    await enter(session)
    await send(session, "41/app,")
    await assert_forced_close(session, '42/app,["echo",1]')
    journal.expect(ENDED + "EVENT for namespace '/app', which is not joined")


@pytest.mark.hostile("S15")
@pytest.mark.parametrize("packet", ['42["note",1]', "41", "431[]", BINARY])
async def test_packet_after_disconnect(victim: Victim, transport: str, journal: Journal, packet: str) -> None:
    session = await victim.join(transport)
    await send_fatal(session, '42["note","before"]', "41", packet)
    assert await victim.note() == "before"
    assert await victim.reason(session.socket_id) == "client namespace disconnect"
    victim.no_note()
    journal.expect(ENDED + ".*not joined")


@pytest.mark.hostile("S17")
async def test_connect_after_disconnect(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "41", "40")
    (connected,) = await receive(session)
    assert json.loads(connected[2:])["sid"] != session.socket_id
    assert await victim.reason(session.socket_id) == "client namespace disconnect"
    await session.assert_lives()


# Events and acknowledgements.


@pytest.mark.hostile("S20", "S21", "S25", "S26", "S62")
async def test_odd_names_are_only_names(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    names = ["", "error", "connection", "message", "ping", "__proto__", "toString", "__class__", "on_disconnect", "gone", "victim"]
    names += [f"event {number}" for number in range(1_000)]
    await send(session, "425[5]", *(f"42{json.dumps([name, 1])}" for name in names), '426["gone"]')
    unknown = '[{"status":"error","message":"Unknown event"}]'
    assert await receive(session, 2) == [f"435{unknown}", f"436{unknown}"]
    await session.assert_lives()


@pytest.mark.hostile("S30")
async def test_odd_values_come_back(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, r'427["echo",{"a":"\ud800\u0000","b":1,"b":-0}]')
    assert await receive(session) == [r'437[{"a":"\ud800\u0000","b":0}]']
    await session.assert_lives()


@pytest.mark.hostile("S34")
@pytest.mark.parametrize("item", ['"' + "x" * 990_000 + '",', "[]," * 190_000, "[[]]," * 95_000], ids=["string", "lists", "nested"])
async def test_a_million_bytes_of_one_value(victim: Victim, transport: str, item: str) -> None:
    session = await victim.join(transport)
    await send(session, f'42["note",[{item}1]]')
    value = await victim.note()
    assert isinstance(value, list)
    assert len(value) == item.count(",") + 1
    await session.assert_lives()


@pytest.mark.hostile("S63")
@pytest.mark.parametrize(("event", "most"), [("one by one", 1), ("all at once", Limits().concurrent_handlers)])
async def test_a_million_events_that_nobody_finishes(victim: Victim, holder: Holder, event: str, most: int) -> None:
    session = await victim.websocket()
    await enter(session, "/hold")
    connection = victim.server.engine.sessions.by_id[session.sid]
    client = connection.receiver
    assert isinstance(client, Client)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(session.websocket.stream.send_all, frame(TEXT, f'42/hold,["{event}"]'.encode()) * 1_000_000)
        with trio.fail_after(BOUND):
            while connection.accepting or holder.held < most:  # noqa: ASYNC110  # nothing tells
                await trio.sleep(0.005)
        await victim.settle()
        waiting = client.inbox.events
        await victim.settle()
        # Whatever else it sends stays in the kernel's buffers, and then with the client.
        assert (client.inbox.events, holder.held) == (waiting, most)
        assert waiting < 10_000
        nursery.cancel_scope.cancel()

    await hang_up(session.websocket.stream, reset=True)
    holder.go_on.set()


@pytest.mark.hostile("S38")
async def test_same_ack_id_twice(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, '421["echo","a"]', '421["echo","b"]')
    assert await receive(session, 2) == ['431["a"]', '431["b"]']


@pytest.mark.hostile("S39", "S61")
async def test_acks_that_nobody_waits_for(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "439[]", "43[]", "43", "430[1]", "430[1]", f"461-5[{PLACEHOLDER}]", b"swallowed")
    await session.assert_lives()


@pytest.mark.hostile("S39")
async def test_too_many_acks_that_nobody_waits_for(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    await send(session, *["439[]"] * 1_000)
    await session.assert_lives()
    await assert_forced_close(session, "439[]")
    journal.expect(ENDED + "too many acknowledgements")


@pytest.mark.hostile("S39", "S40", "S42")
async def test_the_first_ack_wins(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session)
    await send(session, '42/app,1["ask",5]')
    (question,) = await receive(session)
    match = re.fullmatch(r'42/app,(\d+)\["question"\]', question)
    assert match is not None
    # The same id in another namespace is another question; so is another id.
    await send(session, f'43{match[1]}["wrong"]', f'43/app,{match[1]}9["wrong"]', f"43/app,{match[1]}", f'43/app,{match[1]}["late"]')
    assert await receive(session) == ["43/app,1[null]"]


@pytest.mark.hostile("S42")
async def test_an_ack_for_somebody_else(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    other = await victim.websocket()
    await enter(session)
    await send(session, '42/app,1["ask",5]')
    (question,) = await receive(session)
    answer = question.removeprefix("42/app,").removesuffix('["question"]')
    await enter(other)
    await other.send(f'43/app,{answer}["forged"]', '42/app,2["echo",1]')
    assert await other.receive() == "43/app,2[1]"
    await send(session, f'43/app,{answer}["true"]')
    assert await receive(session) == ['43/app,1["true"]']


@pytest.mark.hostile("S44")
@pytest.mark.parametrize("settings", [{"ack_timeout": 0.1}], ids=["brisk"])
async def test_ack_that_never_comes(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session)
    await send(session, '42/app,1["ask",null]')
    assert (await receive(session, 2))[1] == '43/app,1["too slow"]'
    await send(session, '42/app,2["pending"]')
    assert await receive(session) == ["43/app,2[0]"]


@pytest.mark.hostile("S43")
async def test_ack_after_the_timeout(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await enter(session)
    await send(session, '42/app,1["ask",0.01]')
    question, answer = await receive(session, 2)
    assert answer == '43/app,1["too slow"]'
    late = question.removeprefix("42/app,").removesuffix('["question"]')
    await send(session, f"43/app,{late}[1]", '42/app,2["pending"]')
    assert await receive(session) == ["43/app,2[0]"]


# Attachments.


@pytest.mark.hostile("S49")
@pytest.mark.parametrize("settings", [{"attachment_stall_timeout": 0.2, "ping_interval": 0.05}])
async def test_attachments_that_never_come(victim: Victim, journal: Journal) -> None:
    session = await victim.websocket()
    pings = 0
    await session.send(BINARY)
    with pytest.raises(WebSocketClosed):
        while await session.receive() == "2":
            pings += 1
            await session.send("3")
    assert pings
    assert await victim.reason(session.socket_id) == FORCED_CLOSE
    journal.expect(ENDED + "an announced attachment did not come")


@pytest.mark.hostile("S49")
async def test_attachments_that_are_too_large_together(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    half = bytes(500_000)
    header = f'452-["note",{PLACEHOLDER}]'
    if isinstance(session, WebSocketSession):
        await assert_forced_close(session, header, half, half)
    else:
        await send(session, header, half)
        await assert_forced_close(session, half)
    journal.expect(ENDED + "A packet with its attachments is larger than 1000000 bytes")


@pytest.mark.hostile("S50")
@pytest.mark.parametrize("packet", ['42["note",1]', "41", "40/app,", "41/app,", BINARY, "430[]"])
async def test_text_where_an_attachment_is_missing(victim: Victim, transport: str, journal: Journal, packet: str) -> None:
    session = await victim.join(transport)
    await assert_forced_close(session, BINARY, packet)
    victim.no_note()
    journal.expect(ENDED + "A text message arrived before the attachments")


@pytest.mark.hostile("S51")
async def test_one_attachment_too_many(victim: Victim, transport: str, journal: Journal) -> None:
    session = await victim.join(transport)
    await assert_forced_close(session, BINARY, b"announced", b"not announced")
    assert await victim.note() == b"announced"
    journal.expect(ENDED + "A binary message arrived that no packet announced")


@pytest.mark.hostile("S52")
async def test_disconnect_amid_a_packet(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, f'453-["note",{PLACEHOLDER}]', bytes(1_000))
    if isinstance(session, WebSocketSession):
        await session.websocket.stream.aclose()
    else:
        await send(session, "1")
    # `victim` checks that no timer waits for the rest.
    assert await victim.reason(session.socket_id) == "transport close"
    victim.no_note()


@pytest.mark.hostile("S56", "S57", "S58", "S60")
async def test_odd_attachments_are_accepted(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    await send(session, "451-" + json.dumps(["note", [{"_placeholder": True, "num": 0}] * 1_000]), b"shared")
    shared = await victim.note()
    assert isinstance(shared, list)
    assert shared == [b"shared"] * 1_000
    assert {id(item) for item in shared} == {id(shared[0])}
    await send(session, '452-["note",1]', b"unused", b"")
    assert await victim.note() == 1
    await send(session, BINARY, b"")
    assert await victim.note() == b""
    await send(session, '42["note",{"_placeholder":"yes","num":0}]')
    assert await victim.note() == {"_placeholder": "yes", "num": 0}


# Rooms.


@pytest.mark.hostile("S64")
@pytest.mark.parametrize("settings", [{"limits": Limits(rooms_per_socket=50)}])
async def test_too_many_rooms(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    rooms = [f"room {number}" for number in range(51)]
    await enter(session)
    await send(session, f"42/app,1{json.dumps(['join', *rooms])}", f"42/app,2{json.dumps(['join', *rooms[:50]])}")
    refused, joined = await receive(session, 2)
    assert "Limits.rooms_per_socket" in refused
    assert joined == '43/app,2["in 51 rooms"]'  # and its own


@pytest.mark.hostile("S65")
async def test_the_room_of_somebody_else(victim: Victim, transport: str) -> None:
    session = await victim.join(transport)
    other = await victim.websocket()
    other_id = json.loads((await enter(other)).removeprefix("40/app,"))["sid"]
    await enter(session)
    await send(session, f"42/app,1{json.dumps(['join', other_id])}")
    (refused,) = await receive(session)
    assert "is the id of another socket" in refused
    assert not victim.server.of("/app").adapter.rooms_of(victim.server.of("/app").sockets[other_id])

"""What becomes of a handler's result: every cell of the table of results, and what replies go where."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_sio.errors import NoAck
from trio_sio.namespaces.acks import Ack
from trio_sio.namespaces.namespace import Namespace
from trio_sio.namespaces.socket import Socket
from trio_sio.routing import Context, Next, Route, RoutingTable, broadcasts, emits, on_connection, on_disconnection, on_message
from trio_sio.testing import StrictSocket, open_test_server

INTERNAL_ERROR = {"status": "error", "message": "Internal server error"}

RESULTS: dict[str, object] = {
    "None": None,
    "0": 0,
    "empty text": "",
    "False": False,
    "empty list": [],
    "dict": {"a": 1},
    "list": [1, 2],
    "tuple": (1, 2),
    "tuple of one": (1,),
    "empty tuple": (),
    "bytes": b"\x00\xff",
}


class Results:
    @on_message("get")
    @emits("r")
    async def get(self, what: str) -> object:
        return RESULTS[what]

    @on_message("get plainly")
    def get_plainly(self, what: str) -> object:
        return RESULTS[what]

    @on_message("silent")
    @emits("r")
    async def silent(self) -> object:
        raise NoAck

    @on_message("marker")
    async def marker(self) -> str:
        return "here"


@asynccontextmanager
async def open_client(*controllers: object, **options: Any) -> AsyncIterator[StrictSocket]:
    async with (
        open_test_server(RoutingTable(*(Route("/", controller) for controller in controllers), **options)) as server,
        server.strict_client() as client,
    ):
        yield client


async def events_until_now(client: StrictSocket) -> list[tuple[object, ...]]:
    """Return what arrived, up to what the server has handled by now."""
    await client.emit_with_ack("marker")
    return [(event.name, *event.args) for event in client.pending]


@pytest.mark.parametrize(
    ("what", "reply"),
    [
        ("None", None),
        ("0", ("r", 0)),
        ("empty text", ("r", "")),
        ("False", ("r", False)),
        ("empty list", ("r", [])),
        ("dict", ("r", {"a": 1})),
        ("list", ("r", [1, 2])),
        ("tuple", ("r", 1, 2)),
        ("tuple of one", ("r", 1)),
        ("empty tuple", ("r",)),
        ("bytes", ("r", b"\x00\xff")),
    ],
)
async def test_without_an_ack_the_result_is_emitted(what: str, reply: tuple[object, ...] | None) -> None:
    async with open_client(Results) as client:
        await client.emit("get", what)
        assert await events_until_now(client) == ([] if reply is None else [reply])


@pytest.mark.parametrize("event", ["get", "get plainly"])
@pytest.mark.parametrize(
    ("what", "frame"),
    [
        ("None", "430[null]"),
        ("0", "430[0]"),
        ("empty text", '430[""]'),
        ("False", "430[false]"),
        ("empty list", "430[[]]"),
        ("dict", '430[{"a":1}]'),
        ("list", "430[[1,2]]"),
        ("tuple", "430[1,2]"),
        ("tuple of one", "430[1]"),
        ("empty tuple", "430[]"),
        ("bytes", '461-0[{"_placeholder":true,"num":0}]'),
    ],
)
async def test_with_an_ack_the_result_is_the_ack_and_nothing_is_emitted(event: str, what: str, frame: str) -> None:
    async with open_test_server(RoutingTable(Route("/", Results))) as server, await server.websocket() as websocket:
        assert str(await websocket.receive()).startswith("0{")
        await websocket.send("40")
        assert str(await websocket.receive()).startswith("40{")
        await websocket.send(f'420["{event}","{what}"]')
        assert await websocket.receive() == frame
        if what == "bytes":
            assert await websocket.receive() == b"\x00\xff"
        await websocket.send('421["marker"]')
        assert await websocket.receive() == '431["here"]'


async def test_no_ack_is_never_answered(autojump_clock: MockClock) -> None:
    async with open_client(Results) as client:
        with pytest.raises(trio.TooSlowError):
            await client.emit_with_ack("silent", timeout=1)
        await client.emit("silent")
        assert await events_until_now(client) == []


class Announcer:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    async def enter(self) -> None:
        await self.socket.join("lobby", str(self.socket.handshake.auth.get("name")))

    @on_message("say")
    @emits("reply")
    @emits("to lobby", to="lobby")
    @emits("to two", to=["lobby", "other"])
    @broadcasts("in lobby", to="lobby")
    @broadcasts("everywhere")
    async def say(self, text: str) -> tuple[str, int]:
        return text, 1

    @on_message("say nothing")
    @broadcasts("everywhere")
    async def say_nothing(self) -> None: ...

    @on_message("marker")
    async def marker(self) -> None: ...


@pytest.mark.parametrize("with_ack", [False, True])
async def test_replies_with_rooms_exclude_the_sender_and_broadcasts_do_not(with_ack: bool) -> None:
    async with (
        open_test_server(RoutingTable(Route("/", Announcer))) as server,
        server.strict_client() as sender,
        server.strict_client(auth={"name": "other"}) as listener,
    ):
        if with_ack:
            assert await sender.emit_with_ack("say", "hi") == ("hi", 1)
        else:
            await sender.emit("say", "hi")
        own = await events_until_now(sender)
        heard = await events_until_now(listener)
    everywhere = [("in lobby", "hi", 1), ("everywhere", "hi", 1)]
    # The ack takes the place of the reply, and of nothing else.
    assert own == (everywhere if with_ack else [("reply", "hi", 1), *everywhere])
    assert heard == [("to lobby", "hi", 1), ("to two", "hi", 1), *everywhere]


async def test_nothing_is_broadcast_when_there_is_no_result() -> None:
    async with open_client(Announcer) as client:
        await client.emit("say nothing")
        assert await events_until_now(client) == []


class BrokenBus(Announcer):
    @on_message("shout")
    @broadcasts("everywhere")
    async def shout(self) -> str:
        return "heard"


async def test_an_event_is_answered_once_also_when_a_broadcast_fails_after_it(monkeypatch: pytest.MonkeyPatch) -> None:
    async def broken(self: Namespace, event: str, *args: object) -> None:
        raise OSError("The bus is down.")

    monkeypatch.setattr(Namespace, "emit", broken)
    async with open_client(BrokenBus) as client:
        # The test client fails on a second answer.
        assert await client.emit_with_ack("shout") == "heard"
        assert await client.emit_with_ack("marker") is None


class Farewell:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_connection
    @emits("welcome")
    async def enter(self) -> str:
        return self.socket.id

    @on_disconnection
    @emits("left", to="lobby")
    @broadcasts("gone")
    def leave(self, reason: str) -> str:
        return reason

    @on_message("enter")
    async def enter_lobby(self) -> None:
        await self.socket.join("lobby")


async def test_results_of_hooks_are_sent_too() -> None:
    async with open_test_server(RoutingTable(Route("/", Farewell))) as server, server.strict_client() as listener:
        assert await listener.once("welcome") == (listener.id,)
        await listener.emit_with_ack("enter")
        async with server.strict_client() as client:
            assert await client.once("welcome") == (client.id,)
            await client.disconnect()
        assert await listener.once("left") == ("client namespace disconnect",)
        assert await listener.once("gone") == ("client namespace disconnect",)


class Acks:
    def __init__(self, socket: Socket) -> None:
        self.socket = socket

    @on_message("now")
    @emits("r")
    async def now(self, ack: Ack) -> str:
        await ack("a", 2)
        await ack("the second answer does not count")
        return "ignored"

    @on_message("later")
    async def later(self, ack: Ack) -> None:
        self.socket.start_soon(self.answer, ack)

    async def answer(self, ack: Ack) -> None:
        await ack("later")

    @on_message("wanted")
    @emits("wanted")
    def wanted(self, ack: Ack, ctx: Context) -> tuple[bool, bool]:
        return ack.wanted, ctx.wants_ack

    @on_message("fail first")
    async def fail_first(self, ack: Ack) -> None:
        raise ValueError

    @on_message("fail after")
    async def fail_after(self, ack: Ack) -> None:
        await ack("done")
        raise ValueError

    @on_message("never")
    async def never(self, ack: Ack) -> str:
        return "ignored"

    @on_message("marker")
    async def marker(self) -> None: ...


async def test_an_ack_object_answers_now_or_later_instead_of_the_result(autojump_clock: MockClock) -> None:
    async with open_client(Acks) as client:
        assert await client.emit_with_ack("now") == ("a", 2)
        assert await client.emit_with_ack("later") == "later"
        with pytest.raises(trio.TooSlowError):
            await client.emit_with_ack("never", timeout=1)
        assert await events_until_now(client) == []


async def test_an_ack_object_that_nobody_wants_does_nothing() -> None:
    async with open_client(Acks) as client:
        await client.emit("wanted")
        assert await client.once("wanted") == (False, False)
        await client.emit("now")
        assert await client.once("r") == ("ignored",)


async def test_an_unused_ack_object_is_answered_when_the_handler_raises() -> None:
    async with open_client(Acks) as client:
        assert await client.emit_with_ack("fail first") == INTERNAL_ERROR
        assert await client.emit_with_ack("fail after") == "done"
        assert await events_until_now(client) == []


async def test_middleware_that_answers_itself_answers_for_an_ack_object_too() -> None:
    async def closed(ctx: Context, call_next: Next) -> object:
        return "closed" if ctx.event == "never" else await call_next()

    async with open_client(Acks, message_middleware=[closed]) as client:
        assert await client.emit_with_ack("never") == "closed"
        assert await client.emit_with_ack("now") == ("a", 2)


class Kinds:
    @on_message("static")
    @staticmethod
    async def static(value: int) -> int:
        return value + 1

    @on_message("class")
    @classmethod
    def of_class(cls, value: int) -> str:
        return f"{cls.__name__} {value}"

    @on_message("keyword")
    async def keyword(self, value: int, *, socket: Socket) -> str:
        return f"{socket.id} {value}"


async def test_every_kind_of_method_can_be_a_handler() -> None:
    async with open_client(Kinds) as client:
        assert await client.emit_with_ack("static", 1) == 2
        assert await client.emit_with_ack("class", 1) == "Kinds 1"
        assert await client.emit_with_ack("keyword", 1) == f"{client.id} 1"

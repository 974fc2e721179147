"""Tasks that listen to rooms."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from tests.namespaces.standins import Standins
from trio_sio import Config, EncodeError, Lagged, Namespace, Recovery, RoomEvent, Server, Subscription
from trio_sio.namespaces import taps

Clock = trio.testing.MockClock


def received(channel: Subscription) -> list[RoomEvent]:
    """What waits in a subscription."""
    return list(channel._events)


def names(channel: Subscription) -> list[str]:
    return [event.name for event in received(channel)]


async def test_it_hears_what_is_broadcast_to_its_rooms_and_to_everybody() -> None:
    standins = Standins(1)
    namespace, (socket,) = standins.namespace, standins.sockets
    async with namespace.subscribe("lobby", "other") as channel:
        namespace.to("lobby").emit_nowait("room", 1)
        namespace.to("lobby", "other").emit_nowait("both, once", 2)
        namespace.emit_nowait("everybody", b"\x00")
        namespace.to("lobby").volatile().emit_nowait("volatile")
        namespace.to("lobby").local.emit_nowait("local")
        socket.to("other").emit_nowait("from a socket")
        socket.broadcast.emit_nowait("from a socket to everybody")

        assert [await channel.receive() for _ in range(7)] == [
            ("room", (1,)),
            ("both, once", (2,)),
            ("everybody", (b"\x00",)),
            ("volatile", ()),
            ("local", ()),
            ("from a socket", ()),
            ("from a socket to everybody", ()),
        ]


async def test_it_does_not_hear_what_is_for_others() -> None:
    standins = Standins(1)
    namespace, (socket,) = standins.namespace, standins.sockets
    async with namespace.subscribe("lobby") as channel, namespace.subscribe() as everybody, namespace.subscribe(socket.id) as private:
        namespace.to("elsewhere").emit_nowait("elsewhere")
        namespace.except_("lobby").emit_nowait("except")
        namespace.to("lobby", "elsewhere").except_("lobby").emit_nowait("never mind")
        namespace.to(socket.id).emit_nowait("to the room of a socket")
        socket.emit_nowait("direct")

        assert names(channel) == []
        assert names(everybody) == ["except"]
        assert names(private) == ["except", "to the room of a socket"]  # the room that it subscribed to


async def test_a_loop_receives_until_it_is_left(autojump_clock: Clock) -> None:
    namespace, heard = Standins(0).namespace, list[tuple[object, ...]]()

    async def listen(task_status: trio.TaskStatus[None]) -> None:
        async with namespace.subscribe("lobby") as channel:
            task_status.started()
            async for event in channel:
                heard.append(event.args)

    async with trio.open_nursery() as nursery:
        await nursery.start(listen)
        for number in range(3):
            await namespace.to("lobby").emit("x", number)
            await trio.testing.wait_all_tasks_blocked()
        assert heard == [(0,), (1,), (2,)]
        nursery.cancel_scope.cancel()

    assert namespace.taps == set()


async def test_it_hears_questions_and_nobody_waits_for_its_answer(autojump_clock: Clock) -> None:
    namespace = Standins(0).namespace
    async with namespace.subscribe("lobby") as channel:
        assert await namespace.to("lobby").emit_with_ack("question", 1) == []
        assert received(channel) == [("question", (1,))]
        assert await namespace.to("lobby").count_sockets() == 0
        assert list(await namespace.to("lobby").fetch_sockets()) == []


@pytest.mark.hostile("P19")
async def test_what_the_emitter_changes_afterwards_is_not_heard() -> None:
    namespace, value = Standins(0).namespace, {"n": [1]}
    async with namespace.subscribe() as channel:
        namespace.emit_nowait("x", value)
        value["n"].append(2)

        assert received(channel) == [("x", ({"n": [1]},))]


@pytest.mark.parametrize("args", [(object(),), ({"_placeholder": True, "num": 7}, b"y")], ids=["object", "lookalike"])
async def test_what_cannot_be_sent_is_not_heard(args: tuple[object, ...]) -> None:
    standins = Standins(1)
    namespace = standins.namespace
    async with namespace.subscribe() as channel:
        with pytest.raises(EncodeError):
            namespace.emit_nowait("x", *args)

        assert names(channel) == []
    assert standins.received() == [0]


@pytest.mark.parametrize("parser", ["json", "msgpack"])
@pytest.mark.parametrize("recovery", [None, Recovery()])
async def test_what_it_hears_depends_neither_on_the_parser_nor_on_recovery(parser: str, recovery: Recovery | None) -> None:
    config = Config(parser=parser, connection_state_recovery=recovery)  # type: ignore[arg-type]
    namespace = Namespace("/chat", Server(config=config), config)
    args = ("é", 1.5, [None, True, {"a": b"\x01\x02"}], b"", *range(2000))
    async with namespace.subscribe() as channel:
        namespace.emit_nowait("x", *args)
        namespace.volatile().emit_nowait("x")

        assert received(channel) == [("x", args), ("x", ())]


# Lag.


async def test_who_lags_is_told_where_the_gap_is() -> None:
    namespace = Standins(0).namespace
    async with namespace.subscribe("a", size=2) as channel:
        for number in range(5):
            namespace.emit_nowait("x", number)
        assert (await channel.receive()).args == (0,)
        namespace.emit_nowait("x", 5)  # there is room, but the gap comes first
        assert (await channel.receive()).args == (1,)
        with pytest.raises(Lagged, match="4 events were lost") as raised:
            await channel.receive()
        assert raised.value.missed == channel.lost == 4

        namespace.emit_nowait("x", 6)
        assert (await channel.receive()).args == (6,)


async def test_who_does_not_mind_gets_the_newest() -> None:
    namespace = Standins(0).namespace
    async with namespace.subscribe("a", lag="drop", size=2) as channel:
        for number in range(5):
            namespace.emit_nowait("x", number)

        assert [event.args for event in received(channel)] == [(3,), (4,)]
        assert channel.lost == 3


async def test_one_that_lags_holds_up_nobody() -> None:
    standins = Standins(1)
    async with standins.namespace.subscribe(size=1), standins.namespace.subscribe() as quick:
        for number in range(3):
            standins.namespace.emit_nowait("x", number)

        assert [event.args for event in received(quick)] == [(0,), (1,), (2,)]
        assert standins.received() == [3]


# Its life.


async def test_it_hears_nothing_before_it_is_entered_and_after_it_was_left() -> None:
    namespace = Standins(0).namespace
    subscription = namespace.subscribe()
    namespace.emit_nowait("before")
    with pytest.raises(trio.ClosedResourceError, match="This subscription is not open"):
        await subscription.receive()
    async with subscription:
        assert names(subscription) == []
    namespace.emit_nowait("after")

    assert (names(subscription), namespace.taps) == ([], set())
    with pytest.raises(trio.ClosedResourceError):
        await subscription.receive()


async def test_closing_it_wakes_who_waits(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery, Standins(0).namespace.subscribe() as channel:

        async def wait() -> None:
            with pytest.raises(trio.ClosedResourceError):
                await channel.receive()

        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        await channel.aclose()


async def test_several_tasks_may_share_one(autojump_clock: Clock) -> None:
    namespace, heard = Standins(0).namespace, list[tuple[str, int]]()
    async with trio.open_nursery() as nursery, namespace.subscribe() as channel:

        async def listen(name: str) -> None:
            async for event in channel:
                heard.append((name, cast("int", event.args[0])))

        nursery.start_soon(listen, "a")
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(listen, "b")
        await trio.testing.wait_all_tasks_blocked()
        namespace.emit_nowait("x", 1)
        namespace.emit_nowait("x", 2)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert sorted(name for name, _ in heard) == ["a", "b"]
    assert sorted(number for _, number in heard) == [1, 2]


@pytest.mark.parametrize(
    ("rooms", "options", "error"),
    [
        ((["a", "b"],), {}, r"Room \['a', 'b'\] is not a string; to subscribe to several rooms write subscribe\('a', 'b'\)"),
        (("a",), {"lag": "wait"}, r'lag is \'wait\'; choose "raise" or "drop"'),
        (("a",), {"size": 0}, "size is 0; it must be an integer of at least 1"),
        (("a",), {"size": 2.5}, "size is 2.5; it must be an integer"),
    ],
)
def test_what_makes_no_sense_is_refused(rooms: tuple[str, ...], options: dict[str, object], error: str) -> None:
    with pytest.raises((TypeError, ValueError), match=error):
        Server().subscribe(*rooms, **options)  # type: ignore[arg-type]


def test_without_one_nothing_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taps, "_copy", None)  # which would raise
    Standins(1).namespace.emit_nowait("x")


# Through a server.


@asynccontextmanager
async def lobby() -> AsyncIterator[tuple[Server, Handler]]:
    handler = Handler()
    async with open_namespaces(handler) as in_memory, in_memory.strict_client():
        assert isinstance(in_memory.server, Server)
        yield in_memory.server, handler


async def test_the_server_s_are_those_of_its_main_namespace() -> None:
    async with lobby() as (server, handler), server.subscribe("lobby") as main, server.of("/other").subscribe("lobby") as other:
        await handler.socket.to("lobby").emit("hello", "tasks")

        assert await main.receive() == RoomEvent("hello", ("tasks",))
        assert names(other) == []

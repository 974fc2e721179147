"""Clients that come back: what they get, what they must not get, and when they are strangers again."""

from __future__ import annotations

import gc
import re
from dataclasses import replace

import pytest
import trio
import trio.testing

from tests.namespaces.recovering import CONFIG, Stage, open_stage
from trio_sio import Config, ConfigurationError, Limits, Server
from trio_sio.namespaces.adapter import InMemoryAdapter


async def send_everything(stage: Stage) -> None:
    """Emit in every way there is, to clients of which the first is in room ``a``."""
    (first, *_), server = stage.sockets, stage.server
    await first.emit("direct", 1)
    first.emit_nowait("direct", 2)
    await server.to("a").emit("room", 3)
    await server.emit("all", 4, "text")
    await server.to(first.id).emit("private", 5)


EVERYTHING = [["direct", 1], ["direct", 2], ["room", 3], ["all", 4, "text"], ["private", 5]]


async def test_who_comes_back_is_the_same_and_gets_what_was_missed() -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await stage.socket.join("a", "b")
        stage.socket.data["name"] = "Ada"
        await send_everything(stage)
        assert await peer.heard() == EVERYTHING
        first, first_id = stage.socket, peer.id
        await peer.cut()
        assert stage.server.of("/").sockets == {}

        await stage.server.to("a").emit("room", 6)
        await stage.server.emit("all", 7)
        await stage.server.to(first.id).emit("private", 8)
        await first.emit("direct", 9)
        first.emit_nowait("direct", 10)
        await peer.connect()

        assert (peer.recovered, peer.id) == (True, first_id)
        socket = stage.socket
        assert socket is not first
        assert (socket.recovered, socket.id, socket.data) == (True, first_id, {"name": "Ada"})
        assert socket.rooms == {first_id, "a", "b"}
        await stage.server.to("a").emit("room", 11)
        assert await peer.heard() == [["room", 6], ["all", 7], ["private", 8], ["direct", 9], ["direct", 10], ["room", 11]]
        assert stage.steps == ["came", "transport close", "came back"]


async def test_what_was_under_way_when_the_wire_broke_is_not_lost() -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await stage.socket.join("a")
        await stage.socket.emit("direct", 0)
        assert await peer.event() == ["direct", 0]
        await send_everything(stage)
        await trio.testing.wait_all_tasks_blocked()
        assert len(stage.socket.outbox) == 0  # the network has it
        await peer.cut()
        await peer.connect()
        assert peer.recovered
        assert await peer.heard() == EVERYTHING


async def test_a_client_that_has_heard_nothing_yet_comes_back() -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await stage.server.emit("all", "before it came")
        await peer.connect()
        await peer.cut()
        await stage.server.emit("all", 1)
        await peer.connect()
        assert (peer.recovered, peer.offset) == (True, None)
        await peer.cut()  # again without having heard anything
        await stage.server.emit("all", 2)
        await peer.connect()
        assert peer.recovered
        assert await peer.heard() == [["all", 1], ["all", 2]]


@pytest.mark.parametrize("restarted", [False, True])
async def test_the_offset_of_an_earlier_session_is_not_taken_for_one_of_this(
    restarted: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """The official client keeps its offset when it gets a new session, here or at a server that has been restarted."""
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await stage.server.emit("all", 1)
        await peer.heard()
        await peer.cut()
        await trio.sleep(121)
        if restarted:
            peer.offset = "elsewh.ffff"
        await peer.connect()
        assert (peer.recovered, await peer.heard()) == (False, [])
        await peer.cut()
        await stage.server.emit("all", 2)
        await peer.connect()
        assert peer.recovered
        assert await peer.heard() == [["all", 2]]


async def test_rooms_are_those_of_the_moment() -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        socket, server = stage.socket, stage.server
        await socket.join("left")
        await server.to("left").emit("heard", 1)
        await socket.leave("left")
        await server.to("left").emit("not heard", 2)
        await socket.join("left")
        await server.to("left").emit("heard", 3)
        await server.in_("left").sockets_leave("left")
        await server.to("left").emit("not heard", 4)
        await server.to("joined").emit("not heard", 5)
        await socket.join("joined")
        await server.except_("left").emit("heard", 6)
        await server.except_("joined").emit("not heard", 7)
        await server.to("joined", "other").except_("left").emit("heard", 8)
        await socket.broadcast.emit("not heard", 9)
        await socket.to("joined").emit("not heard", 10)
        await server.except_(socket.id).emit("not heard", 11)
        await peer.cut()
        await server.to("joined").except_("left").emit("heard", 12)
        await server.except_("joined").emit("not heard", 13)
        await peer.connect()
        assert await peer.heard() == [["heard", 1], ["heard", 3], ["heard", 6], ["heard", 8], ["heard", 12]]


async def test_acknowledged_and_volatile_events_are_not_recovered_and_have_no_offset() -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await stage.server.emit("all", 1)
        await peer.heard()
        offset = peer.offset
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.socket.emit_with_ack, "question", "text")
            assert await peer.receive() == '420["question","text"]'
            await peer.websocket.send("430[]")
        for args in ((), ("text",), (1, "text"), ("text", None), (7,), ({"a": "b"},)):
            await stage.server.volatile().emit("volatile", *args)
        assert await peer.heard() == [
            ["volatile", None],
            ["volatile", "text", None],
            ["volatile", 1, "text", None],
            ["volatile", "text", None],
            ["volatile", 7],
            ["volatile", {"a": "b"}],
        ]
        assert peer.offset == offset
        await peer.cut()
        await stage.server.volatile().emit("volatile", 2)
        await stage.socket.volatile().emit("volatile", 3)
        await stage.server.emit("all", 4)
        await peer.connect()
        assert await peer.heard() == [["all", 4]]


async def test_attachments_are_recovered() -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await peer.cut()
        await stage.server.emit("bytes", b"\x01\x02")
        await peer.connect()
        header = str(await peer.receive())
        assert header.startswith('451-["bytes",{"_placeholder":true,"num":0},"')
        assert await peer.receive() == b"\x01\x02"


async def test_packets_that_are_no_events_have_no_place_in_it() -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await peer.heard()  # answers of the server
        assert stage.store().log.position == 0


async def test_without_the_option_nothing_changes() -> None:
    async with open_stage(Config()) as stage:
        peer = stage.peer()
        await peer.connect()
        assert peer.pid is None
        await stage.server.emit("all")
        await stage.server.volatile().emit("volatile", "text")
        await stage.socket.emit("direct", "text")
        assert [await peer.receive() for _ in range(3)] == ['42["all"]', '42["volatile","text"]', '42["direct","text"]']
        await peer.cut()
        await peer.connect(pid="x", offset="y")
        assert not stage.socket.recovered


async def test_namespaces_are_recovered_by_themselves() -> None:
    async with open_stage(CONFIG, "/other") as stage:
        main, other = stage.peer(), stage.peer("/other")
        await main.connect()
        other.websocket = main.websocket
        await other.ask()
        await other.joined()
        assert main.pid != other.pid
        await stage.server.emit("all", 1)
        assert await main.event() == ["all", 1]
        await main.cut()
        await stage.server.emit("all", 2)
        await stage.server.of("/other").emit("all", 3)
        # A pid is good for its own namespace only.
        main.pid, other.pid = other.pid, main.pid
        await main.connect()
        assert (main.recovered, await main.heard()) == (False, [])
        other.pid = None
        await other.connect()
        assert (other.recovered, await other.heard()) == (False, [])


async def test_a_namespace_made_by_a_pattern_is_kept_for_those_who_are_away(autojump_clock: trio.testing.MockClock) -> None:
    async with open_stage(CONFIG, re.compile("/room-[0-9]+")) as stage:
        peer = stage.peer("/room-1")
        await peer.connect()
        await peer.cut()
        stage.sockets.clear()
        gc.collect()
        stage.server.of("/room-1").emit_nowait("all", 1)
        await peer.connect()
        assert peer.recovered
        assert await peer.heard() == [["all", 1]]
        await peer.cut()
        stage.sockets.clear()
        await trio.sleep(121)
        gc.collect()
        assert "/room-1" not in stage.server.namespaces._others


async def test_namespaces_of_those_who_are_away_count_until_they_are_given_up(autojump_clock: trio.testing.MockClock) -> None:
    config = replace(CONFIG, limits=Limits(dynamic_namespaces=2))
    async with open_stage(config, re.compile(r"/room-\d")) as stage:
        namespaces = stage.server.namespaces

        def in_use() -> set[str]:
            return {namespace.name for namespace in namespaces._in_use}

        first, second, third = (stage.peer(f"/room-{number}") for number in range(3))
        for peer in (first, second):
            await peer.connect()
            await peer.cut()
        assert in_use() == {"/room-0", "/room-1"}
        await third.open()
        await third.ask()
        assert await third.receive() == '44/room-2,{"message":"Invalid namespace"}'
        # Who comes back needs no place of its own, even where nobody else is left.
        assert await first.connect()
        await first.leave()
        assert in_use() == {"/room-1"}
        await third.ask()
        await third.joined()
        assert in_use() == {"/room-1", "/room-2"}
        await third.cut()
        await trio.sleep(200)
        assert in_use() == set()


def test_an_adapter_that_keeps_no_sessions_is_refused() -> None:
    class Forgetful(InMemoryAdapter):
        def __init__(self, namespace: object) -> None:
            self.recovery = None

    with pytest.raises(ConfigurationError, match="Forgetful does not keep sessions for clients that come back"):
        Server(config=CONFIG, adapter=Forgetful)

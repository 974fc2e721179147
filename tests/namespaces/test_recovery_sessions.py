"""Which ends leave a session, how long it is kept, and who gets it. How much is kept is in test_recovery_bounds.py."""

from __future__ import annotations

import re
import weakref
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Any, Final

import pytest
import trio
import trio.testing

from tests.level import unchanged
from tests.namespaces.recovering import CONFIG, Peer, Stage, open_stage
from trio_sio import ConnectionRefused, Limits, Route, RoutingTable, Server, Socket, on_connection
from trio_sio.errors import OUTCOMES, ConnectionReset, DecodeError, InboxOverflow, PingTimeout, SlowConsumer
from trio_sio.namespaces.packet_log import PacketLog
from trio_sio.namespaces.recovery import LONGEST
from trio_sio.namespaces.session import FORMER_ROOMS, Memberships, SocketSession
from trio_sio.namespaces.target import EVERYBODY
from trio_sio.protocol.socketio import encode_event
from trio_sio.testing import open_test_server

MockClock = trio.testing.MockClock

Ending = Callable[[Stage, Peer], Awaitable[None]]


# Which ends are recoverable.


async def by_reset(stage: Stage, peer: Peer) -> None:
    await peer.cut()


async def by_close_frame(stage: Stage, peer: Peer) -> None:
    await peer.websocket.start_close()


async def by_close_packet(stage: Stage, peer: Peer) -> None:
    await peer.websocket.send("1")


async def by_silence(stage: Stage, peer: Peer) -> None:
    await trio.sleep(50)


async def by_slowness(stage: Stage, peer: Peer) -> None:
    stage.socket.client.connection.end(SlowConsumer("it was slow"))


async def by_disconnect(stage: Stage, peer: Peer) -> None:
    await peer.websocket.send("41")


async def by_the_server(stage: Stage, peer: Peer) -> None:
    await stage.socket.disconnect(close=True)


async def by_bad_packet(stage: Stage, peer: Peer) -> None:
    await peer.websocket.send("x")


async def by_bad_message(stage: Stage, peer: Peer) -> None:
    await peer.websocket.send("49")


async def by_bad_frame(stage: Stage, peer: Peer) -> None:
    await peer.websocket.stream.send_all(b"\xff\x80\x00\x00\x00\x00")


async def by_flood(stage: Stage, peer: Peer) -> None:
    stage.socket.client.connection.end(InboxOverflow("it sent too much"))


@pytest.mark.parametrize("ending", [by_reset, by_close_frame, by_close_packet, by_silence, by_slowness])
async def test_after_losing_the_connection_one_may_come_back(ending: Ending, autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await ending(stage, peer)
        await trio.testing.wait_all_tasks_blocked()
        assert len(stage.store()) == 1
        await stage.server.emit("all", 1)
        assert await peer.connect()
        assert await peer.heard() == [["all", 1]]


@pytest.mark.parametrize("ending", [by_disconnect, by_the_server, by_bad_packet, by_bad_message, by_bad_frame, by_flood])
async def test_after_leaving_or_breaking_the_rules_one_is_a_stranger(ending: Ending) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        first_id, first_pid = peer.id, peer.pid
        await ending(stage, peer)
        await trio.testing.wait_all_tasks_blocked()
        assert (len(stage.store()), stage.store()._connected) == (0, {})
        await peer.cut()
        assert not await peer.connect()
        assert peer.id != first_id
        assert peer.pid != first_pid


def test_every_fault_is_one_or_the_other() -> None:
    recoverable = {kind for kind, outcome in OUTCOMES.items() if outcome.recoverable}
    assert {ConnectionReset, PingTimeout, SlowConsumer} < recoverable
    assert not {DecodeError, InboxOverflow} & recoverable


# How long.


async def test_a_session_expires(autojump_clock: MockClock) -> None:
    async with open_stage(max_disconnection=120) as stage:
        expired: list[SocketSession] = []
        stage.server.of("/").on_session_expired(expired.append)
        async with unchanged(stage.server):
            peer = stage.peer()
            await peer.connect()
            await stage.socket.join("a")
            stage.socket.data = {"name": "Ada"}
            socket, lost = stage.socket, stage.socket.outbox
            await peer.cut()
            await trio.sleep(119)
            assert await peer.connect()
            await peer.cut()
            await trio.sleep(121)
            (session,) = expired
            assert (session.id, session.data) == (peer.id, {"name": "Ada"})
            assert session.rooms == {peer.id, "a"}
            dropped = lost.dropped
            await socket.emit("nobody will hear this")
            assert lost.dropped == dropped + 1
            assert not await peer.connect()
            await peer.leave()
        store = stage.store()
        assert (len(store), store._connected, store.given_up, len(store.log), store.log.bytes) == (0, {}, 1, 0, 0)


async def test_a_session_that_expires_may_be_the_last_of_its_namespace(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    class Room:
        @on_connection
        def joined(self) -> None:
            """Let everybody in."""

    server = Server(RoutingTable(Route(re.compile(r"/room-\d+"), Room)), config=CONFIG)
    async with open_test_server(server) as running:
        async with running.strict_client("/room-1") as client:
            await client.connection.abort()
        namespace = weakref.ref(server.of("/room-1"))
        await trio.sleep(121)
        assert namespace() is None
    assert [record.getMessage() for record in caplog.records if record.levelname == "ERROR"] == []


async def test_a_callback_that_fails_is_logged(caplog: pytest.LogCaptureFixture, autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        heard: list[str] = []

        def fail(session: SocketSession) -> None:
            raise LookupError("a mistake of the application")

        stage.server.of("/").on_session_expired(fail)
        stage.server.of("/").on_session_expired(lambda session: heard.append(session.id))
        peer = stage.peer()
        await peer.connect()
        await peer.cut()
        await trio.sleep(121)
        assert heard == [peer.id]
        assert "A function that was given to on_session_expired failed." in caplog.messages


async def test_a_quiet_client_does_not_need_its_old_offset(autojump_clock: MockClock) -> None:
    """What the log has forgotten since then, a pong has confirmed."""
    async with open_stage() as stage:
        quiet, other = stage.peer(), stage.peer()
        await quiet.connect()
        await stage.server.emit("all", 1)
        assert await quiet.event() == ["all", 1]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(quiet.receive)  # answers pings
            await other.connect()
            await stage.socket.join("b")
            nursery.start_soon(other.receive)
            for _ in range(20):
                await trio.sleep(30)
                await stage.server.to("c").emit("for others", 0)
            nursery.cancel_scope.cancel()
        assert stage.store().log.gone > 2
        await stage.sockets[0].emit("direct", 2)
        await quiet.cut()
        await quiet.connect()
        assert quiet.recovered
        assert await quiet.heard() == [["direct", 2]]


async def test_a_pong_confirms_only_what_came_before_its_ping(autojump_clock: MockClock) -> None:
    """A sender that waits for room is overtaken by the ping."""
    async with open_stage(replace(CONFIG, limits=Limits(outbox_packets=1)), packets=1) as stage:
        peer = stage.peer()
        await peer.connect()
        connection = stage.socket.client.connection
        await trio.sleep(1)
        take, connection.outbox.notify = connection.outbox.notify, lambda: None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.socket.emit, "direct", 1)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(stage.socket.emit, "waits", 2)
            await trio.sleep(25)
            connection.text(b"3")
            assert connection.confirmed == -float("inf")
            take()
        connection.outbox.notify = take
        await peer.event()
        await peer.event()
        with trio.move_on_after(26):
            await peer.receive()
        assert connection.confirmed > 0


async def test_a_pong_before_connect_confirms_nothing(autojump_clock: MockClock) -> None:
    async with open_stage(packets=2) as stage:
        peer = stage.peer()
        await peer.connect()
        await peer.cut()
        await stage.server.emit("all", 1)
        await peer.open()
        with trio.move_on_after(30):
            await peer.receive()  # answers a ping
        await peer.ask()
        await peer.joined()
        assert peer.recovered
        connection = stage.socket.client.connection
        assert connection.confirmed > 0
        await peer.cut()
        for number in range(2, 4):
            await stage.server.emit("all", number)
        assert not await peer.connect()  # the first event is lost


# Who gets a session.


async def test_refused_now_recovered_later() -> None:
    async def check(socket: Socket) -> None:
        seen.append((socket.recovered, socket.id, socket.data.get("name")))
        if socket.handshake.auth.get("token") != "secret":
            raise ConnectionRefused("bad token")

    async with open_stage() as stage:
        seen: list[tuple[bool, str, Any]] = []
        stage.guard = check
        peer = stage.peer()
        await peer.connect(token="secret")
        stage.socket.data["name"] = "Ada"
        await peer.cut()
        await stage.server.emit("all", 1)
        await peer.open()
        await peer.ask(token="expired")
        assert await peer.receive() == '44{"message":"bad token"}'
        assert stage.server.of("/").sockets == {}
        await peer.ask(token="secret")
        await peer.joined()
        assert peer.recovered
        assert await peer.heard() == [["all", 1]]
        assert seen[1:] == [(True, peer.id, "Ada")] * 2


@pytest.mark.parametrize("ending", ["refused", "cut"])
async def test_who_comes_back_in_vain_leaves_the_session_as_it_was(ending: str) -> None:
    async def rearrange(socket: Socket) -> None:
        if not socket.recovered:
            return
        await socket.leave("a")
        await socket.join("b")
        await socket.emit("not heard", 1)
        socket.emit_nowait("not heard", 2)
        if ending == "refused":
            raise ConnectionRefused("not now")
        rearranged.set()
        await trio.sleep_forever()

    async with open_stage() as stage:
        rearranged = trio.Event()
        peer = stage.peer()
        await peer.connect()
        await stage.socket.join("a")
        await peer.cut()
        stage.guard = rearrange
        await peer.open()
        await peer.ask()
        if ending == "refused":
            assert await peer.receive() == '44{"message":"not now"}'
        else:
            await rearranged.wait()
        await stage.server.to("a").emit("heard", 1)
        await stage.server.to("b").emit("not heard", 3)
        await peer.cut()
        stage.guard = None
        await stage.server.to("a").emit("heard", 2)
        assert await peer.connect()
        assert await peer.heard() == [["heard", 1], ["heard", 2]]
        assert stage.socket.rooms == {peer.id, "a"}


async def test_the_private_room_of_somebody_who_is_away_cannot_be_joined() -> None:
    async def wait(socket: Socket) -> None:
        if socket.recovered:
            reached.set()
            await go_on.wait()

    async with open_stage() as stage:
        reached, go_on = trio.Event(), trio.Event()
        stage.guard = wait
        peer, other = stage.peer(), stage.peer()
        await other.connect()
        await peer.connect()
        stranger = stage.sockets[0]

        async def try_to_join() -> None:
            with pytest.raises(ValueError, match="is the id of another socket"):
                await stranger.join("a", peer.id)
            await stage.server.to(peer.id).emit("secret")

        await try_to_join()
        await peer.cut()
        await try_to_join()
        await peer.open()
        await peer.ask()
        await reached.wait()
        await try_to_join()
        go_on.set()
        await peer.joined()
        await try_to_join()
        assert await peer.heard() == [["secret"]] * 4
        assert await other.heard() == []
        assert stranger.rooms == {stranger.id}
        # What is given up is nobody's room any more.
        await peer.leave()
        await stranger.join(peer.id)


async def test_middleware_can_be_left_out_for_those_who_come_back() -> None:
    async def count(socket: Socket) -> None:
        runs.append(socket.recovered)

    async with open_stage(skip_middlewares=True) as stage:
        runs: list[bool] = []
        stage.guard = count
        peer = stage.peer()
        await peer.connect()
        await peer.cut()
        await peer.connect()
        assert (peer.recovered, runs, stage.steps) == (True, [False], ["came", "transport close", "came back"])


async def test_the_old_connection_ends_first() -> None:
    """The client has changed networks, and the server has not noticed."""
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        await stage.socket.join("a")
        first, wire = stage.socket, peer.websocket
        await stage.server.emit("all", 1)
        await peer.connect()
        assert (peer.recovered, first.connected) == (True, False)
        assert stage.socket.rooms == {peer.id, "a"}
        assert stage.steps == ["came", "transport close", "came back"]
        assert await peer.heard() == [["all", 1]]
        await trio.aclose_forcefully(wire.stream)


async def test_of_two_who_come_at_once_one_is_recovered() -> None:
    async with open_stage() as stage:
        peer, thief = stage.peer(), stage.peer()
        await peer.connect()
        await stage.server.emit("all", 1)
        await peer.heard()
        await peer.cut()
        await peer.open()
        await thief.open()
        thief.pid, thief.offset = peer.pid, peer.offset
        await peer.ask()
        await thief.ask()
        await peer.joined()
        await thief.joined()
        assert sorted([peer.recovered, thief.recovered]) == [False, True]
        assert peer.id != thief.id


async def test_earlier_events_are_handled_first() -> None:
    """Coming back waits for the handlers and hooks of the old socket; what they emit is heard."""

    async def work(socket: Socket) -> None:
        await go_on.wait()
        await socket.emit("result", socket.connected)
        socket.emit_nowait("result", 2)

    async def clean_up(socket: Socket) -> None:
        await trio.lowlevel.checkpoint()
        stage.steps.append("cleaned up")

    async with open_stage() as stage:
        stage.on_event, stage.on_gone, go_on = work, clean_up, trio.Event()
        peer = stage.peer()
        await peer.connect()
        await peer.websocket.send('42["do"]')
        await peer.websocket.start_close()
        await trio.testing.wait_all_tasks_blocked()
        await peer.cut()
        await peer.open()
        await peer.ask()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.steps == ["came"]
        go_on.set()
        await peer.joined()
        assert stage.steps == ["came", "transport close", "cleaned up", "came back"]
        assert await peer.heard() == [["result", False], ["result", 2]]


async def test_handlers_that_do_not_end_are_not_waited_for(autojump_clock: MockClock) -> None:
    async def hang(socket: Socket) -> None:
        with trio.CancelScope(shield=True):
            await trio.sleep(60)

    async with open_stage() as stage:
        stage.on_gone = hang
        peer = stage.peer()
        await peer.connect()
        await peer.cut()
        await peer.connect()
        assert not peer.recovered  # it has a new id, so the hook cannot meddle with it
        assert trio.current_time() < 30
        await trio.sleep(120)


# The parts.


async def test_memberships_beyond_the_limit_may_have_been_in_any_room() -> None:
    log = PacketLog(packets=10_000, bytes=10**6, age=10**6)
    memberships = Memberships()

    def move(number: int) -> None:
        memberships.join([f"room {number}"], log.position)
        log.position += 1
        memberships.leave([f"room {number}"], log)

    for number in range(FORMER_ROOMS):
        move(number)
    assert not memberships.may_have_missed(log, 0, 0)
    assert memberships.was_in(frozenset({"room 0"}), 1)
    assert not memberships.was_in(frozenset({"room 0"}), 2)
    move(FORMER_ROOMS)
    assert memberships.may_have_missed(log, 0, 0)
    assert not memberships.may_have_missed(log, 1, 0)
    assert not memberships.may_have_missed(log, 0, trio.current_time() + 1)
    assert not memberships.was_in(frozenset({"room 0"}), 1)
    assert memberships.was_in(frozenset({"room 1"}), 2)


async def test_memberships_that_the_log_has_outlived_are_forgotten() -> None:
    log = PacketLog(packets=1, bytes=10**6, age=10**6)
    memberships = Memberships()
    for _ in range(3):
        memberships.join(["a"], log.position)
        log.append(encode_event("/", ("x",)), EVERYBODY)
        memberships.leave(["a"], log)
    assert memberships._former == {"a": memberships._former["a"]}
    assert len(memberships._former["a"]) == len(memberships._left) == 1


async def test_an_offset_is_read_exactly() -> None:
    log = PacketLog(packets=10, bytes=10**6, age=10**6)
    offsets = []
    for _ in range(20):
        offsets.append(log.next_offset)
        log.append(encode_event("/", ("x",)), EVERYBODY)
    prefix = offsets[0][:-1]
    assert [log.position_of(offset) for offset in offsets] == list(range(1, 21))
    wrong: Final = [
        "",
        prefix,
        f"{prefix}0",
        f"{prefix}15",
        f"{prefix}01",
        f"{prefix}+1",
        f"{prefix}-1",
        f"{prefix}A",
        f"{prefix}１",
        f"{prefix}1_0",
    ]
    assert [log.position_of(offset) for offset in [*wrong, "1", f"x{offsets[0][1:]}" if offsets[0][0] != "x" else "y"]] == [None] * 12
    assert len(offsets[-1]) < LONGEST

"""Authentication that ends: `Socket.expires_at`."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import pytest
import trio
import trio.testing

from tests.level import unchanged
from tests.namespaces.recovering import Peer, Stage, open_stage
from tests.namespaces.serving import Handler, Join, open_namespaces, settle
from trio_sio import Config, Recovery, Socket
from trio_sio.namespaces import handshake
from trio_sio.namespaces.expiry import stamp_of
from trio_sio.protocol.socketio import Packet

MockClock = trio.testing.MockClock

NOW = 1_800_000_000.0


@pytest.fixture(autouse=True)
def wall_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """The clock on the wall goes with the mock one."""
    monkeypatch.setattr(handshake, "time", SimpleNamespace(time=lambda: NOW + trio.current_time()))


# What it takes.


@pytest.mark.parametrize(
    "when",
    [NOW + 10, int(NOW) + 10, datetime.fromtimestamp(NOW + 10, UTC), datetime.fromtimestamp(NOW + 10, UTC).astimezone()],
)
def test_a_stamp_and_a_datetime_are_the_same(when: float | datetime) -> None:
    assert stamp_of(when) == NOW + 10


@pytest.mark.parametrize(
    ("when", "error", "message"),
    [
        (datetime(2030, 1, 1), ValueError, "has no time zone"),
        (3600, ValueError, r"for a span write time\.time\(\) \+"),
        (0, ValueError, "for a span"),
        (-math.inf, ValueError, "for a span"),
        (math.nan, ValueError, "nan is no time"),
        (NOW * 1000, ValueError, "that looks like milliseconds"),
        (True, TypeError, "True is no time"),
        ("2030-01-01", TypeError, "seconds since 1970, as `exp` of a JWT, or a datetime with a time zone"),
        (timedelta(hours=1), TypeError, "is no time"),
    ],
)
def test_what_nobody_can_mean_is_said(when: float, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        stamp_of(when)


# When it is over.


@pytest.mark.hostile("R92")
async def test_a_socket_is_disconnected_in_time_while_a_handler_runs(autojump_clock: MockClock) -> None:
    cancelled: list[float] = []

    async def receive(socket: Socket, packet: Packet) -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(trio.current_time())

    handler, other = Handler(receive), Handler()
    async with open_namespaces({"/": handler, "/other": other}) as server, await server.websocket() as client:
        await client.receive()
        await client.send("40")
        await client.send("40/other,")
        answers = {str(await client.receive())[:3] for _ in range(2)}
        assert answers == {"40{", "40/"}
        start = trio.current_time()
        handler.socket.expires_at(NOW + start + 10)
        await client.send('42["work"]')
        await settle()
        assert await client.receive() == "41"
        assert trio.current_time() == pytest.approx(start + 10)
        await settle()
        assert cancelled == [pytest.approx(start + 10)]
        assert handler.reasons == ["token expired"]
        assert not handler.socket.connected
        # Its other namespaces have tokens of their own.
        await client.send('42/other,1["fence"]')
        assert other.socket.connected


async def test_the_last_call_counts(autojump_clock: MockClock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, unchanged(server.server), server.strict_client() as client:
        socket = handler.socket
        start = trio.current_time()
        socket.expires_at(NOW + start + 10)
        await trio.sleep(9)
        socket.expires_at(NOW + start + 30)
        await trio.sleep(20)
        assert socket.connected
        socket.expires_at(None)
        await trio.sleep(100)
        assert socket.connected
        socket.expires_at(math.inf)
        await trio.sleep(100)
        assert socket.connected
        await client.disconnect()


@pytest.mark.parametrize("ending", ["client", "server"])
async def test_nothing_waits_for_a_socket_that_has_gone(autojump_clock: MockClock, ending: str) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client() as client:
        socket = handler.socket
        timers = socket.client.connection.services.timers
        before = len(timers)
        socket.expires_at(NOW + trio.current_time() + 1_000)
        assert len(timers) == before + 1
        await (client.disconnect() if ending == "client" else socket.disconnect())
        await settle()
        assert len(timers) == before
        socket.expires_at(NOW + trio.current_time() + 1_000)
        socket.expires_at(NOW - 10)
        assert len(timers) == before
        assert handler.reasons == [f"{ending} namespace disconnect"]


async def test_a_time_that_is_over_ends_it_at_once(autojump_clock: MockClock) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client():
        handler.socket.expires_at(NOW - 1)
        assert not handler.socket.connected
        await settle()
        assert handler.reasons == ["token expired"]


@pytest.mark.hostile("R93")
@pytest.mark.parametrize("left", [-1, 5], ids=["expired before", "expires meanwhile"])
async def test_a_client_in_connection_middleware_is_refused(autojump_clock: MockClock, left: float) -> None:
    async def connect(socket: Socket, join: Join) -> None:
        socket.expires_at(NOW + trio.current_time() + left)
        await trio.sleep(10)
        join()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, unchanged(server.server), await server.websocket() as client:
        await client.receive()
        await client.send("40")
        assert await client.receive() == '44{"message":"token expired"}'
        await settle()
        assert (handler.reasons, handler.socket.namespace.arriving) == ([], set())


async def test_the_wall_clock_is_read_once(autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client():
        handler.socket.expires_at(NOW + trio.current_time() + 10)
        monkeypatch.setattr(handshake, "time", SimpleNamespace(time=lambda: NOW + 10_000))
        await trio.sleep(9)
        assert handler.socket.connected
        await trio.sleep(2)
        assert not handler.socket.connected


# Across recovery.


def expire_in(seconds: float) -> Callable[[Socket], None]:
    return lambda socket: socket.expires_at(NOW + trio.current_time() + seconds)


@pytest.mark.hostile("R94")
async def test_an_expired_session_is_not_recovered(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        expire_in(30)(stage.socket)
        await peer.cut()
        await trio.sleep(31)
        assert (len(stage.store()), stage.store().given_up) == (0, 1)
        assert not await peer.connect()
        assert stage.socket._core.expiry is None


@pytest.mark.parametrize("skip", [True, False])
async def test_the_time_comes_back_with_the_session(autojump_clock: MockClock, skip: bool) -> None:
    async with open_stage(Config(connection_state_recovery=Recovery(skip_middlewares=skip))) as stage:
        peer = stage.peer()
        await peer.connect()
        expire_in(30)(stage.socket)
        await peer.cut()
        await trio.sleep(20)
        assert await peer.connect()
        await trio.sleep(9)
        assert stage.socket.connected
        with trio.fail_after(5):
            assert await peer.receive() == "41"
        await settle()
        assert stage.steps == ["came", "transport close", "came back", "token expired"]
        await peer.cut()
        assert not await peer.connect()


async def come_back_slowly(stage: Stage, peer: Peer, *, left: float, says: Callable[[Socket], None] | None = None) -> None:
    """Let a client ask to come back while ``left`` seconds of its time are left; its token is looked at for 10 seconds."""
    await peer.connect()
    expire_in(20 + left)(stage.socket)
    await peer.cut()
    await trio.sleep(20)

    async def ask_a_database(socket: Socket) -> None:
        assert socket.recovered
        await trio.sleep(10)
        if says is not None:
            says(socket)

    stage.guard = ask_a_database
    await peer.open()
    await peer.ask()


@pytest.mark.hostile("R94")
@pytest.mark.parametrize("until", [30, None])
async def test_a_new_token_is_looked_at_for_longer_than_the_old_one_is_valid(autojump_clock: MockClock, until: float | None) -> None:
    def extend(socket: Socket) -> None:
        socket.expires_at(None if until is None else NOW + trio.current_time() + until)

    async with open_stage() as stage, unchanged(stage.server):
        peer = stage.peer()
        await come_back_slowly(stage, peer, left=5, says=extend)
        await peer.joined()
        assert peer.recovered
        await trio.sleep(29)
        assert stage.socket.connected
        if until is None:
            await trio.sleep(5)
            assert stage.socket.connected
        else:
            with trio.fail_after(2):
                assert await peer.receive() == "41"
        await peer.leave()


@pytest.mark.hostile("R94")
async def test_whose_time_ended_while_middleware_said_nothing_is_not_let_in(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, unchanged(stage.server):
        peer = stage.peer()
        await come_back_slowly(stage, peer, left=5)
        assert await peer.receive() == '44{"message":"token expired"}'
        assert stage.steps == ["came", "transport close"]
        assert (stage.server.of("/").arriving, len(stage.store()), stage.store().given_up) == (set(), 0, 1)
        await peer.cut()


async def test_whose_time_has_not_ended_by_then_has_what_is_left_of_it(autojump_clock: MockClock) -> None:
    async with open_stage() as stage, unchanged(stage.server):
        peer = stage.peer()
        await come_back_slowly(stage, peer, left=15)
        await peer.joined()
        assert peer.recovered
        joined = trio.current_time()
        assert await peer.receive() == "41"
        assert trio.current_time() - joined == pytest.approx(5)
        await peer.cut()


@pytest.mark.parametrize("left", [-1, 5], ids=["expired before", "expires meanwhile"])
async def test_a_new_token_that_ends_counts_at_once(autojump_clock: MockClock, left: float) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        expire_in(100)(stage.socket)
        await peer.cut()

        async def look(socket: Socket) -> None:
            expire_in(left)(socket)
            await trio.sleep(10)

        stage.guard = look
        await peer.open()
        await peer.ask()
        assert await peer.receive() == '44{"message":"token expired"}'
        assert stage.steps == ["came", "transport close"]
        await peer.cut()


async def test_the_old_time_of_a_client_that_middleware_disconnects_is_not_waited_for(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        expire_in(1_000)(stage.socket)
        timers = stage.socket.client.connection.services.timers
        await peer.cut()
        before = len(timers)

        async def throw_out(socket: Socket) -> None:
            socket.disconnect_nowait()  # so what follows goes on until it is to be let in

        stage.guard = throw_out
        await peer.open()
        await peer.ask()
        assert str(await peer.receive()).startswith("44")
        await peer.cut()
        await settle()
        assert len(timers) == before


async def test_a_refresh_while_coming_back_counts(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        expire_in(30)(stage.socket)
        await peer.cut()

        async def refresh(socket: Socket) -> None:
            socket.expires_at(None)

        stage.guard = refresh
        assert await peer.connect()
        await trio.sleep(40)
        assert stage.socket.connected


async def come_back_with_a_new_token(stage: Stage, peer: Peer) -> None:
    """Require that a client whose time is over is asked for a new token, as one that comes for the first time."""
    asked: list[bool] = []

    async def extend(socket: Socket) -> None:
        asked.append(socket.recovered)
        socket.expires_at(NOW + trio.current_time() + 60)

    stage.guard = extend
    assert not await peer.connect()
    assert asked == [False]
    assert (len(stage.store()), stage.store().given_up) == (0, 1)
    await trio.sleep(40)
    assert stage.socket.connected


@pytest.mark.hostile("R94")
async def test_a_time_that_ends_while_the_hooks_still_run_leaves_room_for_a_new_token(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        expire_in(2)(stage.socket)

        async def linger(socket: Socket) -> None:
            stage.on_gone = None
            await trio.sleep(4)

        stage.on_gone = linger
        await peer.cut()
        await come_back_with_a_new_token(stage, peer)


@pytest.mark.hostile("R94")
async def test_a_time_that_ended_as_the_clock_was_set_leaves_room_for_a_new_token(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        expire_in(3_600)(stage.socket)
        await peer.cut()
        monkeypatch.setattr(handshake, "time", SimpleNamespace(time=lambda: NOW + 7_200 + trio.current_time()))

        async def extend(socket: Socket) -> None:
            assert not socket.recovered
            socket.expires_at(NOW + 10_000 + trio.current_time())

        stage.guard = extend
        assert not await peer.connect()
        await trio.sleep(40)
        assert stage.socket.connected


@pytest.mark.hostile("R94")
async def test_whoever_is_refused_on_coming_back_has_not_extended_it(autojump_clock: MockClock) -> None:
    async with open_stage() as stage:
        peer = stage.peer()
        await peer.connect()
        expire_in(30)(stage.socket)
        await peer.cut()

        async def extend_and_refuse(socket: Socket) -> None:
            socket.expires_at(None)
            raise OSError

        stage.guard = extend_and_refuse
        await peer.open()
        await peer.ask()
        assert str(await peer.receive()).startswith("44")
        await peer.cut()
        assert len(stage.store()) == 1
        await trio.sleep(31)
        assert len(stage.store()) == 0

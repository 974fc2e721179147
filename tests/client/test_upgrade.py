"""From polling to a WebSocket, client side: nothing is lost, nothing doubled, and polling goes on where it fails."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Final

import pytest
import trio
import trio.testing

from tests.client.fake_server import SID, Connection, Request, open_fake_server, open_packet
from tests.client.sessions import open_session
from tests.level import unchanged
from trio_sio import Config, EngineServer
from trio_sio import Session as ServerSession
from trio_sio.client.session import SessionClosed
from trio_sio.client.target import Target
from trio_sio.protocol.engineio import binary_message, text_message
from trio_sio.testing import ChaosRules, InMemoryServer, chaos_stream, open_test_server

COUNT: Final = 150


class Ragged:
    """A server in memory whose connections are slow and in pieces, each in its own way."""

    def __init__(self, server: InMemoryServer, seed: int) -> None:
        self._server = server
        self._random = random.Random(seed)

    async def connect_stream(self) -> trio.abc.Stream:
        """Open a connection."""
        sent = ChaosRules(seed=self._random.getrandbits(32), segment=200, delay=0.005)
        received = ChaosRules(seed=self._random.getrandbits(32), segment=200, delay=0.05)
        return chaos_stream(await self._server.connect_stream(), sent=sent, received=received)


@pytest.mark.parametrize("seed", range(20))
async def test_no_message_is_lost_or_doubled(seed: int, autojump_clock: trio.testing.MockClock) -> None:
    dice = random.Random(seed)
    taken: list[str | bytes] = []
    all_taken = trio.Event()

    def numbered(number: int) -> str | bytes:
        # Some are binary, some are long, so that requests and frames end anywhere.
        text = f"{number}:" + "x" * (number * 37 % 500)
        return text.encode() if number % 3 == 0 else text

    async def serve(session: ServerSession) -> None:
        async with trio.open_nursery() as nursery:

            async def talk() -> None:
                for number in range(COUNT):
                    await session.send(numbered(number))
                    await trio.sleep(dice.random() * 0.05)

            nursery.start_soon(talk)
            async for message in session:
                taken.append(message)
                if len(taken) == COUNT:
                    all_taken.set()

    expected = [numbered(number) for number in range(COUNT)]
    moved: list[int] = []
    async with (
        open_test_server(EngineServer(serve, config=Config(ping_interval=1, ping_timeout=20))) as server,
        unchanged(server.server),
        open_session(Target(Ragged(server, seed))) as session,
        trio.open_nursery() as nursery,
    ):
        session.on_upgrade = lambda _: moved.append(len(taken))

        async def talk() -> None:
            for number in range(COUNT):
                message = numbered(number)
                await session.send(text_message(message) if isinstance(message, str) else binary_message(message))
                await trio.sleep(dice.random() * 0.05)

        nursery.start_soon(talk)
        assert [await session.receive() for _ in range(COUNT)] == expected
        with trio.fail_after(60):
            await all_taken.wait()
        assert taken == expected
        assert session.transport == "websocket"
    # It moved while both talked.
    (at,) = moved
    assert at < COUNT


class Upgrading:
    """A fake server that polls properly, and has a WebSocket that does what ``probe`` says.

    Attributes:
      messages: What the client has sent, by either transport.
      let_go: Answers the poll that waits.
    """

    def __init__(self, probe: Callable[[Connection], Awaitable[None]]) -> None:
        self.messages: list[str] = []
        self.probed = trio.Event()
        self.let_go = trio.Event()
        self.counter = 0
        self._probe = probe

    async def __call__(self, connection: Connection) -> None:
        while True:
            request = await connection.request()
            if request.query["transport"] == "websocket":
                assert request.query["sid"] == SID
                await self._websocket(connection, request)
                return
            if "sid" not in request.query:
                await connection.respond(open_packet(upgrades=["websocket"], pingInterval=1_000_000, pingTimeout=1_000_000))
            elif request.method == "GET":
                await connection.respond(await self._poll())
            else:
                self.messages.extend(request.body.decode().split("\x1e"))
                await self._posted()
                await connection.respond()

    async def _posted(self) -> None:
        await trio.lowlevel.checkpoint()

    async def _poll(self) -> bytes:
        # Answered each second with a message, sooner once the probe has come.
        with trio.move_on_after(1) as scope:
            await self.let_go.wait()
        if not scope.cancelled_caught:
            self.let_go = trio.Event()
            return b"6"
        self.counter += 1
        return f"4{self.counter}".encode()

    async def _websocket(self, connection: Connection, request: Request) -> None:
        try:
            await connection.accept(request)
            assert await connection.message() == "2probe"
            self.probed.set()
            await self._probe(connection)
        finally:
            await connection.stream.aclose()


async def answer(connection: Connection, message: str | bytes) -> None:
    await connection.send_message(message)
    await trio.sleep_forever()


async def say_nothing(_: Connection) -> None:
    await trio.sleep_forever()


async def drop(_: Connection) -> None:
    await trio.lowlevel.checkpoint()


async def drop_after_the_probe(connection: Connection) -> None:
    await connection.send_message("3probe")
    await trio.sleep(0.1)


async def close_after_the_probe(connection: Connection) -> None:
    await connection.send_message("3probe")
    await connection.send(b"\x88\x00")
    await connection.wait_ended()


async def talk_after_the_probe(connection: Connection) -> None:
    await connection.send_message("3probe")
    await connection.send_message("4too early")
    await connection.wait_ended()


FAILURES: Final[dict[str, Callable[[Connection], Awaitable[None]]]] = {
    "another answer": partial(answer, message="3prob"),
    "an open packet": partial(answer, message=open_packet().decode()),
    "a binary answer": partial(answer, message=b"3probe"),
    "no answer": say_nothing,
    "dropped": drop,
    "dropped after the probe": drop_after_the_probe,
    "closed after the probe": close_after_the_probe,
    "messages before the upgrade": talk_after_the_probe,
}


@pytest.mark.parametrize("how", FAILURES)
async def test_a_probe_that_fails_leaves_polling_working(how: str, autojump_clock: trio.testing.MockClock) -> None:
    server = Upgrading(FAILURES[how])
    # With room in the stream, so that an upgrade which is sent in error is not held up by a server that does not read.
    async with open_fake_server(server, lambda stream: stream) as target, open_session(target, connect_timeout=10) as session:
        for number in range(1, 21):
            await session.send(text_message(str(number)))
            assert await session.receive() == str(number)
        assert session.transport == "polling"
        assert server.probed.is_set()
        assert server.messages == [f"4{number}" for number in range(1, 21)]


@pytest.mark.parametrize("status", [400, 502])
async def test_a_refused_websocket_leaves_polling_working(status: int, autojump_clock: trio.testing.MockClock) -> None:
    polling = Upgrading(say_nothing)
    asked = 0

    async def script(connection: Connection) -> None:
        nonlocal asked
        request = await connection.request()
        if request.query["transport"] == "websocket":
            asked += 1
            await connection.respond(status=status)
        elif "sid" not in request.query:
            await connection.respond(open_packet(upgrades=["websocket"]))
            await polling(connection)
        else:
            polling.messages.append(request.body.decode())
            await connection.respond()
            await polling(connection)

    async with open_fake_server(script) as target, open_session(target) as session:
        for number in range(1, 11):
            await session.send(text_message(str(number)))
            assert await session.receive() == str(number)
    assert asked == 1
    assert polling.messages == [f"4{number}" for number in range(1, 11)] + ["1"]


async def test_a_mistake_of_ours_while_probing_comes_out(monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock) -> None:
    async def fail(*args: object) -> None:
        await trio.lowlevel.checkpoint()
        raise LookupError("a mistake")

    async def serve(session: ServerSession) -> None:
        async for _ in session:
            pass

    monkeypatch.setattr("trio_sio.client.transports.WebSocketTransport.connect", fail)
    async with open_test_server(EngineServer(serve, config=Config(path="/socket.io"))) as server:
        with pytest.RaisesGroup(pytest.RaisesExc(LookupError, match="a mistake"), flatten_subgroups=True):
            async with open_session(Target(server)):
                await trio.sleep(60)


async def test_the_hand_over_waits_for_the_poll_and_the_post(autojump_clock: trio.testing.MockClock) -> None:
    steps: list[str] = []

    async def probe(connection: Connection) -> None:
        await connection.send_message("3probe")
        await trio.sleep(0.5)
        steps.append("released")
        server.let_go.set()
        # The first packet decides; what was queued meanwhile comes behind it.
        steps.append(str(await connection.message()))
        await connection.send_message("4over the WebSocket")
        while True:
            steps.append(str(await connection.message()))

    server = Upgrading(probe)
    async with open_fake_server(server) as target, open_session(target) as session:
        await session.send(text_message("before"))
        await server.probed.wait()
        await session.send(text_message("meanwhile"))
        assert await session.receive() == "over the WebSocket"
        assert session.transport == "websocket"
        await session.send(text_message("after"))
        await trio.sleep(0.1)
        assert steps == ["released", "5", "4after"]
        # A POST is not held up by the poll that the hand-over waits for.
        assert server.messages == ["4before", "4meanwhile"]


async def test_a_session_that_is_being_left_does_not_move(autojump_clock: trio.testing.MockClock) -> None:
    frames: list[str | bytes] = []

    async def probe(connection: Connection) -> None:
        await connection.send_message("3probe")
        while True:
            frames.append(await connection.message())

    class Leaving(Upgrading):
        async def _poll(self) -> bytes:
            await self.let_go.wait()
            return b"6"

        async def _posted(self) -> None:
            # The poll ends while the goodbye is still under way.
            self.let_go.set()
            await trio.sleep(1)

    server = Leaving(probe)
    async with open_fake_server(server) as target:
        async with open_session(target):
            await server.probed.wait()
            await trio.sleep(1)
        await trio.sleep(1)
    assert server.messages == ["1"]
    assert frames == []


async def test_a_server_that_does_not_let_go_keeps_the_session(autojump_clock: trio.testing.MockClock) -> None:
    async def probe(connection: Connection) -> None:
        await connection.send_message("3probe")
        await connection.wait_ended()
        given_up.append(trio.current_time() - start)

    given_up: list[float] = []

    class Holding(Upgrading):
        async def _poll(self) -> bytes:
            await trio.sleep(30)
            return b"4late"

    server = Holding(probe)
    start = trio.current_time()
    async with open_fake_server(server) as target, open_session(target, connect_timeout=10) as session:
        await trio.sleep(5)
        await session.send(text_message("amid"))
        await trio.sleep(1)
        assert server.messages == ["4amid"]
        assert await session.receive() == "late"
        assert session.transport == "polling"
        assert given_up == [pytest.approx(10)]


async def test_a_full_inbox_does_not_lose_what_was_polled(autojump_clock: trio.testing.MockClock) -> None:
    count = 500

    async def serve(session: ServerSession) -> None:
        for number in range(count):
            await session.send(str(number))
        async for _ in session:
            pass

    config = Config(upgrade_timeout=5)
    async with open_test_server(EngineServer(serve, config=config)) as server, open_session(Target(server)) as session:
        # Longer than the server waits for the upgrade.
        await trio.sleep(10)
        assert [await session.receive() for _ in range(count)] == list(map(str, range(count)))


async def test_no_websocket_is_opened_unless_both_sides_want_it(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        request = await connection.request()
        assert request.query["transport"] == "polling"
        if "sid" not in request.query:
            await connection.respond(open_packet(upgrades=["websocket"] if wanted == "client" else []))
        await script(connection)

    for wanted in ("client", "server"):
        async with open_fake_server(script) as target, open_session(target, upgrade=wanted == "server", close_timeout=1):
            await trio.sleep(5)


@pytest.mark.parametrize("after", [0.05 * step for step in range(0, 40, 3)])
@pytest.mark.parametrize("how", ["left", "cancelled"])
async def test_gone_amid_the_upgrade(how: str, after: float, autojump_clock: trio.testing.MockClock) -> None:
    reasons: list[str] = []
    taken: list[str | bytes] = []

    async def serve(session: ServerSession) -> None:
        async for message in session:
            taken.append(message)  # noqa: PERF401  # what was taken before a cancellation counts
        reasons.append(str(session.reason))

    async with open_test_server(EngineServer(serve, config=Config())) as server, unchanged(server.server):
        with trio.CancelScope() as scope:
            async with open_session(Target(Ragged(server, 1)), close_timeout=60) as session:
                await session.send(text_message("first"))
                await trio.sleep(after)
                if how == "cancelled":
                    scope.cancel()
                    await trio.lowlevel.checkpoint()
                await session.send(text_message("second"))
        assert scope.cancelled_caught == (how == "cancelled")
        await trio.sleep(1)
        assert len(reasons) == 1
        if how == "left":
            assert taken == ["first", "second"]
            assert reasons == ["transport close"]


async def test_the_end_of_the_session_ends_the_probe(autojump_clock: trio.testing.MockClock) -> None:
    async def script(connection: Connection) -> None:
        request = await connection.request()
        if request.query["transport"] == "websocket":
            await connection.wait_ended()
            closed.set()
            return
        await connection.respond(open_packet(upgrades=["websocket"]))
        await connection.request()
        await trio.sleep(2)
        await connection.respond(b"1")

    closed = trio.Event()
    async with open_fake_server(script) as target:
        start = trio.current_time()
        async with open_session(target) as session:
            with pytest.raises(SessionClosed):
                await session.receive()
            await closed.wait()
            assert trio.current_time() - start == pytest.approx(2)

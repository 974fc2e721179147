"""WebSockets at the ASGI door, against a host that says what the specification allows."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
import trio
import trio.testing

from tests.doors.asgi_host import CONNECT, GONE, FakeHost, Host, Sink, application, calling, never, websocket
from tests.doors.fake_engine import FakeEngine
from trio_sio.config import Config
from trio_sio.doors.asgi import ASGIApplication
from trio_sio.doors.asgi.messages import Message
from trio_sio.engine.door import WebSocketPipe, WebSocketUpgrade
from trio_sio.errors import ConnectionReset, ProtocolViolation, TransportError
from trio_sio.protocol.frames import EncodedPacket


def text(data: str) -> Message:
    return {"type": "websocket.receive", "text": data, "bytes": None}


def with_pipe(
    work: Callable[[WebSocketPipe], Awaitable[object]], config: Config | None = None, finishers: trio.Nursery | None = None
) -> ASGIApplication:
    """Return an application that calls ``work`` with each WebSocket; with ``finishers`` its server runs."""

    async def serve(upgrade: WebSocketUpgrade) -> None:
        assert upgrade.detached
        pipe = await upgrade.accept()
        assert not pipe.nonblocking
        await work(pipe)

    host = FakeHost(FakeEngine(config, websocket=serve, finishers=finishers))
    host.running = finishers is not None
    return application(host)


async def test_a_websocket_in_both_directions() -> None:
    sink = Sink()

    async def work(pipe: WebSocketPipe) -> None:
        await pipe.send([EncodedPacket("2é".encode()), EncodedPacket(b"451-[]", [b"\x00", b"\x01"]), EncodedPacket(None, [b"\x02"])])
        await pipe.pump(sink, never)

    received = [text("é"), {"type": "websocket.receive", "bytes": b"\xff"}, GONE]
    async with calling(with_pipe(work), websocket(), CONNECT, *received) as host:
        accept, *sent = await host.rest()
    assert accept == {"type": "websocket.accept", "subprotocol": None, "headers": []}
    assert [message.get("text", message.get("bytes")) for message in sent] == ["2é", "451-[]", b"\x00", b"\x01", b"\x02"]
    assert sink.messages == ["é", b"\xff"]


async def test_the_first_subprotocol_is_taken() -> None:
    async def work(pipe: WebSocketPipe) -> None:
        await pipe.pump(Sink(), never)

    async with calling(with_pipe(work), websocket(subprotocols=["a", "b"]), CONNECT, GONE) as host:
        assert (await host.hear())["subprotocol"] == "a"


async def test_closing_takes_its_code_and_waits_for_the_client() -> None:
    sink = Sink()

    async def work(pipe: WebSocketPipe) -> None:
        assert not pipe.close(1001)
        await pipe.send([EncodedPacket(b"1")])
        assert pipe.close(None)
        await pipe.pump(sink, never)

    async with calling(with_pipe(work), websocket(), CONNECT) as host:
        await trio.testing.wait_all_tasks_blocked()
        host.say(text("late"), GONE)
        messages = await host.rest()
    assert messages[1:] == [{"type": "websocket.send", "text": "1"}, {"type": "websocket.close", "code": 1001}]
    assert sink.messages == []


async def test_lingering_ends_as_soon_as_the_host_was_told() -> None:
    lingering, done = trio.Event(), trio.Event()

    async def linger(pipe: WebSocketPipe) -> None:
        lingering.set()
        await pipe.linger()
        done.set()

    async def work(pipe: WebSocketPipe) -> None:
        async with trio.open_nursery() as nursery:
            pipe.close(None)
            nursery.start_soon(linger, pipe)
            await lingering.wait()
            await trio.testing.wait_all_tasks_blocked()
            assert not done.is_set()
            await pipe.send([])
            await trio.testing.wait_all_tasks_blocked()
            assert done.is_set()

    async with calling(with_pipe(work), websocket(), CONNECT) as host:
        assert (await host.hear())["type"] == "websocket.accept"
        assert (await host.hear()) == {"type": "websocket.close", "code": 1000}
        host.say(GONE)


async def test_pausing_leaves_messages_with_the_host() -> None:
    sink = Sink()
    pipes: list[WebSocketPipe] = []

    async def work(pipe: WebSocketPipe) -> None:
        pipes.append(pipe)
        await pipe.pump(sink, never)

    async with calling(with_pipe(work), websocket(), CONNECT) as host:
        await trio.testing.wait_all_tasks_blocked()
        (pipe,) = pipes
        pipe.pause()
        pipe.pause()
        # One receive is already under way.
        host.say(text("1"), text("2"), text("3"))
        await trio.testing.wait_all_tasks_blocked()
        assert (sink.messages, host.unread()) == (["1"], 2)
        pipe.resume()
        pipe.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert sink.messages == ["1", "2", "3"]
        host.say(GONE)


async def test_aborting_ends_the_pump_and_empties_the_host(autojump_clock: trio.testing.MockClock) -> None:
    pumped = trio.Event()
    pipes: list[WebSocketPipe] = []

    async def work(pipe: WebSocketPipe) -> None:
        pipes.append(pipe)
        pipe.pause()
        await pipe.pump(Sink(), never)
        pumped.set()

    async with calling(with_pipe(work), websocket(), CONNECT) as host:
        await trio.testing.wait_all_tasks_blocked()
        host.say(*[text("x")] * 20)
        pipes[0].abort()
        await pumped.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert host.unread() == 0
        assert [message["type"] for message in await host.rest()] == ["websocket.accept", "websocket.close"]
        assert trio.current_time() == 1


async def test_what_the_end_has_overtaken_is_received(autojump_clock: trio.testing.MockClock) -> None:
    async def work(pipe: WebSocketPipe) -> None:
        pipe.pause()
        with trio.move_on_after(1):
            await pipe.pump(Sink(), never)

    async with calling(with_pipe(work), websocket(), CONNECT, queue=1) as host, trio.open_nursery() as nursery:
        # The tasks of a host that receives, in the midst of a full buffer, and that learns of the end when it sends.
        nursery.start_soon(host.hand_over, *[text("x")] * 20)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(host.hand_over, GONE)

    # Nobody waits any more.


async def test_who_does_not_stop_talking_does_not_hold_the_host_back(autojump_clock: trio.testing.MockClock) -> None:
    async def work(pipe: WebSocketPipe) -> None:
        pipe.abort()

    async with trio.open_nursery() as nursery:
        async with calling(with_pipe(work, finishers=nursery), websocket(), CONNECT, queue=1) as host:
            await host.finished.wait()
        await host.hand_over(*[text("x")] * 20)
        await trio.sleep(50)
        await host.hand_over(*[text("x")] * 20, GONE)
        left_at = trio.current_time()
    assert trio.current_time() - left_at < 1


async def test_a_host_that_was_cancelled_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    async def work(pipe: WebSocketPipe) -> None:
        pipe.abort()

    async with trio.open_nursery() as nursery, calling(with_pipe(work, finishers=nursery), websocket(), CONNECT):
        pass
    assert trio.current_time() == 61


async def test_the_host_that_stops_says_goodbye() -> None:
    async def work(pipe: WebSocketPipe) -> None:
        await trio.sleep_forever()

    host = Host(with_pipe(work), websocket())
    host.say(CONNECT)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(host.run)
        await trio.testing.wait_all_tasks_blocked()
        host.say(GONE)
        nursery.cancel_scope.cancel()
    assert (await host.hear())["type"] == "websocket.accept"
    assert await host.hear() == {"type": "websocket.close", "code": 1001}


@pytest.mark.parametrize(("data", "bad"), [("a" * 10, False), ("a" * 11, True), ("é" * 6, True)])
@pytest.mark.hostile("W08")
async def test_messages_over_the_limit(data: str, bad: bool) -> None:
    faults: list[Exception] = []

    async def work(pipe: WebSocketPipe) -> None:
        try:
            await pipe.pump(Sink(), never)
        except ProtocolViolation as exc:
            faults.append(exc)

    async with calling(with_pipe(work, Config(max_http_buffer_size=10)), websocket(), CONNECT, text(data), GONE) as host:
        messages = await host.rest()
    assert bool(faults) is bad
    assert messages[1:] == ([{"type": "websocket.close", "code": 1009}] if bad else [])


async def test_a_write_that_stalls_breaks_the_wire(autojump_clock: trio.testing.MockClock) -> None:
    faults: list[TransportError] = []

    async def work(pipe: WebSocketPipe) -> None:
        for _ in range(2):
            with pytest.raises(TransportError) as info:
                await pipe.send([EncodedPacket(b"2")])
            faults.append(info.value)

    async with calling(with_pipe(work, Config(write_stall_timeout=30)), websocket(), CONNECT, room=0) as host:
        await host.hear()
        await trio.sleep(29)
        assert not faults
        await trio.sleep(2)
        assert len(faults) == 2
        host.say(GONE)
        assert await host.rest() == []


async def test_a_client_that_leaves_while_we_write() -> None:
    async def work(pipe: WebSocketPipe) -> None:
        with pytest.raises(ConnectionReset):
            await pipe.send([EncodedPacket(b"2")])

    async def receive() -> Message:
        return CONNECT if not sent else GONE

    async def send(message: Message) -> None:
        await trio.lowlevel.checkpoint()
        sent.append(message["type"])
        if message["type"] == "websocket.send":
            raise OSError("the client disconnected")

    sent: list[str] = []
    await with_pipe(work)(websocket(), receive, send)
    assert sent == ["websocket.accept", "websocket.send"]


async def test_a_refused_handshake() -> None:
    app = application(FakeEngine())
    async with calling(app, websocket(), CONNECT) as host:
        start, data = await host.rest()
    assert (start["type"], start["status"], data["body"]) == ("websocket.http.response.start", 400, b"no websocket")
    async with calling(app, websocket(extensions=None), CONNECT) as host:
        assert [message["type"] for message in await host.rest()] == ["websocket.close"]


async def test_a_client_that_leaves_before_the_handshake() -> None:
    engine = FakeEngine()
    async with calling(application(engine), websocket(), GONE) as host:
        assert await host.rest() == []
    assert engine.requests == []

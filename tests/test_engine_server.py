"""Engine.IO alone: sessions, messages, and nothing of Socket.IO."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_sio import Config, EncodeError, EngineServer, Limits, Session
from trio_sio.testing import WebSocketClosed, open_test_server


async def echo(session: Session) -> None:
    async for message in session:
        await session.send(message)


async def test_messages_of_both_kinds_come_back() -> None:
    async with open_test_server(EngineServer(echo)) as server, await server.websocket() as client:
        assert str(await client.receive()).startswith("0{")
        for sent, received in (("4hé", "4hé"), (b"\x00\xff", b"\x00\xff"), ("4", "4"), (b"", b"")):
            await client.send(sent)
            assert await client.receive() == received


async def test_a_session_knows_its_request_and_its_id() -> None:
    seen = list[Session]()

    async def handler(session: Session) -> None:
        seen.append(session)

    async with open_test_server(EngineServer(handler)) as server, await server.websocket("EIO=4&transport=websocket&a=b") as client:
        opened = str(await client.receive())

        assert f'"sid":"{seen[0].id}"' in opened
        assert (seen[0].request.path, seen[0].request.query_string) == ("/socket.io/", b"EIO=4&transport=websocket&a=b")


async def test_a_session_is_closed_when_its_handler_returns() -> None:
    async def handler(session: Session) -> None:
        await session.send("bye")

    async with open_test_server(EngineServer(handler)) as server, await server.websocket() as client:
        await client.receive()
        assert await client.receive() == "4bye"
        with pytest.raises(WebSocketClosed):
            await client.receive()


async def test_a_handler_that_fails_ends_only_its_session(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(session: Session) -> None:
        async for message in session:
            if message == "fail":
                raise LookupError
            await session.send(message)

    async with open_test_server(EngineServer(handler)) as server, await server.websocket() as first, await server.websocket() as second:
        await first.receive()
        await second.receive()
        await first.send("4fail")
        with pytest.raises(WebSocketClosed):
            await first.receive()
        await second.send("4a")
        assert await second.receive() == "4a"
    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


async def test_what_arrived_before_the_end_can_still_be_read() -> None:
    go, messages, reasons = trio.Event(), list[str | bytes](), list[str | None]()

    async def handler(session: Session) -> None:
        assert session.reason is None
        await go.wait()
        messages.extend([message async for message in session])
        reasons.append(session.reason)

    async with open_test_server(EngineServer(handler)) as server, await server.websocket() as client:
        await client.receive()
        await client.send("4a")
        await client.send(b"b")
        await client.start_close()
        await trio.testing.wait_all_tasks_blocked()
        go.set()
        await trio.testing.wait_all_tasks_blocked()

        assert (messages, reasons) == (["a", b"b"], ["transport close"])


async def test_what_cannot_be_sent_is_refused_where_it_is_sent() -> None:
    errors = list[str]()

    async def handler(session: Session) -> None:
        for message in ("a\x1eb", "\ud800"):
            with pytest.raises(EncodeError) as raised:
                await session.send(message)
            errors.append(str(raised.value))

    async with open_test_server(EngineServer(handler)) as server, await server.websocket() as client:
        await client.receive()
        with pytest.raises(WebSocketClosed):
            await client.receive()
    assert all("send bytes instead" in error for error in errors)
    assert len(errors) == 2


@pytest.mark.parametrize("message", ["x" * 1_000, b"x" * 1_000, "x" * 250 + "\U0001f600"], ids=["text", "binary", "wide text"])
async def test_large_messages_that_nobody_reads_pause_the_session_and_do_not_end_it(message: str | bytes) -> None:
    sessions, go, messages = list[Session](), trio.Event(), list[str | bytes]()

    async def handler(session: Session) -> None:
        sessions.append(session)
        await go.wait()
        messages.extend([message async for message in session])

    config = Config(path="/engine.io", limits=Limits(inbox_bytes=3_000))
    async with open_test_server(EngineServer(handler, config=config)) as server, await server.websocket() as client:
        await client.receive()
        for accepting in (True, True, False):
            await client.send("4" + message if isinstance(message, str) else message)
            await trio.testing.wait_all_tasks_blocked()
            assert sessions[0]._connection.accepting is accepting
        for _ in range(7):
            await client.send("4" + message if isinstance(message, str) else message)
        await client.start_close()
        await trio.testing.wait_all_tasks_blocked()
        reasons = [sessions[0].reason]
        go.set()
        await trio.testing.wait_all_tasks_blocked()

        assert messages == [message] * 10
        assert [*reasons, sessions[0].reason] == [None, "transport close"]


async def test_a_session_is_not_read_while_so_many_messages_wait_and_is_again_at_half_of_them() -> None:
    sessions, gates, accepting, done = list[Session](), [trio.Event() for _ in range(2)], list[bool](), trio.Event()

    async def handler(session: Session) -> None:
        sessions.append(session)
        for gate in gates:
            await gate.wait()
            await anext(session)
        await done.wait()

    config = Config(path="/engine.io", limits=Limits(inbox_events=4))
    async with open_test_server(EngineServer(handler, config=config)) as server, await server.websocket() as client:
        await client.receive()
        for number in range(4):
            await client.send(f"4{number}")
            await trio.testing.wait_all_tasks_blocked()
            accepting.append(sessions[0]._connection.accepting)
        for gate in gates:
            gate.set()
            await trio.testing.wait_all_tasks_blocked()
            accepting.append(sessions[0]._connection.accepting)
        done.set()

    assert accepting == [True, True, True, False, False, True]


async def test_sending_waits_for_room(autojump_clock: trio.testing.MockClock) -> None:
    sent = list[int]()

    async def handler(session: Session) -> None:
        for number in range(10):
            await session.send(str(number))
            sent.append(number)

    config = Config(path="/engine.io", limits=Limits(outbox_packets=2))
    async with open_test_server(EngineServer(handler, config=config)) as server, await server.websocket() as client:
        await client.receive()
        assert [await client.receive() for _ in range(10)] == [f"4{number}" for number in range(10)]

    assert sent == list(range(10))

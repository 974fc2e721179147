"""The end of a socket: what is still handled, what is cancelled, what the hook sees, and what is logged."""

from __future__ import annotations

import json
import logging

import pytest
import trio
import trio.testing

from tests.engine.exchange import FakeExchange
from tests.namespaces.serving import Handler, Join, open_namespaces, settle
from trio_sio import Config, ConnectionRefused
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet
from trio_sio.testing import Ended, WebSocketClosed

Clock = trio.testing.MockClock  # every time-out passes at once


async def test_an_orderly_end_loses_no_event_that_came_before_it(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.lowlevel.checkpoint()

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        for number in range(5):
            await client.emit("x", number)
        await client.disconnect()
        await settle()

    assert handler.events == [["x", number] for number in range(5)]
    assert handler.reasons == ["client namespace disconnect"]


async def test_an_orderly_end_during_the_connection_hook_loses_no_event_either(autojump_clock: Clock) -> None:
    go = trio.Event()

    async def connect(socket: Socket, join: Join) -> None:
        join()
        await go.wait()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        await client.disconnect()
        await settle()
        go.set()
        await settle()

    assert handler.events == [["x"]]
    assert handler.reasons == ["client namespace disconnect"]


@pytest.mark.parametrize("frame", ["close packet", "close frame", "end of stream", "a bad packet"])
async def test_what_came_before_the_end_of_the_connection_is_handled(frame: str, autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.lowlevel.checkpoint()

    handler = Handler(receive)
    async with open_namespaces(handler) as server, await server.websocket() as client:
        await client.receive()
        await client.send("40")
        await client.receive()
        for number in range(5):
            await client.send(f'42["x",{number}]')
        if frame == "close packet":
            await client.send("1")
        elif frame == "close frame":
            await client.start_close()
        elif frame == "end of stream":
            assert isinstance(client.stream, trio.abc.HalfCloseableStream)
            await client.stream.send_eof()
        else:
            await client.send("4nonsense")
        await settle()

        assert handler.events == [["x", number] for number in range(5)]
        assert handler.reasons == ["forced close" if frame == "a bad packet" else "transport close"]


async def test_events_that_are_never_handled_leave_the_inbox_with_their_socket(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.sleep_forever()

    handler = Handler(receive)
    async with open_namespaces({"/": handler, "/b": Handler()}) as server, server.strict_client() as client:
        await client.connection.join("/b")
        for number in range(3):
            await client.emit("x", number)
        await settle()
        inbox = handler.socket.client.inbox
        assert inbox.events == 2
        await handler.socket.disconnect()
        await settle()

        assert (inbox.events, inbox.bytes) == (0, 0)


async def test_earlier_events_get_cleanup_timeout(autojump_clock: Clock) -> None:
    ended = list[float]()

    async def receive(socket: Socket, packet: Packet) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    handler = Handler(receive)
    async with open_namespaces(handler, Config(cleanup_timeout=4)) as server, server.strict_client() as client:
        await client.emit("x")
        await client.emit("never reached")
        await client.disconnect()
        await settle()
        start = trio.current_time()
        assert (handler.socket.connected, ended) == (False, [])
        await trio.sleep(10)

        assert ended == [start + 4]
        assert (handler.events, handler.reasons) == ([["x"]], ["client namespace disconnect"])


@pytest.mark.parametrize("how", ["reset", "the server disconnects"])
async def test_an_abrupt_end_cancels_at_once(how: str, autojump_clock: Clock) -> None:
    ended = list[float]()

    async def receive(socket: Socket, packet: Packet) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        await client.emit("never reached")
        await settle()
        start = trio.current_time()
        if how == "reset":
            # In memory nothing resets, so let the wire say that it was.
            handler.socket.client.connection.cancel()
        else:
            await handler.socket.disconnect()
        await settle()

        assert ended == [start]
        assert handler.events == [["x"]]
        assert len(handler.reasons) == 1


async def test_a_ping_time_out_cancels_handlers(autojump_clock: Clock) -> None:
    ended = list[str]()

    async def receive(socket: Socket, packet: Packet) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(str(socket._core.reason))

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client(answer_pings=False) as client:
        await client.emit("x")
        await client.connection.closed()

    assert ended == handler.reasons == ["ping timeout"]


@pytest.mark.parametrize("close", [True, False])
async def test_a_client_learns_that_it_was_disconnected_while_it_upgrades(close: bool, autojump_clock: Clock) -> None:
    """Otherwise it believes that the network failed, and comes back."""
    handler = Handler()
    async with open_namespaces(handler) as server:
        opened = FakeExchange("EIO=4&transport=polling")
        await server.server.engine.handle_http(opened)
        assert opened.body is not None
        polling = f"EIO=4&transport=polling&sid={json.loads(opened.body[1:])['sid']}"
        await server.server.engine.handle_http(FakeExchange(polling, "POST", b"40"))
        await server.server.engine.handle_http(FakeExchange(polling))
        async with await server.websocket(polling.replace("polling", "websocket")) as client:
            await client.send("2probe")
            assert await client.receive() == "3probe"
            await handler.socket.emit("last")
            await handler.socket.disconnect(close=close)
            await client.send("5")

            assert [await client.receive() for _ in range(2)] == ['42["last"]', "41"]
            if close:
                with pytest.raises(WebSocketClosed):
                    await client.receive()
                assert trio.current_time() == 0
        assert handler.reasons == ["server namespace disconnect"]


async def test_what_is_not_handled_within_cleanup_timeout_counts_no_longer(autojump_clock: Clock) -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        await trio.sleep_forever()

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        await client.emit("never")
        await client.disconnect()
        await trio.sleep(60)

        inbox = handler.socket.client.inbox
        assert handler.events == [["x"]]
        assert handler.reasons == ["client namespace disconnect"]
        assert inbox.events == inbox.bytes == 0


async def test_what_waits_behind_the_handler_that_disconnects_its_socket_is_not_handled() -> None:
    async def receive(socket: Socket, packet: Packet) -> None:
        if packet.data == ["bad"]:
            socket.disconnect_nowait()

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client():
        await settle()
        client = handler.socket.client
        for name in ("good", "bad", "late"):
            client.text(b'2["%s"]' % name.encode())
        await settle()

        assert handler.events == [["good"], ["bad"]]
        assert client.inbox.events == client.inbox.bytes == 0


async def test_what_came_while_a_hook_ran_that_disconnects_its_socket_is_not_handled() -> None:
    go = trio.Event()

    async def connect(socket: Socket, join: Join) -> None:
        join()
        await go.wait()
        socket.disconnect_nowait()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, server.strict_client():
        await settle()
        handler.socket.client.text(b'2["late"]')
        go.set()
        await settle()

    assert handler.events == []
    assert handler.reasons == ["server namespace disconnect"]


async def test_a_handler_that_disconnects_its_own_socket_goes_no_further_than_its_next_checkpoint(autojump_clock: Clock) -> None:
    steps = list[str]()

    async def receive(socket: Socket, packet: Packet) -> None:
        await socket.disconnect()
        steps.append("returned")
        await trio.lowlevel.checkpoint()
        steps.append("went on")

    handler = Handler(receive)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await client.emit("x")
        assert await client.closed() == Ended(disconnected=True, close_code=None)
        await settle()

    assert steps == ["returned"]
    assert handler.reasons == ["server namespace disconnect"]


async def test_disconnecting_with_close_ends_every_socket_and_the_connection(autojump_clock: Clock) -> None:
    handler, other = Handler(), Handler()
    async with open_namespaces({"/": handler, "/other": other}) as server, server.strict_client() as client:
        second = await client.connection.join("/other")
        await handler.socket.disconnect(close=True)

        assert (await client.closed()).disconnected
        assert (await second.closed()).disconnected
        assert await client.connection.closed() == 1005
        assert handler.reasons == other.reasons == ["server namespace disconnect"]


class TestAReasonForTheLog:
    """`disconnect(reason=...)`: in the log, and nowhere else."""

    @pytest.mark.parametrize("how", ["socket", "namespace"])
    async def test_it_is_in_the_line_of_the_end(self, how: str, caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
        handler = Handler()
        async with open_namespaces({"/x": handler}) as server, server.strict_client("/x") as client:
            socket = handler.socket
            with caplog.at_level(logging.DEBUG, "trio_sio.namespaces"):
                if how == "socket":
                    await socket.disconnect(reason="banned")
                else:
                    await socket.namespace.in_(socket.id).disconnect_sockets(reason="banned")
            assert await client.closed() == Ended(disconnected=True, close_code=None)
            await settle()

        assert handler.reasons == ["server namespace disconnect"]
        line = f"Socket {socket.id} in namespace '/x' ended: server namespace disconnect ('banned')"
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("INFO", line)]

    async def test_the_client_sees_no_difference(self, autojump_clock: Clock) -> None:
        handler = Handler()
        async with open_namespaces(handler) as server, await server.websocket() as websocket:
            await websocket.receive()
            await websocket.send("40")
            await websocket.receive()
            await handler.socket.disconnect(reason="banned")
            assert await websocket.receive() == "41"

    async def test_with_close_it_is_in_the_lines_of_all_sockets_and_of_the_connection(
        self, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
    ) -> None:
        handler, other = Handler(), Handler()
        async with open_namespaces({"/": handler, "/other": other}) as server, server.strict_client() as client:
            await client.connection.join("/other")
            sid = handler.socket.client.connection.sid
            with caplog.at_level(logging.DEBUG, "trio_sio"):
                await handler.socket.disconnect(close=True, reason="banned")
            assert await client.connection.closed() == 1005

        ended = [(record.levelname, record.getMessage()) for record in caplog.records if " ended: " in record.getMessage()]
        assert ended == [
            ("INFO", f"Socket {handler.socket.id} in namespace '/' ended: server namespace disconnect ('banned')"),
            ("INFO", f"Socket {other.socket.id} in namespace '/other' ended: server namespace disconnect ('banned')"),
            ("DEBUG", f"Connection {sid[:6]}… ended: forced close (closed by the server: 'banned')"),
        ]

    async def test_text_of_a_client_in_it_is_escaped_and_cut(self, caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
        handler = Handler()
        async with open_namespaces(handler) as server, server.strict_client():
            with caplog.at_level(logging.DEBUG, "trio_sio"):
                await handler.socket.disconnect(close=True, reason="said\nERROR forged \x1b[2J" + "x" * 10_000)

        socket_line, connection_line = [message for message in caplog.messages if " ended: " in message]
        for line in (socket_line, connection_line):
            assert r"'said\nERROR forged \x1b[2Jxxx" in line
            assert len(line) < 300

    async def test_who_is_not_connected_yet_is_refused_and_it_is_logged(
        self, caplog: pytest.LogCaptureFixture, autojump_clock: Clock
    ) -> None:
        async def connect(socket: Socket, join: Join) -> None:
            await socket.disconnect(reason="not today")

        handler = Handler(connect=connect)
        with caplog.at_level(logging.INFO, "trio_sio.namespaces"):
            async with open_namespaces(handler) as server:
                with pytest.raises(ConnectionRefused, match="Connection refused"):
                    async with server.strict_client():
                        pass
        assert caplog.messages == [f"Socket {handler.socket.id} in namespace '/' ended: server namespace disconnect ('not today')"]

    async def test_without_one_the_line_is_for_debugging(self, caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
        handler = Handler()
        with caplog.at_level(logging.DEBUG, "trio_sio.namespaces"):
            async with open_namespaces(handler) as server, server.strict_client() as client:
                await client.disconnect()
                await settle()
        line = f"Socket {handler.socket.id} in namespace '/' ended: client namespace disconnect"
        assert [(record.levelname, record.getMessage()) for record in caplog.records] == [("DEBUG", line)]


async def test_the_hook_sees_a_socket_that_has_left_and_what_rooms_it_was_in(autojump_clock: Clock) -> None:
    seen = list[object]()

    async def disconnect(socket: Socket) -> None:
        seen.extend((socket.connected, socket.rooms, len(socket.namespace.sockets)))
        await socket.emit("to nobody")
        await socket.join("too late")
        seen.append(socket.rooms)

    handler = Handler(disconnect=disconnect)
    async with open_namespaces(handler) as server, server.strict_client() as client:
        await handler.socket.join("a", "b")
        await client.disconnect()
        await settle()

        rooms = {handler.socket.id, "a", "b"}
        assert seen == [False, rooms, 0, rooms]


async def test_the_hook_is_shielded_and_bounded(autojump_clock: Clock) -> None:
    ended = list[float]()

    async def disconnect(socket: Socket) -> None:
        try:
            await trio.sleep_forever()
        finally:
            ended.append(trio.current_time())

    handler = Handler(disconnect=disconnect)
    async with open_namespaces(handler, Config(cleanup_timeout=4)) as server, server.strict_client():
        start = trio.current_time()
        handler.socket.client.connection.cancel()
        await trio.sleep(10)

    assert ended == [start + 4]


async def test_a_hook_that_fails_is_logged(caplog: pytest.LogCaptureFixture, autojump_clock: Clock) -> None:
    async def disconnect(socket: Socket) -> None:
        raise LookupError("a bug")

    async with open_namespaces(Handler(disconnect=disconnect)) as server, server.strict_client() as client:
        await client.disconnect()
        await settle()

    assert [record.exc_info[0] for record in caplog.records if record.exc_info] == [LookupError]


async def test_leaving_a_namespace_lets_the_others_be_and_it_can_be_joined_again(autojump_clock: Clock) -> None:
    handler, other = Handler(), Handler()
    async with open_namespaces({"/": handler, "/other": other}) as server, server.strict_client() as client:
        second = await client.connection.join("/other")
        await client.disconnect()
        await settle()
        assert second.connected
        again = await client.connection.join("/")

        assert again.id == handler.socket.id
        assert len({socket.id for socket in (*handler.sockets, *other.sockets)}) == 3
        assert handler.reasons == ["client namespace disconnect"]

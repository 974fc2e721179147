"""What waits for the handlers of one connection: clients that are fast are slowed down, and memory is bounded."""

from __future__ import annotations

import gc
import json
import tracemalloc
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from trio_sio import Config, Limits
from trio_sio.engine.connection import Connection
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.socketio import Packet
from trio_sio.testing import RawWebSocket

Clock = trio.testing.MockClock

settle = trio.testing.wait_all_tasks_blocked


class Busy(Handler):
    """Handles one event at a time, each when the test says so; "ask" waits for an answer of the client instead."""

    def __init__(self) -> None:
        super().__init__(self._wait)
        self._go = trio.Semaphore(0)

    async def _wait(self, socket: Socket, packet: Packet) -> None:
        if packet.data[0] == "ask":
            await socket.emit_with_ack("question")
        else:
            await self._go.acquire()

    @property
    def connection(self) -> Connection:
        return self.socket.client.connection

    async def let(self, count: int) -> None:
        """Let so many handlers end."""
        for _ in range(count):
            self._go.release()
        await settle()


async def join(client: RawWebSocket) -> None:
    await client.receive()
    await client.send("40")
    await client.receive()


async def feed(connection: Connection, *packets: str) -> None:
    """Receive ``packets`` as a door does that stops at once when it is told to."""
    for packet in packets:
        await connection.wait_accepting()
        connection.text(packet.encode())
    await settle()


def text(size: int) -> str:
    return json.dumps(["x", "y" * size])


@contextmanager
def growth() -> Iterator[list[int]]:
    """Measure how much memory is taken at the most, and at the end."""
    taken = list[int]()
    gc.collect()
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        yield taken
        taken.extend(memory - before for memory in reversed(tracemalloc.get_traced_memory()))
    finally:
        tracemalloc.stop()


async def test_large_events_pause_reading_and_all_of_them_are_handled(autojump_clock: Clock) -> None:
    handler = Busy()
    async with open_namespaces(handler) as server, await server.websocket() as client:
        await join(client)
        for number in range(6):
            await client.send(f'42{number}["x","{"y" * 900_000}"]')
        await settle()
        # One is being handled; with the fifth that waits there is no more room.
        assert (handler.connection.accepting, handler.socket.client.inbox.events) == (False, 5)
        await handler.let(3)
        accepting = [handler.connection.accepting]
        await handler.let(3)

        assert (accepting, handler.reasons) == ([True], [])
        assert [len(str(event[1])) for event in handler.events] == [900_000] * 6
        assert handler.socket.client.inbox.bytes == 0


async def test_reading_goes_on_when_half_of_the_bytes_are_free(autojump_clock: Clock) -> None:
    handler = Busy()
    async with open_namespaces(handler, Config(limits=Limits(inbox_bytes=10_000))) as server, await server.websocket() as client:
        await join(client)
        for size in (1, 6_000, 1_000, 6_000):  # the first is being handled
            await client.send("42" + text(size))
            await settle()
        accepting = [handler.connection.accepting]
        for _ in range(2):
            await handler.let(1)
            accepting.append(handler.connection.accepting)
        await handler.let(1)
        accepting.append(handler.connection.accepting)

        assert accepting == [False, False, False, True]


@pytest.mark.parametrize("kind", ["events", "bytes"])
async def test_while_somebody_waits_for_the_client_its_events_wait_up_to_a_bound(kind: str, autojump_clock: Clock) -> None:
    handler, size = Busy(), 1 if kind == "events" else 3_000
    limits = Limits(inbox_events=5) if kind == "events" else Limits(inbox_bytes=len(text(3_000)) * 4)
    async with open_namespaces(handler, Config(limits=limits)) as server, await server.websocket() as client:
        await join(client)
        await client.send('42["ask"]')
        question = str(await client.receive())
        await feed(handler.connection, *["42" + text(size)] * 14)
        assert (handler.connection.accepting, handler.reasons) == (True, [])
        # The answer is read behind them, and then there is no reason to read on.
        await feed(handler.connection, f"43{question[2:].partition('[')[0]}[]")
        assert (len(handler.events), handler.connection.accepting) == (2, False)
        await handler.let(14)
        assert (len(handler.events), handler.connection.accepting) == (15, True)

        await feed(handler.connection, '42["ask"]', *["42" + text(size)] * 25)
        assert (handler.connection.accepting, handler.reasons) == (True, ["inbox overflow"])


async def test_a_handler_that_waits_for_its_client_does_not_cost_more_memory_than_it_may(autojump_clock: Clock) -> None:
    limits = Limits(inbox_events=1_000_000, inbox_bytes=256 * 1024)
    handler = Busy()
    async with open_namespaces(handler, Config(limits=limits)) as server, await server.websocket() as client:
        await join(client)
        await client.send('42["ask"]')
        await client.receive()
        with growth() as taken:
            for _ in range(650):
                handler.connection.text(b'42["a"]')
            packet = b'42["a",[' + b",".join([b"{}"] * 20_000) + b"]]"
            waiting = []
            for _ in range(4):
                waiting.append(handler.socket.client.inbox.events)
                handler.connection.text(packet)
        await settle()

        assert handler.reasons == ["inbox overflow"]
        # The last of them was too much, and what waits goes with the socket.
        assert 650 < max(waiting) < 654
        assert handler.socket.client.inbox.events == 0
        assert taken[1] < 3 * 4 * limits.inbox_bytes


@pytest.mark.parametrize("packet", [b'42["a"]', b'42["a",[' + b"{}," * 30 + b"0]]"], ids=["short", "dicts"])
async def test_events_that_wait_take_less_memory_than_three_times_the_bound(packet: bytes, autojump_clock: Clock) -> None:
    limits = Limits(inbox_events=1_000_000, inbox_bytes=1024 * 1024)
    handler = Busy()
    async with open_namespaces(handler, Config(limits=limits)) as server, await server.websocket() as client:
        await join(client)
        with growth() as taken:
            while handler.connection.accepting:
                handler.connection.text(packet)

        assert limits.inbox_bytes / 5 < taken[0] < 2 * limits.inbox_bytes


async def test_a_packet_that_waits_for_its_attachments_counts(autojump_clock: Clock) -> None:
    handler = Busy()
    async with open_namespaces(handler, Config(limits=Limits(inbox_bytes=10_000))) as server, await server.websocket() as client:
        await join(client)
        inbox = handler.socket.client.inbox
        await client.send('42["being handled"]')
        await client.send('452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]')
        await settle()
        header = inbox.bytes
        assert header > 256
        await client.send(bytes(20_000))
        await settle()
        # Nothing else waits, so this one has to be read to its end.
        assert (inbox.bytes > header + 20_000, inbox.events, handler.connection.accepting) == (True, 0, True)
        await client.send(bytes(1))
        await settle()
        assert (inbox.events, handler.connection.accepting) == (1, False)
        await handler.let(2)
        assert (inbox.events, inbox.bytes, handler.connection.accepting) == (0, 0, True)
        assert handler.events[1] == ["x", bytes(20_000), bytes(1)]


async def test_an_attachment_is_not_missed_while_nothing_is_read(autojump_clock: Clock) -> None:
    handler = Busy()
    config = Config(attachment_stall_timeout=30, ping_interval=1_000, limits=Limits(inbox_events=2))
    async with open_namespaces(handler, config) as server, await server.websocket() as client:
        await join(client)
        for name in ("being handled", "waits"):
            await client.send(f'42["{name}"]')
        await client.send('451-["x",{"_placeholder":true,"num":0}]')
        await settle()
        inbox = handler.socket.client.inbox
        inbox.hold(True)  # as if more waited
        await trio.sleep(100)
        inbox.hold(False)
        await trio.sleep(29)
        assert handler.reasons == []
        await client.send(b"y")
        await handler.let(3)
        assert handler.events[2] == ["x", b"y"]

        await client.send('451-["x",{"_placeholder":true,"num":0}]')
        await trio.sleep(31)
        assert handler.reasons == ["forced close"]


async def test_what_arrived_in_part_is_not_counted_when_the_connection_has_ended(autojump_clock: Clock) -> None:
    handler = Busy()
    async with open_namespaces(handler) as server, await server.websocket() as client:
        await join(client)
        await client.send('451-["x",{"_placeholder":true,"num":0}]')
        await settle()
        inbox = handler.socket.client.inbox
        assert inbox.bytes > 0
        await client.start_close()
        await settle()
        assert inbox.bytes == 0


# Sockets that have left and still clean up.


def leaving(number: int) -> list[str]:
    return ["40/b,", "41/b,"] * number


async def test_reading_stops_while_more_sockets_clean_up_than_namespaces_may_be_joined(autojump_clock: Clock) -> None:
    async def slow(socket: Socket) -> None:
        await trio.sleep(5)

    main, handler = Handler(), Handler(disconnect=slow)
    config = Config(limits=Limits(namespaces_per_connection=3))
    async with open_namespaces({"/": main, "/b": handler}, config) as server, await server.websocket() as client:
        await join(client)
        connection = main.socket.client.connection
        start, most = trio.current_time(), 0
        for packet in leaving(20):
            await feed(connection, packet)
            most = max(most, main.socket.client._living)
        await feed(connection, '42["still here"]')

        # One joined and two that clean up, each for five seconds, besides the main one.
        assert (most, main.events, main.reasons) == (4, [["still here"]], [])
        assert trio.current_time() == start + 45
        await trio.sleep(20)
        assert len(handler.reasons) == 20
        assert main.socket.client._living == 1


async def test_a_client_comes_back_while_its_old_socket_cleans_up(autojump_clock: Clock) -> None:
    async def slow(socket: Socket) -> None:
        await trio.sleep(5)

    main, handler = Handler(), Handler(disconnect=slow)
    config = Config(limits=Limits(namespaces_per_connection=2))
    async with open_namespaces({"/": main, "/b": handler}, config) as server, await server.websocket() as client:
        await join(client)
        for packet in ("40/b,", "41/b,", "40/b,"):
            await client.send(packet)
        start = trio.current_time()
        assert [str(await client.receive())[:5] for _ in range(2)] == ["40/b,"] * 2
        assert trio.current_time() == start
        await client.send('42/b,["x"]')
        await trio.sleep(6)
        assert handler.events == [["x"]]
        assert (main.reasons, handler.reasons) == ([], ["client namespace disconnect"])


async def test_too_many_sockets_that_clean_up_end_the_connection_while_somebody_waits_for_it(autojump_clock: Clock) -> None:
    async def slow(socket: Socket) -> None:
        await trio.sleep(5)

    async def ask(socket: Socket, packet: Packet) -> None:
        await socket.emit_with_ack("question")

    main, handler = Handler(ask), Handler(disconnect=slow)
    config = Config(limits=Limits(namespaces_per_connection=2))
    async with open_namespaces({"/": main, "/b": handler}, config) as server, await server.websocket() as client:
        await join(client)
        await client.send('42["ask"]')
        await client.receive()
        connection = main.socket.client.connection
        for packet in leaving(7):
            await feed(connection, packet)
        assert (main.socket.client._living, main.reasons) == (8, [])
        await feed(connection, "40/b,")
        assert main.reasons == ["forced close"]

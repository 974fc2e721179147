"""What one connection may say, and what ends it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, Join, open_namespaces
from trio_sio import Config, Disconnected, Limits
from trio_sio.namespaces import client as client_module
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.frames import EncodedPacket
from trio_sio.testing import RawWebSocket, WebSocketClosed


async def end_of(client: RawWebSocket) -> list[str | bytes]:
    """What still arrives before the server closes."""
    messages = list[str | bytes]()
    with pytest.raises(WebSocketClosed):
        while True:
            messages.append(await client.receive())
    return messages


@asynccontextmanager
async def open_joined(handler: Handler, config: Config | None = None) -> AsyncIterator[RawWebSocket]:
    async with open_namespaces({"/": handler, "/b": Handler(), "/c": Handler()}, config) as server, await server.websocket() as client:
        await client.receive()
        await client.send("40")
        await client.receive()
        yield client


@pytest.mark.parametrize(
    "packet",
    ["40", '44{"message":"x"}', '42/b,["x"]', "41/b,", "43/b,0[]", '451-/b,["x",{"_placeholder":true,"num":0}]', "4", "49", "42{}", "42[]"],
    ids=[
        "second CONNECT",
        "CONNECT_ERROR",
        "event elsewhere",
        "DISCONNECT elsewhere",
        "ack elsewhere",
        "attachment elsewhere",
        "empty",
        "unknown type",
        "no list",
        "no name",
    ],
)
async def test_packets_that_end_the_connection(packet: str) -> None:
    handler = Handler()
    async with open_joined(handler) as client:
        await client.send('42["before"]')
        await client.send(packet)
        await client.send('42["after"]')
        await end_of(client)
        await trio.testing.wait_all_tasks_blocked()

        assert handler.events == [["before"]]
        assert handler.reasons == ["forced close"]


async def test_no_event_counts_before_the_decision(autojump_clock: trio.testing.MockClock) -> None:
    async def connect(socket: Socket, join: Join) -> None:
        await trio.sleep(1)
        join()

    handler = Handler(connect=connect)
    async with open_namespaces(handler) as server, await server.websocket() as client:
        await client.receive()
        await client.send("40")
        await client.send('42["too early"]')
        await end_of(client)
        await trio.sleep(2)

        assert (handler.events, handler.reasons) == ([], [])


async def test_packets_that_cross_the_servers_disconnect_are_dropped() -> None:
    handler = Handler()
    async with open_joined(handler) as client:
        await handler.socket.disconnect()
        for packet in ('42["crossed"]', "430[]", "41"):
            await client.send(packet)
        await client.send("40")
        assert await client.receive() == "41"
        assert str(await client.receive()).startswith("40{")

        # It has joined again, so a packet for it counts, and so does leaving twice.
        await client.send('42["x"]')
        await client.send("41")
        await trio.testing.wait_all_tasks_blocked()
        assert handler.events == [["x"]]
        await client.send('42["late"]')
        await end_of(client)


@pytest.mark.parametrize(("limit", "ends"), [(3, False), (2, True)])
async def test_the_last_allowed_namespace_is_joined_and_the_next_ends_the_connection(limit: int, ends: bool) -> None:
    handler = Handler()
    async with open_joined(handler, Config(limits=Limits(namespaces_per_connection=limit))) as client:
        await client.send("40/b,")
        assert str(await client.receive()).startswith("40/b,{")
        await client.send("40/c,")
        await trio.testing.wait_all_tasks_blocked()

        assert handler.reasons == (["forced close"] if ends else [])


async def test_acks_that_nobody_asked_for_are_passed_over_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "BAD_ACKS", 3)
    handler = Handler()
    async with open_joined(handler) as client:
        for number in range(3):
            await client.send(f"43{number}[]")
        await trio.testing.wait_all_tasks_blocked()
        assert handler.reasons == []
        await client.send("433[]")
        await end_of(client)
        await trio.testing.wait_all_tasks_blocked()

        assert handler.reasons == ["forced close"]


async def wait_for_event(socket: Socket, number: int = 0) -> None:
    with suppress(Disconnected):
        await socket.once(f"awaited {number}")


REFUSED, LET_IN, ACKNOWLEDGED = "40/nowhere,", "40/b,", '421["awaited {}"]'


@pytest.mark.parametrize("packet", [REFUSED, ACKNOWLEDGED])
@pytest.mark.parametrize(("asks", "reasons"), [(10, []), (11, ["slow consumer"])])
async def test_who_asks_and_does_not_read_is_a_slow_consumer(packet: str, asks: int, reasons: list[str]) -> None:
    handler = Handler()
    async with open_joined(handler, Config(limits=Limits(outbox_packets=10))), trio.open_nursery() as nursery:
        for number in range(asks):
            handler.unhandled.add(f"awaited {number}")
            nursery.start_soon(wait_for_event, handler.socket, number)
        await trio.testing.wait_all_tasks_blocked()
        connection = handler.socket.client.connection
        connection.outbox.put(EncodedPacket(b"2[]"))
        for number in range(asks):
            connection.text(packet.format(number).encode())
        await trio.testing.wait_all_tasks_blocked()

        assert handler.reasons[:1] == reasons
        nursery.cancel_scope.cancel()


async def test_answers_that_have_left_count_no_more() -> None:
    handler = Handler()
    async with open_joined(handler, Config(limits=Limits(outbox_packets=3))) as client:
        connection = handler.socket.client.connection
        for _ in range(4):
            for _ in range(3):
                connection.text(REFUSED.encode())
            for _ in range(3):
                assert str(await client.receive()).startswith("44/nowhere,")
        assert handler.reasons == []


@asynccontextmanager
async def open_unread(handler: Handler, limit: int) -> AsyncIterator[RawWebSocket]:
    """Join the main namespace on a connection that holds nothing: what the client does not receive waits in the outbox."""
    config = Config(limits=Limits(outbox_packets=limit))
    async with open_namespaces({"/": handler, "/b": Handler()}, config) as server:
        stream = await server.connect_lockstep_stream()
        async with await RawWebSocket.open(stream, f"{config.path}/?EIO=4&transport=websocket") as client:
            await client.receive()
            await client.send("40")
            await client.receive()
            await trio.testing.wait_all_tasks_blocked()
            yield client


async def test_so_is_who_comes_and_goes_and_does_not_read() -> None:
    handler = Handler()
    async with open_unread(handler, 10) as client:
        with suppress(trio.BrokenResourceError):
            for _ in range(30):
                await client.send(LET_IN)
                await client.send("41/b,")
                await trio.testing.wait_all_tasks_blocked()
                if handler.reasons:
                    break

        assert handler.reasons == ["slow consumer"]
        await trio.aclose_forcefully(client.stream)


@pytest.mark.parametrize("packet", [REFUSED, LET_IN, ACKNOWLEDGED])
async def test_who_asks_while_the_application_waits_for_room_gets_an_answer(packet: str) -> None:
    handler = Handler()
    async with open_unread(handler, 10) as client, trio.open_nursery() as nursery:
        handler.unhandled.add("awaited 0")
        nursery.start_soon(wait_for_event, handler.socket)
        for number in range(30):
            nursery.start_soon(handler.socket.emit, "more", number)
        await trio.testing.wait_all_tasks_blocked()
        assert handler.socket.outbox.is_awaited
        await client.send(packet.format(0))
        await trio.testing.wait_all_tasks_blocked()

        received = [str(await client.receive()) for _ in range(31)]
        assert sum(one.startswith('42["more"') for one in received) == 30
        assert sum(one.startswith(("44/nowhere,", "40/b,", '431[{"status":"error"')) for one in received) == 1
        assert handler.reasons == []
        nursery.cancel_scope.cancel()


HEADER = '452-["x",{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}]'


async def test_attachments_that_trickle_in_are_waited_for_each_anew(autojump_clock: trio.testing.MockClock) -> None:
    handler = Handler()
    async with open_joined(handler, Config(attachment_stall_timeout=10, ping_interval=1_000)) as client:
        await client.send(HEADER)
        for attachment in (b"a", b"b"):
            await trio.sleep(9)
            await client.send(attachment)
        await trio.sleep(100)

        assert handler.events == [["x", b"a", b"b"]]
        assert handler.reasons == []


async def test_an_attachment_that_does_not_come_ends_the_connection(autojump_clock: trio.testing.MockClock) -> None:
    handler = Handler()
    async with open_joined(handler, Config(attachment_stall_timeout=10, ping_interval=1_000)) as client:
        await client.send(HEADER)
        await trio.sleep(5)
        start = trio.current_time()
        await client.send(b"a")
        await end_of(client)
        await trio.testing.wait_all_tasks_blocked()

        assert trio.current_time() == start + 10
        assert handler.reasons == ["forced close"]


async def test_an_unknown_namespace_is_refused_and_nothing_is_kept_of_it() -> None:
    handler = Handler()
    async with open_joined(handler) as client:
        for number in range(100):
            await client.send(f"40/nowhere-{number},")
            assert await client.receive() == f'44/nowhere-{number},{{"message":"Invalid namespace"}}'

        assert handler.socket.connected
        assert len(handler.socket.client._sockets) == 1

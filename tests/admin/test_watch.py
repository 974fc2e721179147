"""What pages see in development mode, as it happens."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.admin.opening import LOGIN, Administered, connect, make_server, open_admin, told
from trio_sio import Config, Limits, Socket
from trio_sio.admin.cutting import MOST_SHOWN
from trio_sio.admin.messages import show_socket
from trio_sio.admin.watch import MOST_EVENTS
from trio_sio.protocol import json
from trio_sio.testing import LoopbackNetwork, RawWebSocket, StrictSocket, open_test_server

STAMP = re.compile(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


async def everybody(page: StrictSocket) -> dict[str, Any]:
    (sockets,) = await page.once("all_sockets")
    return {socket["id"]: socket for socket in sockets}


async def pages_hear(page: StrictSocket) -> list[list[Any]]:
    """Return what ``page`` has been told until now, but for figures and stamps."""
    await trio.testing.wait_all_tasks_blocked()
    heard = []
    while page.pending:
        event = await page.receive()
        if event.name != "server_stats":
            heard.append([event.name, *(arg for arg in event.args if not (isinstance(arg, str) and STAMP.fullmatch(arg)))])
    return heard


async def test_the_life_of_a_socket() -> None:
    async with open_admin() as administered, administered.page() as page:
        assert list(await everybody(page)) == [page.id]
        await pages_hear(page)
        async with administered.client() as client:
            await client.emit_with_ack("say", 1, {"a": [None]})
            await client.emit_with_ack("enter", "room")
            await administered.server.of("/").sockets[client.id].leave("room")
            await client.disconnect()
        connected, *rest = await pages_hear(page)
        assert connected[0] == "socket_connected"
        assert connected[1]["id"] == client.id
        assert rest == [
            ["event_received", "/", client.id, ["say", 1, {"a": [None]}]],
            ["event_sent", "/", client.id, ["said", 1, {"a": [None]}]],
            ["event_received", "/", client.id, ["enter", "room"]],
            ["room_joined", "/", "room", client.id],
            ["room_left", "/", "room", client.id],
            ["socket_disconnected", "/", client.id, "client namespace disconnect"],
            ["room_left", "/", client.id, client.id],
        ]


async def test_every_message_has_the_time_as_javascript_writes_it() -> None:
    async with open_admin() as administered, administered.page() as page:
        async with administered.client() as client:
            await client.emit_with_ack("say", 1)
            await client.emit_with_ack("enter", "room")
        await trio.testing.wait_all_tasks_blocked()
        events = {event.name: event.args for event in page.pending}
        for name in ("socket_connected", "event_received", "event_sent", "room_joined", "room_left", "socket_disconnected"):
            assert STAMP.fullmatch(events[name][-1]), name


async def test_a_socket_is_shown_as_in_node() -> None:
    server = make_server()

    @server.on("remember")
    def remember(socket: Socket, **_: object) -> None:
        socket.data["user"] = {"name": "Bob"}
        socket.data["_admin"] = "Node's, on its own servers"

    async with open_admin(server) as administered:
        headers = {"Host": "chat.example", "Origin": "http://chat.example", "Cookie": "session=secret", "Authorization": "Bearer secret"}
        async with connect(administered.host, "/", {"token": "secret"}, address="192.0.2.1", headers=headers) as client:
            await client.emit_with_ack("remember")
            await client.emit_with_ack("enter", "room")
            async with administered.page() as page:
                socket = (await everybody(page))[client.id]
    assert sorted(socket) == ["clientId", "data", "handshake", "id", "nsp", "rooms", "transport"]
    assert (socket["nsp"], socket["transport"], socket["data"]) == ("/", "websocket", {"user": {"name": "Bob"}})
    assert sorted(socket["rooms"]) == sorted([client.id, "room"])
    assert re.fullmatch("[0-9a-f]{12}", socket["clientId"])
    handshake = socket["handshake"]
    assert sorted(handshake) == ["address", "headers", "issued", "query", "secure", "time", "url", "xdomain"]
    assert (handshake["address"], handshake["secure"], handshake["xdomain"]) == ("192.0.2.1", False, True)
    assert handshake["query"] == {"EIO": "4", "transport": "websocket"}
    assert handshake["url"].startswith("/socket.io/?")
    assert (handshake["headers"]["cookie"], handshake["headers"]["authorization"]) == ("(hidden)", "(hidden)")
    assert "secret" not in str(socket)


async def test_sockets_of_one_connection_have_a_client_in_common() -> None:
    async with open_admin() as administered, administered.client() as client, administered.client() as other:
        chatting = await client.connection.join("/chat")
        async with administered.page() as page:
            sockets = await everybody(page)
        assert len(sockets) == 4
        assert sockets[client.id]["clientId"] == sockets[chatting.id]["clientId"]
        assert sockets[other.id]["clientId"] != sockets[client.id]["clientId"]
        assert sockets[chatting.id]["nsp"] == "/chat"


async def test_a_socket_that_moves_to_a_websocket() -> None:
    async with open_admin() as administered, administered.page() as page:
        await everybody(page)
        await pages_hear(page)
        async with administered.host.client(transports=["polling"]) as polling:
            shown = (await told(page, "socket_connected"))[0]
            assert (shown["id"], shown["transport"]) == (polling.id, "polling")
        async with administered.host.client() as moving:
            shown = (await told(page, "socket_connected"))[0]
            assert (shown["id"], shown["transport"]) == (moving.id, "polling")
            assert await told(page, "socket_updated") == [{"id": moving.id, "nsp": "/", "transport": "websocket"}]
            async with administered.page() as later:
                assert (await everybody(later))[moving.id]["transport"] == "websocket"


async def test_rooms_that_are_joined_before_connect_are_joined_once() -> None:
    """The page lists a socket twice in a room that it is told of twice."""
    server = make_server()

    @server.on_connection
    async def joined(socket: Socket) -> None:
        await socket.join("early")

    async with open_admin(server) as administered, administered.page() as page:
        await everybody(page)
        await pages_hear(page)
        async with administered.client() as client:
            connected, *rest = await pages_hear(page)
        assert (connected[0], connected[1]["rooms"]) == ("socket_connected", [client.id])
        assert rest == [["room_joined", "/", "early", client.id]]


async def test_a_broadcast_is_shown_for_everybody_who_gets_it() -> None:
    async with open_admin() as administered, administered.client() as one, administered.client() as other, administered.page() as page:
        await everybody(page)
        await pages_hear(page)
        await administered.server.of("/").emit("news", 1)
        assert sorted(await pages_hear(page)) == sorted(["event_sent", "/", sid, ["news", 1]] for sid in (one.id, other.id))
        await administered.server.of("/").to(one.id).emit("news", 2)
        assert await pages_hear(page) == [["event_sent", "/", one.id, ["news", 2]]]
        await administered.server.of("/").to("nobody").emit("news", 3)
        assert await pages_hear(page) == []


async def test_what_pages_say_and_hear_is_no_event() -> None:
    """Each would be another."""
    async with open_admin() as administered, administered.page() as page, administered.page() as other:
        await everybody(page)
        await everybody(other)
        await pages_hear(page)
        await other.emit_with_ack("join", "/", "room")
        await administered.server.of("/admin").emit("hello")
        assert await pages_hear(page) == [["hello"]]


async def test_pages_of_another_server_see_it() -> None:
    network = LoopbackNetwork()
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(open_admin(make_server(cluster=network.cluster()))) for _ in range(2)]
        client = await stack.enter_async_context(there.client())
        page = await stack.enter_async_context(here.page())
        assert client.id in await everybody(page)
        await client.emit_with_ack("say", 1)
        assert (await told(page, "event_received"))[:3] == ["/", client.id, ["say", 1]]
        await client.emit_with_ack("enter", "room")
        assert (await told(page, "room_joined"))[:3] == ["/", "room", client.id]
        async with there.client() as late:
            while (await told(page, "socket_connected"))[0]["id"] != late.id:
                pass
        assert (await told(page, "socket_disconnected"))[:2] == ["/", late.id]


async def test_sockets_of_a_server_without_an_admin_page_are_shown_too(autojump_clock: trio.testing.MockClock) -> None:
    network = LoopbackNetwork()
    async with AsyncExitStack() as stack:
        plain = await stack.enter_async_context(open_test_server(make_server(cluster=network.cluster())))
        client = await stack.enter_async_context(plain.strict_client())
        here = await stack.enter_async_context(open_admin(make_server(cluster=network.cluster()), auth=None))
        page = await stack.enter_async_context(here.page(address="127.0.0.1"))
        shown = (await everybody(page))[client.id]
        assert (shown["nsp"], shown["clientId"], shown["transport"], shown["rooms"]) == ("/", None, None, [client.id])


@pytest.mark.parametrize(
    "answer", [None, "sockets", [1], [{"id": 5}], [{"id": "x"}], {"a": 1}, [[[[]]]], [{"id": "x", "clientId": None, "transport": None}]]
)
@pytest.mark.hostile("O24")
async def test_nonsense_of_another_server_is_no_socket(answer: Any, caplog: pytest.LogCaptureFixture) -> None:
    network = LoopbackNetwork()
    async with AsyncExitStack() as stack:
        liar = make_server(cluster=network.cluster())
        liar.of("/admin").on_server_side_emit("admin:sockets")(lambda: answer)
        await stack.enter_async_context(open_test_server(liar))
        here = await stack.enter_async_context(open_admin(make_server(cluster=network.cluster())))
        page = await stack.enter_async_context(here.page())
        assert list(await everybody(page)) == [page.id]
    assert not [record for record in caplog.records if record.exc_info]
    assert sum(record.name == "trio_sio.admin" for record in caplog.records) == 1


async def test_of_very_many_sockets_some_are_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_sio.admin.everybody.MOST_SOCKETS", 3)
    async with open_admin() as administered, AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(administered.client())
        async with administered.page() as page:
            assert len(await everybody(page)) == 3


# Bounds.


@pytest.mark.hostile("O20")
async def test_sockets_that_are_not_shown_cost_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of 50,000 each would take 40 microseconds in which nobody is served."""
    looked_at = 0

    def show(*args: Any, **options: Any) -> Any:
        nonlocal looked_at
        looked_at += 1
        return show_socket(*args, **options)

    monkeypatch.setattr("trio_sio.admin.everybody.MOST_SOCKETS", 3)
    monkeypatch.setattr("trio_sio.admin.watch.show_socket", show)
    async with open_admin() as administered, AsyncExitStack() as stack:
        for _ in range(9):
            await stack.enter_async_context(administered.client())
        looked_at = 0
        async with administered.page() as page:
            assert len(await everybody(page)) == 3
        assert looked_at <= 5  # the page itself, as it joins, and one to know that there are more


@pytest.mark.hostile("O20")
async def test_of_sockets_with_much_to_show_as_many_are_shown_as_fit() -> None:
    async with open_admin(make_server(Config(limits=Limits(outbox_bytes=20_000)))) as administered, AsyncExitStack() as stack:
        for _ in range(9):
            client = await stack.enter_async_context(administered.client())
            await client.emit_with_ack("enter", "x" * 1_000)
        async with administered.page() as page:
            assert 2 <= len(await everybody(page)) <= 5


@pytest.mark.hostile("O20")
async def test_half_a_character_hides_nobody() -> None:
    """JavaScript's strings may have one, and so the name of a room that a client has made up."""
    server = make_server()

    @server.on("call me")
    def call_me(socket: Socket, name: str) -> None:
        socket.data["name"] = name

    async with open_admin(server) as administered, administered.client() as client, administered.client() as other:
        await client.emit_with_ack("enter", "half \ud83d")
        await client.emit_with_ack("call me", "\ude00 half")
        async with administered.page() as page:
            shown = await everybody(page)
            assert shown.keys() == {client.id, other.id, page.id}
            assert shown[client.id]["rooms"] == sorted([client.id, "half \ud83d"])
            assert shown[client.id]["data"] == {"name": "\ude00 half"}


class Odd:
    def __repr__(self) -> str:
        raise ValueError("not even this")


@pytest.mark.parametrize("what", ["x" * 3_000_000, b"x" * 3_000_000, [["x" * 100] * 10] * 1_000, {"\ud800": "\ud800"}])
@pytest.mark.hostile("O20")
async def test_large_and_odd_events_are_cut(what: Any) -> None:
    server = make_server(Config(max_http_buffer_size=10_000_000, limits=Limits(outbox_bytes=20_000_000)))
    async with open_admin(server) as administered, administered.client() as client, administered.page() as page:
        await everybody(page)
        assert await client.emit_with_ack("say", what) == 1
        for kind in ("event_received", "event_sent"):
            shown = await told(page, kind)
            assert len(json.dumps(shown)[0]) < 4 * MOST_SHOWN
        assert await client.once("said") == (what,)


@pytest.mark.hostile("O20")
async def test_data_that_cannot_be_shown_is_named() -> None:
    server = make_server()

    @server.on("remember")
    def remember(socket: Socket) -> None:
        socket.data.update({"odd": Odd(), "large": ["x" * 1_000] * 1_000, "number": 10**100, "itself": socket.data})

    async with open_admin(server) as administered, administered.client() as client:
        await client.emit_with_ack("remember")
        async with administered.page() as page:
            data = (await everybody(page))[client.id]["data"]
    assert data["odd"] == "<Odd>"
    assert len(str(data)) < 4 * MOST_SHOWN


class Ledger(Mapping[str, object]):
    """Data that is somewhere else, which fails."""

    def __getitem__(self, key: str) -> object:
        raise OSError("the database is closed")

    def __iter__(self) -> Iterator[str]:
        raise OSError("the database is closed")

    def __len__(self) -> int:
        raise OSError("the database is closed")


@pytest.mark.hostile("O20")
async def test_data_that_fails_to_be_looked_at_shuts_no_page_out() -> None:
    server = make_server()

    @server.on("remember")
    def remember(socket: Socket) -> None:
        socket.data = Ledger()

    async with open_admin(server) as administered, administered.client() as client, administered.client() as other:
        await client.emit_with_ack("remember")
        async with administered.page() as page:
            shown = await everybody(page)
    assert shown.keys() == {client.id, other.id, page.id}
    assert shown[client.id]["data"] == {"data": "<Ledger>"}


@pytest.mark.hostile("O20")
async def test_a_client_with_many_rooms_hides_nobody() -> None:
    async with open_admin() as administered, administered.client() as client, administered.client() as other:
        socket = administered.server.of("/").sockets[client.id]
        for number in range(1_200):
            await socket.join(f"{number}{'y' * 1_000}")
        async with administered.page() as page:
            shown = await everybody(page)
    assert shown.keys() == {client.id, other.id, page.id}
    assert client.id in shown[client.id]["rooms"]
    assert 2 < len(shown[client.id]["rooms"]) < 10


@pytest.mark.hostile("O29")
async def test_of_a_flood_of_events_so_many_are_shown(mock_clock: trio.testing.MockClock) -> None:
    async with open_admin() as administered, administered.client() as client, administered.page() as page:
        await everybody(page)
        await pages_hear(page)
        for _ in range(MOST_EVENTS):
            assert await client.emit_with_ack("say", 1) == 1
        # Two events each, of which the page is told as many as it keeps.
        assert len(await pages_hear(page)) == MOST_EVENTS
        assert administered.counts.left_out == MOST_EVENTS
        mock_clock.jump(1)
        await client.emit_with_ack("say", 2)
        assert len(await pages_hear(page)) == 2


@pytest.mark.hostile("O29")
async def test_a_room_whose_name_fits_into_no_message_is_left_out(caplog: pytest.LogCaptureFixture) -> None:
    """Clients may make it up."""
    async with (
        open_admin(make_server(Config(limits=Limits(outbox_bytes=20_000)))) as administered,
        administered.client() as client,
        administered.page() as page,
    ):
        await everybody(page)
        await pages_hear(page)
        await client.emit_with_ack("enter", "x" * 30_000)
        await client.emit_with_ack("enter", "room")
        assert [event[:3] for event in await pages_hear(page) if event[0] == "room_joined"] == [["room_joined", "/", "room"]]
        assert administered.counts.left_out == 1
    assert not [record for record in caplog.records if record.exc_info]


@pytest.mark.hostile("O29")
async def test_a_broadcast_to_very_many_is_shown_for_some(mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_sio.admin.watch.MOST_EVENTS", 3)
    async with open_admin() as administered, AsyncExitStack() as stack:
        for _ in range(5):
            await stack.enter_async_context(administered.client())
        page = await stack.enter_async_context(administered.page())
        await everybody(page)
        await pages_hear(page)
        await administered.server.of("/").emit("news")
        assert [event[0] for event in await pages_hear(page)] == ["event_sent"] * 3
        assert administered.counts.left_out == 2


@pytest.mark.hostile("O29")
async def test_a_page_that_does_not_read_is_a_slow_consumer_and_nobody_else_notices(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_sio.engine")
    server = make_server(Config(limits=Limits(outbox_packets=50)))
    async with open_admin(server) as administered, administered.client() as client:
        stream = await _stuck_page(administered)
        assert len(server.of("/admin").sockets) == 1
        for number in range(60):
            # The events of that, which are volatile, are not what ends it.
            assert await client.emit_with_ack("say", number) == 1
        assert len(server.of("/admin").sockets) == 1
        for number in range(60):
            assert await client.emit_with_ack("enter", f"room {number}") is None
        with trio.fail_after(10):
            while server.of("/admin").sockets:
                await trio.testing.wait_all_tasks_blocked(0.001)
        assert any("ended: slow consumer" in message for message in caplog.messages)
        assert await client.emit_with_ack("say", 1) == 1
        await trio.aclose_forcefully(stream)


async def _stuck_page(administered: Administered) -> trio.abc.Stream:
    """Log in, see who is there, and read no more."""
    stream = await administered.host.connect_lockstep_stream()
    websocket = await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket")
    await websocket.receive()
    await websocket.send(f"40/admin,{json.dumps(LOGIN)[0].decode()}")
    while not str(await websocket.receive()).startswith('42/admin,["all_sockets"'):
        pass
    return stream

"""What pages ask for, and what they cannot have."""

from __future__ import annotations

import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.admin.opening import make_server, open_admin
from trio_sio.testing import LoopbackNetwork

NOBODY = "x" * 20


async def test_join_and_leave_one_socket() -> None:
    async with open_admin() as administered, administered.client() as client, administered.client() as other, administered.page() as page:
        await page.emit_with_ack("join", "/", "room", client.id)
        await page.emit_with_ack("join", "/", "room two")
        sockets = administered.server.of("/").sockets
        assert sockets[client.id].rooms == {client.id, "room", "room two"}
        assert sockets[other.id].rooms == {other.id, "room two"}
        await page.emit_with_ack("leave", "/", "room two", "room")
        assert sockets[client.id].rooms == {client.id, "room"}
        assert sockets[other.id].rooms == {other.id, "room two"}
        # "Clear the room", as the page calls it.
        await page.emit_with_ack("leave", "/", "room two", None)
        assert sockets[other.id].rooms == {other.id}
        assert administered.counts.commands == 4


@pytest.mark.parametrize("close", [False, True])
async def test_disconnect_one_socket(close: bool) -> None:
    async with open_admin() as administered, administered.client() as client, administered.client() as other, administered.page() as page:
        await page.emit_with_ack("_disconnect", "/", close, client.id)
        assert (await client.closed()).disconnected
        if close:
            await client.connection.closed()
        else:
            await client.connection.join("/chat")
        assert other.id in administered.server.of("/").sockets


async def test_disconnect_a_room_and_all() -> None:
    async with open_admin() as administered, administered.client() as client, administered.client() as other, administered.page() as page:
        await administered.server.of("/").sockets[client.id].join("room")
        await page.emit_with_ack("_disconnect", "/", False, "room")
        await client.closed()
        assert list(administered.server.of("/").sockets) == [other.id]
        await page.emit_with_ack("_disconnect", "/")
        await other.closed()


async def test_emit_to_a_room_or_to_all() -> None:
    async with open_admin() as administered, administered.client() as client, administered.client() as other, administered.page() as page:
        await page.emit_with_ack("emit", "/", client.id, "hello", 1, {"a": b"x"})
        assert await client.once("hello") == (1, {"a": b"x"})
        await page.emit_with_ack("emit", "/", None, "hello all")
        assert [await one.once("hello all") for one in (client, other)] == [(), ()]
        assert not other.pending


async def test_who_asked_for_what_is_in_the_log(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_sio")
    async with open_admin() as administered, administered.client() as client, administered.page() as page:
        await page.emit_with_ack("_disconnect", "/", True, client.id)
        await client.closed()
        assert f"Admin page {page.id} (test) disconnected: {client.id!r} in namespace '/'." in caplog.messages
        assert any("an admin page asked for it" in message for message in caplog.messages)


COMMANDS: list[list[Any]] = [
    ["join", "/", "room"],
    ["leave", "/", "room"],
    ["_disconnect", "/", True],
    ["emit", "/", None, "hello"],
]

BAD: list[list[Any]] = [
    ["join"],
    ["join", "/"],
    ["join", 5, "room"],
    ["join", "/", 5],
    ["join", "/", ["room"]],
    ["join", "/", None],
    ["join", "/", ""],
    ["join", "/", "x" * 100_000],
    ["join", "/", "room", ""],
    ["join", "/", "room", {"$ne": None}],
    ["join", "/nowhere", "room"],
    ["join", "no slash", "room"],
    ["join", "/" + "x" * 50_000, "room"],
    ["leave", "/", "x" * 100_000],
    ["leave", {"nsp": "/"}, "room"],
    ["_disconnect", "/", "yes"],
    ["_disconnect", "/nowhere", False],
    ["_disconnect", "/", False, ["a"]],
    ["emit", "/", None],
    ["emit", "/", None, 5],
    ["emit", "/", None, "connect"],
    ["emit", "/", "", "hello"],
    ["emit", "/admin", None, "config", {"supportedFeatures": []}],
]


@pytest.mark.parametrize("command", BAD, ids=lambda command: str(command)[:60])
@pytest.mark.hostile("O26")
async def test_what_is_no_command_is_refused_and_counted(command: list[Any], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with open_admin() as administered, administered.client() as client, administered.page() as page:
        answer = await page.emit_with_ack(*command)
        assert answer["status"] == "error", answer
        assert administered.counts.refused_commands == 1
        assert administered.counts.commands == 0
        assert administered.server.of("/").sockets[client.id].rooms == {client.id}
        assert len(list(administered.server.namespaces)) == 3
        # And it goes on.
        await page.emit_with_ack("join", "/", "room", client.id)
        assert administered.counts.commands == 1
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO]
    assert all(len(message) < 400 for message in caplog.messages)


@pytest.mark.hostile("O26")
async def test_a_private_room_cannot_be_joined() -> None:
    async with open_admin() as administered, administered.client() as client, administered.client() as other, administered.page() as page:
        answer = await page.emit_with_ack("join", "/", client.id, other.id)
        assert "is the id of another socket" in answer["message"]
        assert administered.counts.refused_commands == 1


@pytest.mark.parametrize("command", [["join", "/", "room", NOBODY], ["leave", "/", "room", NOBODY], ["_disconnect", "/", True, NOBODY]])
@pytest.mark.hostile("O26")
async def test_a_socket_that_is_not_there_is_nobody(command: list[Any]) -> None:
    """It may just have gone, or be on another server: that is no mistake of the page."""
    async with open_admin() as administered, administered.client() as client, administered.page() as page:
        assert await page.emit_with_ack(*command) is None
        assert administered.server.of("/").sockets[client.id].rooms == {client.id}


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
@pytest.mark.hostile("O27")
async def test_a_page_that_may_only_read_gets_nothing_done(command: list[Any]) -> None:
    async with open_admin(readonly=True) as administered, administered.client() as client, administered.page() as page:
        assert (await page.once("config"))[0]["supportedFeatures"] == ["AGGREGATED_EVENTS", "ALL_EVENTS"]
        answer = await page.emit_with_ack(*command)
        assert answer == {"status": "error", "message": "This admin page is for reading only."}
        assert (administered.counts.commands, administered.counts.refused_commands) == (0, 1)
        assert administered.server.of("/").sockets[client.id].rooms == {client.id}
        assert not [event for event in client.pending if event.name == "hello"]


@pytest.mark.hostile("O26")
async def test_a_flood_of_commands_waits_for_its_turn() -> None:
    async with open_admin(mode="production") as administered, administered.client() as client, administered.page() as page:
        for number in range(1_000):
            await page.emit("join", "/", f"room {number % 7}", client.id)
        await page.emit_with_ack("leave", "/", "room 0", client.id)
        assert len(administered.server.of("/").sockets[client.id].rooms) == 7
        assert administered.counts.commands == 1_001


@pytest.mark.hostile("O26")
async def test_a_page_that_sends_something_else_is_answered_as_anybody_is() -> None:
    async with open_admin() as administered, administered.page() as page:
        assert await page.emit_with_ack("server_stats", {"serverId": "mine"}) == {"status": "error", "message": "Unknown event"}
        assert await page.emit_with_ack("join", b"/", b"room") != "ok"
        assert administered.server.of("/admin").sockets


async def test_commands_reach_every_server_of_the_cluster() -> None:
    network = LoopbackNetwork()
    async with AsyncExitStack() as stack:
        here, there = [await stack.enter_async_context(open_admin(make_server(cluster=network.cluster()))) for _ in range(2)]
        client = await stack.enter_async_context(there.client())
        chatting = await stack.enter_async_context(there.client("/chat"))
        page = await stack.enter_async_context(here.page())
        await page.emit_with_ack("join", "/", "room", client.id)
        await _until(lambda: "room" in there.server.of("/").sockets[client.id].rooms)
        await page.emit_with_ack("leave", "/", "room")
        await _until(lambda: "room" not in there.server.of("/").sockets[client.id].rooms)
        await page.emit_with_ack("emit", "/", client.id, "hello")
        await client.once("hello")
        await page.emit_with_ack("_disconnect", "/chat", False, chatting.id)
        await chatting.closed()


@pytest.mark.hostile("O26")
async def test_in_a_cluster_a_namespace_may_be_elsewhere_but_not_everywhere() -> None:
    async with open_admin(make_server(cluster=LoopbackNetwork().cluster())) as administered, administered.page() as page:
        assert await page.emit_with_ack("join", "/room-5", "room") is None
        for name in ("", "x", "/" + "x" * 300):
            assert (await page.emit_with_ack("join", name, "room"))["message"] == "There is no such namespace."


async def _until(holds: Any) -> None:
    with trio.fail_after(10):
        while not holds():
            await trio.testing.wait_all_tasks_blocked(0.001)

"""The chat on ``/chat``, from the point of view of its clients."""

from __future__ import annotations

import time
from contextlib import AbstractAsyncContextManager
from functools import partial

import pytest
import trio.testing

from handlers.chat import ChatController
from handlers.chat_state import LOBBY, NAME_LENGTH, Chat
from trio_sio import ClientSocket, ConnectionRefused, Route, RoutingTable, Server
from trio_sio.testing import InMemoryServer, open_test_server


def chat_routes() -> RoutingTable:
    return RoutingTable(Route("/chat", partial(ChatController, chat=Chat())))


def person(server: InMemoryServer, name: object) -> AbstractAsyncContextManager[ClientSocket]:
    return server.client(namespace="/chat", auth={"name": name})


async def joined(client: ClientSocket, room: str = LOBBY) -> None:
    """Join a room and wait until its people were told."""
    assert (await client.emit_with_ack("join", room))["room"] == room
    await client.once("people")


async def test_the_first_event_is_a_welcome(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(chat_routes()) as server, person(server, " Ada ") as ada, person(server, "ada") as twin:
        assert (await ada.receive()).args == ({"name": "Ada", "rooms": [{"name": LOBBY, "count": 0}]},)
        assert (await twin.once("welcome"))[0]["name"] == "ada 2"


@pytest.mark.parametrize("name", [None, 7, "", "   ", "n" * (NAME_LENGTH + 1), "a\u202eb"])
async def test_a_client_without_a_usable_name_is_refused(autojump_clock: trio.testing.MockClock, name: object) -> None:
    async with open_test_server(chat_routes()) as server:
        with pytest.raises(ConnectionRefused) as refused:
            async with person(server, name):
                pytest.fail("it was let in")
        assert refused.value.data == {"field": "name"}
        async with person(server, "Ada") as ada:
            assert (await ada.once("welcome"))[0]["name"] == "Ada"


async def test_a_client_without_auth_is_refused(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(chat_routes()) as server:
        with pytest.raises(ConnectionRefused, match="auth"):
            async with server.client(namespace="/chat"):
                pytest.fail("it was let in")


async def test_a_message_reaches_the_others_in_the_room_only(autojump_clock: trio.testing.MockClock) -> None:
    async with (
        open_test_server(chat_routes()) as server,
        person(server, "Ada") as ada,
        person(server, "Grace") as grace,
        person(server, "Mary") as mary,
    ):
        await joined(ada)
        await joined(grace)
        await joined(mary, "elsewhere")
        before = time.time() * 1000
        said = await ada.emit_with_ack("say", LOBBY, "hello", "m1")
        assert said == {"id": "m1", "room": LOBBY, "author": "Ada", "text": "hello", "at": said["at"]}
        assert before - 1 <= said["at"] <= time.time() * 1000
        assert await grace.once("said") == (said,)
        # What comes back from the server after the message shows that the message did not come.
        for client, room in ((ada, LOBBY), (mary, "elsewhere")):
            await client.emit_with_ack("leave", room)
            assert not [event for event in client.pending if event.name == "said"]


async def test_a_message_that_is_sent_again_is_told_once(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(chat_routes()) as server, person(server, "Ada") as ada, person(server, "Grace") as grace:
        await joined(ada)
        await joined(grace)
        first = await ada.emit_with_ack("say", LOBBY, "hello", "m1")
        assert await ada.emit_with_ack("say", LOBBY, "hello", "m1") == first
        await ada.emit_with_ack("say", LOBBY, "bye", "m2")
        assert [(await grace.once("said"))[0]["id"] for _ in range(2)] == ["m1", "m2"]


async def test_who_comes_later_gets_the_history(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(chat_routes()) as server, person(server, "Grace") as grace:
        async with person(server, "Ada") as ada:
            await joined(ada)
            said = await ada.emit_with_ack("say", LOBBY, "hello", "m1")
        assert await grace.emit_with_ack("join", LOBBY) == {"room": LOBBY, "messages": [said]}


async def test_everybody_knows_who_is_here(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(chat_routes()) as server, person(server, "Ada") as ada:
        await ada.emit_with_ack("join", LOBBY)
        assert await ada.once("people") == (LOBBY, 1, ["Ada"])
        async with person(server, "Grace") as grace:
            await grace.emit_with_ack("join", LOBBY)
            assert await ada.once("people") == (LOBBY, 2, ["Ada", "Grace"])
            await grace.emit_with_ack("leave", LOBBY)
            assert await ada.once("people") == (LOBBY, 1, ["Ada"])
            await grace.emit_with_ack("join", LOBBY)
            assert await ada.once("people") == (LOBBY, 2, ["Ada", "Grace"])
        assert await ada.once("people") == (LOBBY, 1, ["Ada"])


async def test_everybody_knows_the_rooms(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(chat_routes()) as server, person(server, "Ada") as ada:
        async with person(server, "Grace") as grace:
            await grace.emit_with_ack("join", "engines")
            assert await ada.once("rooms") == ([{"name": LOBBY, "count": 0}, {"name": "engines", "count": 1}],)
        assert await ada.once("rooms") == ([{"name": LOBBY, "count": 0}, {"name": "engines", "count": 0}],)


async def test_typing_is_told_to_the_others_in_the_room(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(chat_routes()) as server, person(server, "Ada") as ada, person(server, "Grace") as grace:
        await joined(grace)
        await ada.emit("typing", LOBBY)
        await joined(ada)
        await ada.emit("typing", LOBBY)
        await ada.emit_with_ack("say", LOBBY, "hello", "m1")
        await grace.once("said")
        hints = [event.args for event in grace.pending if event.name == "typing"]
        assert hints == [(LOBBY, "Ada")], "only the hint from inside the room counts"
        assert not [event for event in ada.pending if event.name == "typing"]


async def test_a_room_is_not_a_way_to_somebody_else(autojump_clock: trio.testing.MockClock) -> None:
    async with open_test_server(chat_routes()) as server, person(server, "Ada") as ada, person(server, "Mallory") as mallory:
        assert ada.id is not None
        await joined(mallory, ada.id)
        assert isinstance(server.server, Server)
        await server.server.of("/chat").to(ada.id).emit("secret")
        assert await ada.once("secret") == ()
        await mallory.emit_with_ack("leave", ada.id)
        assert not [event for event in mallory.pending if event.name == "secret"]


@pytest.mark.parametrize(
    ("event", "args", "message"),
    [
        ("join", ("",), "A room's name needs 1 to 24 characters."),
        ("join", (7,), None),
        ("join", (), None),
        ("say", (LOBBY, "", "m1"), "A message needs 1 to 1000 characters."),
        ("say", ("elsewhere", "hello", "m1"), "You are not in that room; join it first."),
        ("say", (LOBBY, "hello"), None),
        ("say", (LOBBY, {"html": "<b>"}, "m1"), None),
    ],
)
async def test_what_does_not_fit_is_answered_with_the_reason(
    autojump_clock: trio.testing.MockClock, event: str, args: tuple[object, ...], message: str | None
) -> None:
    async with open_test_server(chat_routes()) as server, person(server, "Ada") as ada:
        await joined(ada)
        answer = await ada.emit_with_ack(event, *args)
        assert answer["status"] == "error"
        assert message is None or answer["message"] == message
        assert (await ada.emit_with_ack("say", LOBBY, "still here", "m2"))["text"] == "still here"

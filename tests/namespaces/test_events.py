"""What is told about namespaces and rooms."""

from __future__ import annotations

import re

import pytest

from tests.namespaces.serving import Handler, open_namespaces
from tests.namespaces.standins import Standins
from trio_sio import Namespace, Server


class Journal:
    """Writes down what happens to the rooms of a namespace."""

    def __init__(self, namespace: Namespace) -> None:
        self.entries: list[tuple[str, ...]] = []
        adapter = namespace.adapter
        adapter.on_create_room(lambda room: self.entries.append(("create", room)))
        adapter.on_join_room(lambda room, sid: self.entries.append(("join", room, sid)))
        adapter.on_leave_room(lambda room, sid: self.entries.append(("leave", room, sid)))
        adapter.on_delete_room(lambda room: self.entries.append(("delete", room)))

    def take(self) -> list[tuple[str, ...]]:
        """What was written since the last time."""
        entries, self.entries = self.entries, []
        return entries


def test_rooms_come_and_go_with_their_members() -> None:
    standins = Standins(2)
    journal = Journal(standins.namespace)
    first, second = standins.sockets

    first.join_nowait("a", first.id)
    assert journal.take() == [("create", "a"), ("join", "a", first.id)]
    second.join_nowait("a")
    assert journal.take() == [("join", "a", second.id)]
    second.join_nowait("a")
    standins.adapter.add(second, ["a"])
    first.leave_nowait("b", "a")
    assert journal.take() == [("leave", "a", first.id)]
    standins.leave(1)
    assert journal.take() == [("leave", "a", second.id), ("delete", "a")]


def test_of_several_rooms_each_is_told() -> None:
    standins = Standins(1)
    journal = Journal(standins.namespace)
    (socket,) = standins.sockets

    socket.join_nowait("a", "b")
    joined = journal.take()
    assert sorted(joined) == [("create", "a"), ("create", "b"), ("join", "a", socket.id), ("join", "b", socket.id)]
    for room in "ab":
        assert joined.index(("create", room)) < joined.index(("join", room, socket.id))
    standins.leave(0)
    left = journal.take()
    assert sorted(left) == [("delete", "a"), ("delete", "b"), ("leave", "a", socket.id), ("leave", "b", socket.id)]
    for room in "ab":
        assert left.index(("leave", room, socket.id)) < left.index(("delete", room))


def test_everything_has_happened_by_then() -> None:
    standins = Standins(1)
    namespace, (socket,) = standins.namespace, standins.sockets
    heard = list[object]()
    namespace.adapter.on_create_room(lambda room: namespace.to(room).emit_nowait("welcome"))
    namespace.adapter.on_delete_room(lambda room: heard.append(socket.connected))

    socket.join_nowait("a", "b")
    standins.leave(0)

    assert standins.texts(0) == [b'42["welcome"]'] * 2
    assert heard == [False, False]


@pytest.mark.hostile("P29")
def test_callbacks_that_raise_leave_the_rooms_alone(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*args: object) -> None:
        raise LookupError("a mistake of the application")

    standins = Standins(1)
    adapter = standins.adapter
    adapter.on_create_room(fail)
    adapter.on_join_room(fail)
    adapter.on_leave_room(fail)
    adapter.on_delete_room(fail)
    standins.sockets[0].join_nowait("a")
    standins.leave(0)

    assert (adapter._members, adapter._rooms) == ({}, {})
    names = ("on_create_room", "on_join_room", "on_leave_room", "on_delete_room")
    assert caplog.messages == [f"A function that was given to {name} failed." for name in names]


async def test_each_namespace_is_told_once_and_complete() -> None:
    heard = list[tuple[str, bool, bool]]()
    async with open_namespaces({"/": Handler(), re.compile(r"/room-\d+"): Handler()}) as in_memory:
        server = in_memory.server
        assert isinstance(server, Server)

        @server.on_new_namespace
        def made(namespace: Namespace) -> None:
            heard.append((namespace.name, namespace.is_dynamic, namespace.handler is not None))
            assert server.of(namespace.name) is namespace

        server.of("/")
        kept = server.of("asked for")
        async with in_memory.strict_client("/room-7"), in_memory.strict_client("/room-7"):
            assert server.of("/asked for") is kept

    assert heard == [("/asked for", False, False), ("/room-7", True, True)]

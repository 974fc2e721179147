"""An application's own adapter: one per namespace, asked for everything that concerns rooms."""

from __future__ import annotations

from collections.abc import Iterable
from functools import partial

import pytest

from tests.namespaces.serving import Handler, open_namespaces
from trio_sio import Config, Namespace, Server
from trio_sio.namespaces.adapter import InMemoryAdapter, Target
from trio_sio.namespaces.socket import Socket
from trio_sio.protocol.frames import EncodedPacket


class Recorder(InMemoryAdapter):
    """Writes down what it is asked for, and does it."""

    def __init__(self, namespace: Namespace, journal: list[tuple[object, ...]]) -> None:
        super().__init__(namespace)
        self._name = namespace.name
        self._journal = journal

    def add(self, socket: Socket, rooms: Iterable[str]) -> None:
        rooms = set(rooms)
        self._journal.append((self._name, "add", socket.id, rooms))
        super().add(socket, rooms)

    def broadcast(self, packet: EncodedPacket, target: Target) -> None:
        self._journal.append((self._name, "broadcast", packet.text, target))
        super().broadcast(packet, target)


async def test_each_namespace_gets_one_of_its_own_and_asks_it() -> None:
    journal: list[tuple[object, ...]] = []
    main, chat = Handler(), Handler()
    config = Config(adapter=partial(Recorder, journal=journal))
    async with open_namespaces({"/": main, "/chat": chat}, config) as server, server.strict_client() as client:
        member = await client.connection.join("/chat")
        await main.socket.join("a", "b")
        await chat.socket.join("c")
        await chat.socket.namespace.to("c").emit("said", 1)

        assert await member.once("said") == (1,)
        assert journal == [
            ("/", "add", client.id, {"a", "b"}),
            ("/chat", "add", member.id, {"c"}),
            ("/chat", "broadcast", b'42/chat,["said",1]', Target(rooms=frozenset({"c"}))),
        ]


async def test_a_class_is_enough_and_the_namespace_is_complete_when_it_is_made() -> None:
    seen: list[tuple[str, int, int]] = []

    class Curious(InMemoryAdapter):
        def __init__(self, namespace: Namespace) -> None:
            super().__init__(namespace)
            seen.append((namespace.name, len(namespace.sockets), namespace.next_ack_id()))

    async with open_namespaces(Handler(), Config(adapter=Curious)) as server, server.strict_client():
        assert seen == [("/", 0, 0)]


def test_rooms_are_in_memory_without_it() -> None:
    assert type(Server().of("/").adapter) is InMemoryAdapter


def test_what_it_raises_reaches_whoever_asks_for_the_namespace() -> None:
    def refuse(namespace: Namespace) -> InMemoryAdapter:
        raise RuntimeError(f"no adapter for {namespace.name}")

    with pytest.raises(RuntimeError, match="no adapter for /"):
        Server(config=Config(adapter=refuse))

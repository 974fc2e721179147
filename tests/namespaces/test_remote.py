"""Clients of other servers, through an adapter that has one of them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from trio_sio import AckTimeout, BroadcastAnswers, Disconnected, EncodeError, Handshake, Namespace, RemoteSocket, Server
from trio_sio.namespaces.adapter import Broadcast, FoundSockets, InMemoryAdapter
from trio_sio.namespaces.socket import Socket
from trio_sio.namespaces.target import Target
from trio_sio.protocol.http import Headers

Clock = trio.testing.MockClock


class Elsewhere(InMemoryAdapter):
    """Pretends that a client ``away`` is connected to another server and in room ``far``; writes down what it is told."""

    def __init__(self, namespace: Namespace) -> None:
        super().__init__(namespace)
        self.journal: list[Sequence[object]] = []
        self.rooms = {"away", "far"}
        self.answer: tuple[object, ...] | None = ("answer",)
        self.is_there = True

    def _means(self, target: Target) -> bool:
        return self.is_there and not target.local and target.includes(self.rooms)

    def broadcast(self, broadcast: Broadcast) -> None:
        super().broadcast(broadcast)
        if self._means(broadcast.target):
            self.journal.append(broadcast.event)

    def broadcast_with_ack(self, broadcast: Broadcast, answers: BroadcastAnswers) -> None:
        super().broadcast_with_ack(broadcast, answers)
        if self._means(broadcast.target):
            self.journal.append(broadcast.event)
            answers.expect(1)
            if self.answer is not None:
                answers.arrive("away", self.answer)

    async def fetch_sockets(self, target: Target, timeout: float | None = None) -> FoundSockets:
        local = await super().fetch_sockets(target, timeout)
        if not self._means(target):
            return local
        return FoundSockets(
            [*local, RemoteSocket(self._namespace, "away", Handshake({}, Headers(), {}, None, False), self.rooms, {"name": "Ada"})]
        )

    async def count_sockets(self, target: Target, timeout: float | None = None) -> int:
        return await super().count_sockets(target, timeout) + self._means(target)

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        if self._means(target):
            self.rooms.update(rooms)
        await super().add_sockets(target, rooms)

    async def remove_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        if self._means(target):
            self.rooms.difference_update(rooms)
        await super().remove_sockets(target, rooms)

    async def disconnect_sockets(self, target: Target, *, close: bool, reason: str | None) -> None:
        if self._means(target):
            self.journal.append(("disconnect", close, reason))
        await super().disconnect_sockets(target, close=close, reason=reason)


@asynccontextmanager
async def cluster() -> AsyncIterator[tuple[Server, Elsewhere, Socket]]:
    """A server, its adapter, and its one client of its own."""
    handler = Handler()
    async with open_namespaces(handler, adapter=Elsewhere) as in_memory, in_memory.strict_client():
        server = in_memory.server
        assert isinstance(server, Server)
        adapter = server.of("/").adapter
        assert isinstance(adapter, Elsewhere)
        yield server, adapter, handler.socket


async def away(server: Server) -> RemoteSocket:
    (socket,) = await server.to("far").fetch_sockets()
    assert isinstance(socket, RemoteSocket)
    return socket


async def test_sockets_of_this_server_are_fetched_as_they_are_and_others_as_remote_ones() -> None:
    async with cluster() as (server, _, local):
        first, second = await server.fetch_sockets()
        assert first is local
        assert isinstance(second, RemoteSocket)
        assert (second.id, second.rooms, second.data) == ("away", frozenset({"away", "far"}), {"name": "Ada"})
        assert (second.namespace, second.handshake.auth) == (server.of("/"), {})
        assert repr(second) == "<RemoteSocket away '/'>"
        assert list(await server.local.fetch_sockets()) == [local]


async def test_they_are_counted_without_being_fetched() -> None:
    async with cluster() as (server, adapter, local):
        assert await server.count_sockets() == 2
        assert await server.local.count_sockets() == 1
        assert await server.to("far").count_sockets() == 1
        assert await server.to(local.id, "far").count_sockets() == 2
        assert await local.broadcast.count_sockets() == 1
        adapter.is_there = False
        assert await server.of("/").count_sockets() == 1
        assert await server.of("/").to("nowhere").count_sockets() == 0


async def test_what_a_remote_socket_is_told_reaches_its_server_and_nobody_else(autojump_clock: Clock) -> None:
    async with cluster() as (server, adapter, local):
        socket = await away(server)
        await socket.emit("x", 1)
        assert await socket.emit_with_ack("question") == "answer"
        await socket.join("a", "b")
        await socket.leave("far", "b")
        await socket.disconnect()
        await socket.disconnect(close=True, reason="why")

        assert adapter.journal == [
            ("x", 1),
            ("question",),
            ("disconnect", False, None),
            ("disconnect", True, "why"),
        ]
        assert adapter.rooms == {"away", "a"}
        assert socket.rooms == {"away", "far"}  # as it was
        assert (local.rooms, local.connected) == (frozenset({local.id}), True)


@pytest.mark.parametrize(("answer", "value"), [((), None), ((1,), 1), ((1, 2), (1, 2))])
async def test_its_answer_is_that_of_one_socket(answer: tuple[object, ...], value: object) -> None:
    async with cluster() as (server, adapter, _):
        adapter.answer = answer
        assert await (await away(server)).emit_with_ack("question") == value


async def test_one_that_does_not_answer_and_one_that_has_gone(autojump_clock: Clock) -> None:
    async with cluster() as (server, adapter, _):
        socket, adapter.answer = await away(server), None
        start = trio.current_time()
        with pytest.raises(AckTimeout):
            await socket.emit_with_ack("question", timeout=3)
        with pytest.raises(AckTimeout):
            await socket.timeout(2).emit_with_ack("question")
        with pytest.raises(AckTimeout):
            await socket.emit_with_ack("question")
        assert trio.current_time() == start + 3 + 2 + server.config.ack_timeout

        adapter.is_there = False
        with pytest.raises(Disconnected, match="Socket away is not connected any more, so it cannot answer"):
            await socket.emit_with_ack("question")


async def test_what_cannot_be_encoded_is_not_sent() -> None:
    async with cluster() as (server, adapter, _):
        socket = await away(server)
        with pytest.raises(EncodeError):
            await socket.emit("x", object())
        with pytest.raises(EncodeError):
            await socket.emit_with_ack("disconnect")

        assert adapter.journal == []


def test_a_target_means_whom_its_rooms_say() -> None:
    target = Target(rooms=frozenset("ab"), excluded=frozenset("c"))

    assert [target.includes(set(rooms)) for rooms in ("a", "ab", "bc", "c", "d", "")] == [True, True, False, False, False, False]
    assert [replace(target, rooms=frozenset()).includes(set(rooms)) for rooms in ("", "a", "c")] == [True, True, False]


async def test_what_is_for_one_socket_of_this_server_does_not_leave_it() -> None:
    async with cluster() as (server, adapter, local):
        adapter.rooms.add(local.id)  # as nobody can be, but who knows
        await local.emit("x")
        await local.volatile(key="k").emit("x")
        await local.compress(True).emit("x")
        assert adapter.journal == []
        await server.to(local.id).emit("x")
        assert adapter.journal == [("x",)]

"""Somebody logs out and in again on one connection: what was for the first socket does not reach the second."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import NamedTuple

import pytest
import trio
import trio.testing

from tests.namespaces.serving import Handler, open_namespaces
from trio_sio import Config, Recovery
from trio_sio.errors import Disconnected, ForcedClose
from trio_sio.limits import Limits
from trio_sio.namespaces.acks import Ack, ClientAnswer
from trio_sio.namespaces.recovery import InMemoryRecovery
from trio_sio.namespaces.socket import Socket
from trio_sio.testing import RawWebSocket

ROOM = 3  # packets that wait for the client before senders have to


class Peer(NamedTuple):
    """A client in ``/`` and ``/b`` that reads nothing unless it is told to.

    Attributes:
      wire: Its WebSocket.
      handler, other: Of ``/``, and of ``/b``.
    """

    wire: RawWebSocket
    handler: Handler
    other: Handler

    async def fill(self) -> None:
        """Let everything that the server emits wait from now on."""
        await trio.testing.wait_all_tasks_blocked()
        while self.handler.socket.outbox.offer(self.handler.socket.namespace.parser.encode_event("/", ("filler",))):
            await trio.testing.wait_all_tasks_blocked()

    async def come_back(self) -> list[str]:
        """Join ``/`` again, and return all that comes from where it was left, in order."""
        await self.wire.send("40")
        return await self.rest()

    async def rest(self) -> list[str]:
        received = []
        with trio.move_on_after(1):
            while True:
                received.append(str(await self.wire.receive()).partition('{"sid"')[0].partition('"}')[0])
        return received


@asynccontextmanager
async def open_peer(config: Config) -> AsyncIterator[Peer]:
    handler, other = Handler(), Handler()
    async with open_namespaces({"/": handler, "/b": other}, config) as server:
        stream = await server.connect_lockstep_stream()
        async with await RawWebSocket.open(stream, "/socket.io/?EIO=4&transport=websocket") as wire:
            await wire.receive()
            for namespace in ("", "/b,"):
                await wire.send(f"40{namespace}")
                await wire.receive()
            await trio.testing.wait_all_tasks_blocked()
            yield Peer(wire, handler, other)
            await trio.aclose_forcefully(stream)


async def emit(socket: Socket) -> None:
    await socket.emit("secret")


async def ask(socket: Socket) -> None:
    with pytest.raises(Disconnected):
        await socket.emit_with_ack("secret", timeout=100)


async def answer(socket: Socket) -> None:
    await Ack(socket._core, 7)("secret")


async def disconnect_from_here(peer: Peer) -> None:
    await peer.handler.socket.disconnect()


async def disconnect_from_there(peer: Peer) -> None:
    await peer.wire.send("41")


@pytest.mark.hostile("R40")
@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recorded"])
@pytest.mark.parametrize("disconnect", [disconnect_from_here, disconnect_from_there])
@pytest.mark.parametrize("send", [emit, ask, answer])
async def test_who_waits_for_room_for_a_socket_that_ends_does_not_reach_its_successor(
    send: Callable[[Socket], Awaitable[None]],
    disconnect: Callable[[Peer], Awaitable[None]],
    recovery: Recovery | None,
    autojump_clock: trio.testing.MockClock,
) -> None:
    config = Config(limits=Limits(outbox_packets=ROOM), connection_state_recovery=recovery)
    async with open_peer(config) as peer:
        await peer.fill()
        socket, dropped = peer.handler.socket, peer.handler.socket.outbox.dropped
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(send, socket)
            await trio.testing.wait_all_tasks_blocked()
            assert socket.outbox.is_awaited
            await disconnect(peer)
        assert socket.outbox.dropped == dropped + 2

        received = await peer.come_back()

        assert len(peer.handler.sockets) == 2
        assert not [packet for packet in received if "secret" in packet]
        # What was queued before stays, and so does the goodbye, where there is one.
        goodbye = ["41"] if disconnect is disconnect_from_here else []
        assert received[-1 - len(goodbye) :] == [*goodbye, "40"]
        assert set(received[: -1 - len(goodbye)]) == {'42["filler"]'}


async def test_what_waits_for_the_other_namespace_arrives(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer(Config(limits=Limits(outbox_packets=ROOM))) as peer:
        await peer.fill()
        async with trio.open_nursery() as nursery:
            for socket, event in ((peer.handler.socket, "first"), (peer.other.socket, "second"), (peer.handler.socket, "third")):
                nursery.start_soon(socket.emit, event)
                await trio.testing.wait_all_tasks_blocked()
            await peer.wire.send("41")
            await trio.testing.wait_all_tasks_blocked()
            assert len(nursery.child_tasks) == 1

            received = await peer.rest()

        assert received[-1] == '42/b,["second"]'
        assert set(received[:-1]) == {'42["filler"]'}


async def test_an_answer_to_somebody_who_has_left_is_counted(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer(Config()) as peer:
        socket = peer.handler.socket
        await peer.wire.send("41")
        await trio.testing.wait_all_tasks_blocked()

        await answer(socket)

        assert socket.outbox.dropped == 1


async def test_a_key_of_one_namespace_is_not_that_of_another(autojump_clock: trio.testing.MockClock) -> None:
    async with open_peer(Config()) as peer:
        await peer.handler.socket.volatile("cursor").emit("here")
        await peer.other.socket.volatile("cursor").emit("there")

        assert await peer.rest() == ['42["here"]', '42/b,["there"]']


async def test_a_recovery_store_that_fails_does_not_keep_a_socket_nor_the_other_namespaces(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    def fail(store: InMemoryRecovery, *args: object) -> None:
        raise LookupError("planted")

    monkeypatch.setattr(InMemoryRecovery, "drop_session", fail)
    async with open_peer(Config(connection_state_recovery=Recovery())) as peer:
        answers = [ClientAnswer(), ClientAnswer()]
        async with trio.open_nursery() as nursery:
            for number, handler in enumerate((peer.handler, peer.other)):
                handler.socket.expect_answer(7, answers[number])
                nursery.start_soon(expect_end, answers[number])
            await trio.testing.wait_all_tasks_blocked()
            peer.handler.socket.client.connection.end(ForcedClose("the test"))
        await trio.testing.wait_all_tasks_blocked()

        assert (peer.handler.reasons, peer.other.reasons) == (["forced close"], ["forced close"])
    assert caplog.text.count("The adapter failed to keep the session") == 2


async def expect_end(answer: ClientAnswer) -> None:
    with pytest.raises(Disconnected):
        await answer.wait()

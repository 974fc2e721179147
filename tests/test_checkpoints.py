"""Every public async method is a checkpoint, whatever it finds to do (Trio: "Checkpoints")."""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import trio
import trio.testing

from trio_sio import Ack, EngineServer, Namespace, RemoteSocket, Server, Session, Socket
from trio_sio.client import ClientSocket
from trio_sio.namespaces.broadcast import BroadcastOperator
from trio_sio.namespaces.subscriptions import Subscription
from trio_sio.testing import open_test_server

Call = Callable[[Any], Awaitable[object]]

BROADCASTS: Final[dict[str, Call]] = {
    "emit": lambda it: it.emit("x", 1),
    "send": lambda it: it.send(1),
    "emit_with_ack": lambda it: it.emit_with_ack("question"),
    "fetch_sockets": lambda it: it.fetch_sockets(),
    "count_sockets": lambda it: it.count_sockets(),
    "sockets_join": lambda it: it.sockets_join("room"),
    "sockets_leave": lambda it: it.sockets_leave("room"),
    "disconnect_sockets": lambda it: it.to("nobody").disconnect_sockets(),
}
SERVER_SIDE: Final[dict[str, Call]] = {
    "server_side_emit": lambda it: it.server_side_emit("x"),
    "server_side_emit_with_ack": lambda it: it.server_side_emit_with_ack("x"),
}
CALLS: Final[dict[type, dict[str, Call]]] = {
    Socket: {
        "emit": lambda it: it.emit("x", 1),
        "send": lambda it: it.send(1),
        "emit_with_ack": lambda it: it.emit_with_ack("question"),
        "once": lambda it: it.once("tick"),
        "join": lambda it: it.join("room"),
        "leave": lambda it: it.leave("room"),
    },
    Namespace: BROADCASTS | SERVER_SIDE,
    BroadcastOperator: BROADCASTS,
    Server: BROADCASTS | SERVER_SIDE | {"drain": lambda it: it.drain()},
    RemoteSocket: {
        "emit": lambda it: it.emit("x", 1),
        "emit_with_ack": lambda it: it.emit_with_ack("question"),
        "join": lambda it: it.join("room"),
        "leave": lambda it: it.leave("room"),
        "disconnect": lambda it: it.disconnect(),
    },
    Subscription: {"receive": lambda it: it.receive(), "aclose": lambda it: it.aclose()},
    ClientSocket: {
        "emit": lambda it: it.emit("x", 1),
        "send": lambda it: it.send(1),
        "emit_with_ack": lambda it: it.emit_with_ack("echo"),
        "send_with_ack": lambda it: it.send_with_ack(1),
        "once": lambda it: it.once("welcome"),
        "receive": lambda it: it.receive(),
        "closed": lambda it: it.closed(),
        "connect": lambda it: it.connect(),
        "disconnect": lambda it: it.disconnect(),
    },
}
# What serves, and returns when the server stops; and what is not the application's.
ELSEWHERE: Final = {"serve", "serve_listeners", "serve_until_signal", "handle_trio_websocket", "asking"}


@asynccontextmanager
async def things() -> AsyncIterator[dict[type, Any]]:
    """Give one of each, all of them connected."""
    server, sockets = Server(), list[Socket]()

    @server.on_connection
    async def come(socket: Socket) -> None:
        sockets.append(socket)
        await socket.emit("welcome")
        await socket.emit("welcome")

    @server.on("echo")
    async def echo(socket: Socket) -> None:
        return None

    @server.on("message")
    async def message(socket: Socket, value: object) -> None:
        return None

    async with open_test_server(server) as in_memory, in_memory.client() as client, trio.open_nursery() as nursery:
        client.on("question", lambda: 1)
        await trio.testing.wait_all_tasks_blocked()
        (socket,) = sockets

        async def tick() -> None:
            while True:
                await client.emit("tick")
                await trio.sleep(1)

        nursery.start_soon(tick)
        async with server.of("/").subscribe() as subscription:
            await server.emit("heard")
            yield {
                Socket: socket,
                Namespace: server.of("/"),
                BroadcastOperator: server.to(socket.id),
                Server: server,
                RemoteSocket: RemoteSocket(server.of("/"), socket.id, socket.handshake, set(), {}),
                Subscription: subscription,
                ClientSocket: client,
            }
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(
    ("kind", "method"), [pytest.param(kind, name, id=f"{kind.__name__}.{name}") for kind in CALLS for name in CALLS[kind]]
)
async def test_it_is_a_checkpoint(kind: type, method: str, autojump_clock: trio.testing.MockClock) -> None:
    async with things() as given:
        thing = given[kind]
        if method == "closed":
            await thing.disconnect()
        with trio.testing.assert_checkpoints():
            await CALLS[kind][method](thing)


async def test_disconnecting_lets_others_run_and_cannot_be_cancelled_half_way(autojump_clock: trio.testing.MockClock) -> None:
    # It cancels the handlers of the socket, and the one that calls it still comes to its next line.
    async with things() as given, trio.open_nursery() as nursery:
        ran = trio.Event()

        async def run() -> None:
            ran.set()

        nursery.start_soon(run)
        with trio.CancelScope() as scope:
            scope.cancel()
            for _ in range(2):  # in one tick the order of tasks is a matter of chance
                await given[Socket].disconnect()
            assert ran.is_set()
            assert not given[Socket].connected


@pytest.mark.parametrize("wanted", [True, False])
async def test_an_ack_is_a_checkpoint(wanted: bool, autojump_clock: trio.testing.MockClock) -> None:
    async with things() as given:
        ack = Ack(given[Socket]._core, 1 if wanted else None)
        for _ in range(2):
            with trio.testing.assert_checkpoints():
                await ack("x")


async def test_a_plain_session_has_checkpoints(autojump_clock: trio.testing.MockClock) -> None:
    done = trio.Event()

    async def handler(session: Session) -> None:
        with trio.testing.assert_checkpoints():
            await session.send("x")
        await trio.testing.wait_all_tasks_blocked()
        with trio.testing.assert_checkpoints():
            await anext(session)
        done.set()

    async with open_test_server(EngineServer(handler)) as server, await server.websocket() as client:
        await client.send("4hello")
        with trio.fail_after(5):
            await done.wait()


@pytest.mark.parametrize("kind", CALLS, ids=lambda kind: kind.__name__)
def test_none_is_missing(kind: type) -> None:
    public = {name for name, _ in inspect.getmembers(kind, inspect.iscoroutinefunction) if not name.startswith("_")}
    assert public - ELSEWHERE - ({"disconnect"} if kind is Socket else set()) == set(CALLS[kind])

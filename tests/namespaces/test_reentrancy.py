"""Whatever calls the application may be called back by it: every callback, and what it may do in the call.

The watcher of each case is a client that gets every broadcast. What came over its wire, and what it gets from the log when
it comes back to where it was at the beginning, must be the same in the same order; of the actor likewise, if it is left.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any, Final

import pytest
import trio
import trio.testing

from tests.namespaces.recovering import Peer
from trio_sio import (
    Config,
    Context,
    Disconnected,
    Next,
    Recovery,
    Route,
    RoutingTable,
    Server,
    Socket,
    on_any_message,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.namespaces.adapter import Broadcast, InMemoryAdapter
from trio_sio.namespaces.namespace import Namespace
from trio_sio.testing import InMemoryServer, open_test_server

pytestmark = pytest.mark.hostile("R51")

Function = Callable[..., object]


class Mistake(Exception):
    """What an exception handler is for."""


class Scene:
    """One server, three clients, and one function that a callback calls.

    Attributes:
      memory: The server, in memory.
      actor, watcher, other: The clients; the last one is there to be thrown out.
      socket: The actor's socket.
      sockets: Everybody's, by name.
      replace: Registers another function for the same thing, and forgets this one.
      called: How often the callback was called.
      points: Where routing calls the application, the places at which `call` is called.
    """

    memory: InMemoryServer
    socket: Socket
    actor: Peer
    watcher: Peer
    other: Peer

    def __init__(self, act: Callable[[Scene], object]) -> None:
        self._act = act
        self.called = 0
        self.replace: Callable[[], object] = lambda: self.socket.on_any(ignore)
        self.points: set[str] = set()
        self.sockets: dict[str, Socket] = {}

    @property
    def server(self) -> Server:
        assert isinstance(self.memory.server, Server)
        return self.memory.server

    @property
    def main(self) -> Namespace:
        return self.server.of("/")

    @property
    def adapter(self) -> Acting:
        assert isinstance(self.main.adapter, Acting)
        return self.main.adapter

    def call(self, *args: object) -> None:
        """Be called back."""
        self.called += 1
        if self.called == 1:
            self._act(self)

    def at(self, point: str, socket: Socket | None = None) -> None:
        """Be at one of the places that routing calls."""
        if point in self.points and (socket is None or socket.handshake.auth["name"] == "actor"):
            self.call()

    def watch(self, register: Function, forget: Function | None = None) -> None:
        """Register `call`."""
        register(self.call)

        def instead() -> None:
            register(ignore)
            if forget is not None:
                forget(self.call)

        self.replace = instead


def ignore(*args: object) -> None: ...


# What is called back, and how one gets there.

Way = Callable[[Scene], Awaitable[object]]


async def say(scene: Scene, event: str = "do") -> None:
    await scene.actor.websocket.send(f'42["{event}"]')
    await trio.testing.wait_all_tasks_blocked()


async def taps(scene: Scene) -> None:
    for name in ("watcher", "actor"):
        scene.watch(scene.sockets[name].on_any_outgoing, scene.sockets[name].off_any_outgoing)
    scene.server.emit_nowait("to all", 1)
    scene.server.to("lobby").emit_nowait("to a room", 2)


async def taps_of_questions(scene: Scene) -> None:
    scene.watch(scene.sockets["other"].on_any_outgoing, scene.sockets["other"].off_any_outgoing)
    async with scene.server.to(scene.sockets["other"].id).timeout(0).acks("question"):
        pass


async def own_taps(scene: Scene) -> None:
    scene.watch(scene.socket.on_any_outgoing, scene.socket.off_any_outgoing)
    await scene.socket.emit("by waiting")


async def own_taps_at_once(scene: Scene) -> None:
    scene.watch(scene.socket.on_any_outgoing, scene.socket.off_any_outgoing)
    scene.socket.emit_nowait("at once")


async def incoming(scene: Scene) -> None:
    scene.watch(scene.socket.on_any, scene.socket.off_any)
    await say(scene)


async def waiters(scene: Scene) -> None:
    async with trio.open_nursery() as nursery:
        for _ in range(2):

            @nursery.start_soon
            async def wait() -> None:
                await scene.socket.once("do")
                scene.call()

        await trio.testing.wait_all_tasks_blocked()
        await say(scene)


async def listeners(scene: Scene) -> None:
    scene.watch(lambda function: scene.socket.on("do", function), lambda function: scene.socket.off("do", function))
    await say(scene)


async def socket_middleware(scene: Scene) -> None:
    @scene.socket.use
    async def middleware(event: list[Any], call_next: Callable[[], Awaitable[None]]) -> None:
        scene.call()
        await call_next()

    await say(scene)


async def tasks(scene: Scene) -> None:
    async def work() -> None:
        scene.call()

    scene.socket.start_soon(work)
    await trio.testing.wait_all_tasks_blocked()


def room(name: str) -> Way:
    async def way(scene: Scene) -> None:
        callbacks = getattr(scene.adapter, name)
        scene.watch(callbacks, callbacks.remove)
        await scene.socket.join("den", "nook")
        scene.server.to("den").emit_nowait("in the den")
        await scene.socket.leave("den", "nook")
        scene.server.emit_nowait("after it")

    return way


def room_at(name: str, how: str) -> Way:
    """The rooms that somebody leaves by going, and those that one gets by coming."""

    async def way(scene: Scene) -> None:
        if how == "coming":
            scene.points.add("join early")
        else:
            await scene.socket.join("den", "nook")
        callbacks = getattr(scene.adapter, name)
        scene.watch(callbacks, callbacks.remove)
        if how == "cut":
            await scene.actor.cut()
        elif how == "leave":
            await scene.actor.leave()
        elif how == "sent away":
            await scene.socket.disconnect()
        else:
            await come(scene)

    return way


def adapter(method: str) -> Way:
    async def way(scene: Scene) -> None:
        scene.adapter.told = scene
        scene.adapter.method = method
        await scene.socket.join("den")
        scene.server.to("lobby").emit_nowait("to a room")
        await scene.socket.leave("den")

    return way


def point(name: str) -> Way:
    async def way(scene: Scene) -> None:
        scene.points.add(name)
        await say(scene)

    return way


def coming(name: str) -> Way:
    async def way(scene: Scene) -> None:
        scene.points.add(name)
        await come(scene)

    return way


async def come(scene: Scene) -> None:
    """Let the actor come anew, as a stranger."""
    await scene.actor.leave()
    scene.actor = Peer(scene.memory)
    await scene.actor.open()
    await scene.actor.ask(name="actor")
    await trio.testing.wait_all_tasks_blocked()
    if scene.socket.connected:
        await scene.actor.joined()


async def going(scene: Scene) -> None:
    scene.points.add("gone")
    await scene.actor.cut()


async def expiry(scene: Scene) -> None:
    scene.watch(scene.main.on_session_expired, scene.main.on_session_expired.remove)
    await scene.other.cut()
    peer = Peer(scene.memory)
    await peer.connect(name="one more")
    await peer.cut()


async def new_namespaces(scene: Scene) -> None:
    scene.watch(scene.server.on_new_namespace, scene.server.on_new_namespace.remove)
    scene.server.of("/new")


async def server_side(scene: Scene) -> None:
    scene.main.on_server_side_emit("news")(scene.call)
    scene.main.server_side_event("news", ())


def engine(name: str, transport: str) -> Way:
    async def way(scene: Scene) -> None:
        callbacks = getattr(scene.server.engine, name)
        scene.watch(callbacks, callbacks.remove)
        if transport == "websocket":
            websocket = await scene.memory.websocket()
            await trio.aclose_forcefully(websocket.stream)
            return
        async with await scene.memory.http() as http:
            target = f"/socket.io/?EIO=4&transport={transport}"
            response = await http.request("GET", target)
            if transport == "polling":
                target += f"&sid={json.loads(response.body[1:])['sid']}"
                assert (await http.request("POST", target, body="40/nowhere")).status == 200
                assert (await http.request("GET", target)).status == 200

    return way


WAYS: Final[dict[str, Way]] = {
    "taps of broadcasts": taps,
    "taps of questions": taps_of_questions,
    "own taps": own_taps,
    "own taps, at once": own_taps_at_once,
    "on_any": incoming,
    "once": waiters,
    "socket.on": listeners,
    "socket.use": socket_middleware,
    "start_soon": tasks,
    "on_create_room": room("on_create_room"),
    "on_join_room": room("on_join_room"),
    "on_leave_room": room("on_leave_room"),
    "on_delete_room": room("on_delete_room"),
    "on_create_room, coming": room_at("on_create_room", "coming"),
    "on_join_room, coming": room_at("on_join_room", "coming"),
    "on_leave_room, cut": room_at("on_leave_room", "cut"),
    "on_leave_room, leaving": room_at("on_leave_room", "leave"),
    "on_leave_room, sent away": room_at("on_leave_room", "sent away"),
    "on_delete_room, cut": room_at("on_delete_room", "cut"),
    "adapter.add": adapter("add"),
    "adapter.remove": adapter("remove"),
    "adapter.broadcast": adapter("broadcast"),
    "on_session_expired": expiry,
    "on_new_namespace": new_namespaces,
    "on_server_side_emit": server_side,
    "handler": point("handler"),
    "on_any_message": lambda scene: say_at(scene, "any", "something else"),
    "message middleware": point("message middleware"),
    "exception handler": lambda scene: say_at(scene, "error", "fail"),
    "connection middleware": coming("connection middleware"),
    "behind connection middleware": coming("behind connection middleware"),
    "connection hook": coming("hook"),
    "disconnection hook": going,
    "allow_request": coming("allow_request"),
    "on_initial_headers": engine("on_initial_headers", "websocket"),
    "on_headers": engine("on_headers", "websocket"),
    "on_headers, polling": engine("on_headers", "polling"),
    "on_connection_error": engine("on_connection_error", "nonsense"),
}


async def say_at(scene: Scene, name: str, event: str) -> None:
    scene.points.add(name)
    await say(scene, event)


# What is done in the call.

ACTIONS: Final[dict[str, Callable[[Scene], object]]] = {
    "emit": lambda scene: scene.socket.emit_nowait("nested"),
    "broadcast": lambda scene: scene.server.emit_nowait("nested"),
    "broadcast to a room": lambda scene: scene.server.to("lobby", "den").emit_nowait("nested"),
    "disconnect": lambda scene: scene.socket.disconnect_nowait(),
    "close": lambda scene: scene.socket.disconnect_nowait(close=True),
    "disconnect another": lambda scene: scene.sockets["other"].disconnect_nowait(),
    "join": lambda scene: scene.socket.join_nowait("den", "nook", "attic"),
    "leave": lambda scene: scene.socket.leave_nowait("den", "nook", "lobby"),
    "replace itself": lambda scene: scene.replace(),
}


class Acting(InMemoryAdapter):
    """An adapter of the application's, which calls it back."""

    told: Scene | None = None
    method = ""

    def _tell(self, method: str) -> None:
        if self.told is not None and self.method == method:
            self.told.call()

    def add(self, socket: Socket, rooms: Iterable[str]) -> None:
        super().add(socket, rooms)
        self._tell("add")

    def remove(self, socket: Socket, rooms: Iterable[str]) -> None:
        super().remove(socket, rooms)
        self._tell("remove")

    def broadcast(self, broadcast: Broadcast) -> None:
        super().broadcast(broadcast)
        self._tell("broadcast")


class Controller:
    """Everything that routing can call."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene

    async def guard(self, ctx: Context, call_next: Next) -> object:
        if ctx.event is not None:
            self._scene.at("message middleware", ctx.socket)
            return await call_next()
        name = ctx.socket.handshake.auth["name"]
        self._scene.sockets[name] = ctx.socket
        if name == "actor":
            self._scene.socket = ctx.socket
        if "join early" in self._scene.points:
            await ctx.socket.join("den", "nook")
        self._scene.at("connection middleware", ctx.socket)
        result = await call_next()
        self._scene.at("behind connection middleware", ctx.socket)
        return result

    @on_connection
    async def joined(self, socket: Socket) -> None:
        await socket.join("lobby")
        self._scene.at("hook", socket)

    @on_disconnection
    async def gone(self, socket: Socket) -> None:
        self._scene.at("gone", socket)

    @on_message("fence")
    def fence(self) -> None:
        return None

    @on_message("do")
    async def do(self, socket: Socket) -> None:
        self._scene.at("handler", socket)

    @on_message("fail")
    async def fail(self) -> None:
        raise Mistake

    @on_any_message
    async def anything(self, socket: Socket, event: str) -> None:
        self._scene.at("any", socket)

    def handle(self, ctx: Context, exc: Exception) -> object:
        self._scene.at("error", ctx.socket)
        return None


@asynccontextmanager
async def on_stage(scene: Scene) -> AsyncIterator[None]:
    def allow(request: object) -> bool:
        scene.at("allow_request")
        return True

    controller = Controller(scene)
    config = Config(connection_state_recovery=Recovery(sessions=1), allow_request=allow)
    table = RoutingTable(
        Route("/", controller, middleware=[controller.guard]),
        exception_handlers={Mistake: controller.handle},
    )
    async with open_test_server(Server(table, config=config, adapter=Acting)) as scene.memory:
        scene.actor, scene.watcher, scene.other = (Peer(scene.memory) for _ in range(3))
        for name in ("actor", "watcher", "other"):
            await getattr(scene, name).connect(name=name)
        scene.server.emit_nowait("start")
        yield


async def heard(peer: Peer) -> tuple[list[list[Any]], list[str]]:
    """Return all events up to now, and the offsets of those that have one."""
    events, offsets = list[list[Any]](), list[str]()
    await peer.websocket.send('420["fence"]')
    while (message := str(await peer.receive())) != "430[null]":
        assert message.startswith("42["), message
        event = json.loads(message[2:])
        if isinstance(event[-1], str):
            offsets.append(event.pop())
        events.append(event)
    return events, offsets


def places(offsets: list[str]) -> list[int]:
    return [int(offset.partition(".")[2], 16) for offset in offsets]


async def check(peer: Peer, name: str, start: str | None) -> list[list[Any]]:
    """Check that the log has what came over the wire since ``start``, in this order, and return that."""
    events, offsets = await heard(peer)
    assert places(offsets) == sorted(set(places(offsets)))
    await peer.cut()
    peer.offset = start
    assert await peer.connect(name=name), f"the {name} is a stranger"
    assert await heard(peer) == (events, offsets)
    return events


@pytest.mark.parametrize("action", ACTIONS)
@pytest.mark.parametrize("way", WAYS)
async def test_any_callback_may_do_anything(
    way: str, action: str, caplog: pytest.LogCaptureFixture, autojump_clock: trio.testing.MockClock
) -> None:
    scene = Scene(ACTIONS[action])
    async with on_stage(scene):
        assert await scene.watcher.heard() == await scene.actor.heard() == [["start"]]
        start, start_of_actor, first = scene.watcher.offset, scene.actor.offset, scene.socket
        assert start is not None
        await WAYS[way](scene)
        await trio.testing.wait_all_tasks_blocked()
        assert scene.called >= 1
        scene.server.emit_nowait("end")

        events = await check(scene.watcher, "watcher", start)
        assert events[-1] == ["end"]
        assert events.count(["nested"]) == action.startswith("broadcast")
        if scene.socket.connected:
            session = scene.socket._core.rooms.session
            assert session is not None
            assert session.rooms == scene.socket.rooms == {scene.socket.id, *scene.adapter.rooms_of(scene.socket)}
            events = await check(scene.actor, "actor", start_of_actor if scene.socket is first else None)
            assert events[-1] == ["end"]
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize("question", [False, True])
async def test_what_a_tap_emits_comes_behind_what_it_heard(question: bool, autojump_clock: trio.testing.MockClock) -> None:
    scene = Scene(lambda scene: scene.server.emit_nowait("echoed"))
    async with on_stage(scene):
        scene.watch(scene.socket.on_any_outgoing)
        await scene.watcher.heard()
        async with scene.main.subscribe() as channel:
            if question:
                async with scene.server.timeout(0).acks("heard"):
                    pass
            else:
                scene.server.emit_nowait("heard")
            assert [(await channel.receive()).name for _ in range(2)] == ["heard", "echoed"]
        texts = [str(await scene.watcher.receive()) for _ in range(2)]
        assert ["heard" in text for text in texts] == [True, False]


async def test_what_is_emitted_while_the_last_one_leaves_its_rooms_is_not_lost(autojump_clock: trio.testing.MockClock) -> None:
    """Its session is kept, although nobody is in the namespace any more."""

    def emit(scene: Scene) -> None:
        scene.socket.emit_nowait("to it")
        scene.server.to("lobby").emit_nowait("to its room")
        scene.server.emit_nowait("to all")

    scene = Scene(emit)
    async with on_stage(scene):
        await scene.watcher.leave()
        await scene.other.leave()
        await scene.actor.heard()
        scene.adapter.on_leave_room(scene.call)
        await scene.actor.cut()
        assert await scene.actor.connect(name="actor")
        assert await scene.actor.heard() == [["to it"], ["to its room"], ["to all"]]


async def test_who_disconnects_a_client_whose_event_it_hears_keeps_the_handler_from_it(autojump_clock: trio.testing.MockClock) -> None:
    handled = list[str]()
    scene = Scene(lambda scene: scene.socket.disconnect_nowait())
    async with on_stage(scene):
        scene.socket.on("do", lambda: handled.append("on"))
        scene.watch(scene.socket.on_any)
        async with trio.open_nursery() as nursery:

            @nursery.start_soon
            async def wait() -> None:
                with pytest.raises(Disconnected):
                    await scene.socket.once("do")
                handled.append("disconnected")

            await trio.testing.wait_all_tasks_blocked()
            await say(scene)
        assert handled == ["disconnected"]
        assert not scene.socket.client.inbox.events

"""Emitting without a server: what is published is what Node's emitter publishes, and Node's clients get it."""

from __future__ import annotations

import base64
import datetime
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import coredis
import pytest
import redis
import trio

from tests.cluster.recordings import load
from tests.cluster.redis_server import RedisServer
from tests.cluster.test_messages import BYTES, VALUES
from tests.conftest import require_tool
from trio_sio import Server, server_event
from trio_sio.cluster.redis import RedisCluster
from trio_sio.cluster.redis.codec import decode_broadcast
from trio_sio.cluster.redis.emitter import Emitter, SyncEmitter
from trio_sio.errors import EncodeError
from trio_sio.limits import Limits

RECORDED: Final = load("emitter")
ROOT: Final = Path(__file__).parent.parent.parent.parent


class Paper:
    """A Redis that writes down what is published."""

    def __init__(self) -> None:
        self.published: list[tuple[str, bytes]] = []

    def publish(self, channel: str, message: bytes, /) -> int:
        self.published.append((channel, message))
        return 0


# Each is said to both emitters, and is what record.cjs says to Node's.
CALLS: dict[str, Callable[[SyncEmitter], object]] = {
    "broadcast": lambda io: io.emit("hello", "é", 1),
    "broadcast of values": lambda io: io.emit("values", *VALUES),
    "broadcast of undefined": lambda io: io.emit("undefined", None, {"b": 1}),
    "broadcast without arguments": lambda io: io.emit("hello"),
    "broadcast to a room": lambda io: io.to("a").emit("hello"),
    "broadcast to a room with a hash": lambda io: io.to("a#b*").emit("hello"),
    "broadcast to rooms": lambda io: io.to("a").in_("b").emit("hello"),
    "broadcast with except": lambda io: io.except_("a").emit("hello"),
    "broadcast to a room with except": lambda io: io.to("a").except_("b", "c").emit("hello"),
    "volatile broadcast": lambda io: io.volatile().emit("hello"),
    "compressed broadcast": lambda io: io.compress(True).emit("hello"),
    "uncompressed broadcast": lambda io: io.compress(False).emit("hello"),
    "broadcast of bytes": lambda io: io.emit("bytes", BYTES, {"nested": [BYTES]}),
    "broadcast of many bytes": lambda io: io.emit("bytes", b"\x07" * 300),
    "broadcast of a typed array": lambda io: io.emit("bytes", bytearray(BYTES)),
    "broadcast in a namespace": lambda io: io.of("/chat").emit("hello"),
    "broadcast to a room in a namespace": lambda io: io.of("chat").to("a").emit("hello"),
    "sockets join": lambda io: io.in_("a").sockets_join("d", "c"),
    "sockets join one": lambda io: io.sockets_join("c"),
    "sockets leave": lambda io: io.in_("a").except_("b").sockets_leave("c"),
    "disconnect sockets": lambda io: io.in_("nobody").disconnect_sockets(),
    "disconnect sockets and close": lambda io: io.disconnect_sockets(close=True),
    "server-side emit": lambda io: io.server_side_emit("server", "é", {"a": [1, None]}),
    "server-side emit in a namespace": lambda io: io.of("chat").server_side_emit("server"),
}


def published(called: str) -> tuple[str, bytes]:
    paper = Paper()
    CALLS[called](SyncEmitter(paper))
    (found,) = paper.published
    return found


@pytest.mark.parametrize("called", CALLS)
def test_what_is_published_is_what_nodes_emitter_publishes(called: str) -> None:
    (recorded,) = (one for one in RECORDED.messages if one.called == called)
    channel, payload = published(called)
    assert channel == recorded.channel
    if payload != recorded.payload:
        # The options of a broadcast are in another order.
        limits = Limits()
        assert sorted(payload) == sorted(recorded.payload)
        assert decode_broadcast(payload, limits) == decode_broadcast(recorded.payload, limits)


@pytest.mark.parametrize("called", CALLS)
async def test_the_two_forms_say_the_same(called: str) -> None:
    class Later(Paper):
        async def publish(self, channel: str, message: bytes, /) -> int:  # type: ignore[override]  # what makes it the other form
            await trio.lowlevel.checkpoint()
            return Paper.publish(self, channel, message)

    paper = Later()
    waiting: Any = CALLS[called](Emitter(paper))  # type: ignore[arg-type]  # it has the same methods
    await waiting
    assert paper.published == [published(called)]


def test_the_key_is_that_of_the_servers() -> None:
    paper = Paper()
    emitter = SyncEmitter(paper, key="other")
    emitter.emit("a")
    emitter.of("chat").to("room").emit("a")
    emitter.server_side_emit("a")
    assert [channel for channel, _ in paper.published] == ["other#/#", "other#/chat#room#", "other-request#/#"]


def test_an_operator_can_be_used_again() -> None:
    paper = Paper()
    everybody = SyncEmitter(paper)
    room = everybody.to("a")
    room.volatile(key="k").compress(False).emit("x")
    room.emit("x")
    everybody.emit("x")
    room.of("/chat").emit("x")
    limits = Limits()
    volatile, plain, all_of_them, chat = (decode_broadcast(payload, limits) for _, payload in paper.published)
    assert (volatile.options.flags.volatile, volatile.options.flags.key, volatile.options.flags.compress) == (True, "k", False)
    assert (plain.options.rooms, plain.options.flags.volatile) == (frozenset("a"), False)
    assert not all_of_them.options.rooms
    assert not chat.options.rooms
    assert chat.namespace == "/chat"


def test_send_is_the_event_message() -> None:
    paper = Paper()
    SyncEmitter(paper).send(1, 2)
    assert decode_broadcast(paper.published[0][1], Limits()).event == ("message", 1, 2)


@pytest.mark.parametrize(
    ("call", "error", "says"),
    [
        (lambda io: io.to(), ValueError, "to\\(\\) got no room"),
        (lambda io: io.to(["a"]), TypeError, "write to\\('a', 'b'\\)"),
        (lambda io: io.except_(["a"]), TypeError, "write except_\\('a', 'b'\\)"),
        (lambda io: io.sockets_join(["a"]), TypeError, "write sockets_join\\('a', 'b'\\)"),
        (lambda io: io.emit("connect"), EncodeError, "reserved"),
        (lambda io: io.emit(1), EncodeError, "must be a string"),
        (lambda io: io.emit("a", object()), EncodeError, "cannot be sent"),
        (lambda io: io.emit("a", datetime.datetime(2026, 1, 1)), EncodeError, "has no time zone"),
        (lambda io: io.server_side_emit("new_namespace"), EncodeError, "reserved"),
        (lambda io: io.server_side_emit(1), EncodeError, "must be a string"),
        (lambda io: io.server_side_emit("a", object()), EncodeError, "cannot be sent"),
    ],
)
def test_mistakes_are_told_and_nothing_is_published(call: Callable[[Any], object], error: type[Exception], says: str) -> None:
    paper = Paper()
    with pytest.raises(error, match=says):
        call(SyncEmitter(paper))
    assert not paper.published


def test_what_is_too_large_is_told() -> None:
    paper = Paper()
    with pytest.raises(EncodeError, match="send it in parts"):
        SyncEmitter(paper, max_bytes=1000).emit("a", "x" * 1000)
    assert not paper.published


def test_the_synchronous_form_needs_no_trio() -> None:
    program = (
        "import sys\n"
        "from trio_sio.cluster.redis.emitter import SyncEmitter\n"
        "class Redis:\n"
        "    def publish(self, channel, message): print(channel, len(message))\n"
        "SyncEmitter(Redis()).of('chat').to('a').emit('hello', b'1')\n"
        "assert not {'trio', 'anyio', 'coredis', 'asyncio'} & set(sys.modules), sorted(sys.modules)\n"
    )
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("socket.io#/chat#a# ")


# With a real Redis, and a Node server that hears what is said there.


class NodeServer:
    """node_server.cjs, and what its clients got."""

    def __init__(self, port: int) -> None:
        command = ["node", str(Path(__file__).parent / "node_server.cjs"), str(port)]
        self._process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.clients = {"ann", "bob", "cay", "dan", "eve"}
        self._lines: queue.Queue[list[Any]] = queue.Queue()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))

    def line(self) -> list[Any]:
        return self._lines.get(timeout=30)

    def until_the_end(self) -> list[list[Any]]:
        """Return what came until each client got the event ``end``, or was disconnected."""
        lines: list[list[Any]] = []
        waiting = set(self.clients)
        while waiting:
            line = self.line()
            if line[1] == "disconnect":
                self.clients.remove(line[0])
            if line[1] in {"end", "disconnect"}:
                waiting.remove(line[0])
            if line[1] != "end":
                lines.append(line)
        return sorted(lines)

    def end(self) -> None:
        self._process.communicate(timeout=30)
        self._reader.join()


@pytest.fixture(scope="module")
def node(redis_server: RedisServer) -> Iterator[NodeServer]:
    require_tool("node", "redis", "socket.io", "socket.io-client", "@socket.io/redis-adapter")
    server = NodeServer(redis_server.port)
    try:
        assert server.line() == ["ready"]
        yield server
    finally:
        server.end()


SHOWN: Final = {"bytes": base64.b64encode(BYTES).decode()}

HEARD: list[tuple[Callable[[SyncEmitter], object], list[list[object]]]] = [
    (lambda io: io.except_("gone").emit("hello", "é", 1), [["ann", "hello", "é", 1], ["bob", "hello", "é", 1]]),
    (lambda io: io.to("b").emit("hello"), [["bob", "hello"]]),
    (lambda io: io.to("a").emit("hello", BYTES, {"b": [BYTES]}), [[name, "hello", SHOWN, {"b": [SHOWN]}] for name in ("ann", "bob")]),
    (lambda io: io.to("a").except_("b").emit("hello"), [["ann", "hello"]]),
    (lambda io: io.in_("a", "b").volatile(key="k").compress(False).emit("hello"), [["ann", "hello"], ["bob", "hello"]]),
    (lambda io: io.of("/chat").emit("hello"), [["cay", "hello"]]),
    (lambda io: io.of("chat").to("a").emit("hello", [None, 1.5]), [["cay", "hello", [None, 1.5]]]),
    (lambda io: io.server_side_emit("server", 1, {"a": "é"}), [["server /", "server", 1, {"a": "é"}]]),
    (lambda io: io.of("chat").server_side_emit("server"), [["server /chat", "server"]]),
    (lambda io: io.to("b").sockets_join("c"), []),
    (lambda io: io.to("c").emit("after joining"), [["bob", "after joining"]]),
    (lambda io: io.to("c").sockets_leave("c"), []),
    (lambda io: io.to("c").emit("after leaving"), []),
]


async def test_nodes_clients_get_what_is_emitted_on_trio(redis_server: RedisServer, node: NodeServer) -> None:
    async with coredis.Redis(port=redis_server.port) as client:
        emitter = Emitter(client)

        async def say(call: Callable[[SyncEmitter], object]) -> list[list[Any]]:
            waiting: Any = call(emitter)  # type: ignore[arg-type]  # it has the same methods
            await waiting
            await emitter.emit("end")
            await emitter.of("chat").emit("end")
            return await trio.to_thread.run_sync(node.until_the_end)

        for call, heard in HEARD:
            assert await say(call) == heard
        assert await say(lambda io: io.to("gone-trio").disconnect_sockets()) == [["dan", "disconnect", "io server disconnect"]]


def test_nodes_clients_get_what_is_emitted_without_trio(redis_server: RedisServer, node: NodeServer) -> None:
    with redis.Redis(port=redis_server.port) as client:
        emitter = SyncEmitter(client)

        def say(call: Callable[[SyncEmitter], object]) -> list[list[Any]]:
            call(emitter)
            emitter.emit("end")
            emitter.of("chat").emit("end")
            return node.until_the_end()

        for call, heard in HEARD:
            assert say(call) == heard
        assert say(lambda io: io.to("gone-sync").disconnect_sockets(close=True)) == [["eve", "disconnect", "io server disconnect"]]


@pytest.mark.parametrize("emitter", [Emitter, SyncEmitter])
@pytest.mark.parametrize("given", ["redis://:secret@localhost:6379", None, 6379])
def test_an_emitter_takes_a_client_and_no_url(emitter: Any, given: object) -> None:
    with pytest.raises(
        TypeError, match=rf"^{emitter.__name__}\(\) takes a client of Redis, not {type(given).__name__}; write .*from_url"
    ) as info:
        emitter(given)
    assert "secret" not in str(info.value)


async def test_the_other_kind_of_client_is_told() -> None:
    paper = Paper()
    with pytest.raises(TypeError, match="has been published, but the client is not async: use SyncEmitter with Paper of"):
        await Emitter(paper).emit("news")  # type: ignore[arg-type]  # this mistake is the subject
    assert len(paper.published) == 1
    with pytest.raises(TypeError, match="has not been published, as the client is async: use Emitter, and await it, with Redis of coredis"):
        SyncEmitter(coredis.Redis()).emit("news")

    class Async(Paper):
        async def publish(self, channel: str, message: bytes, /) -> int:  # type: ignore[override]  # what makes it the other form
            raise AssertionError("It is not awaited.")

    with pytest.raises(TypeError, match="not been published"):
        SyncEmitter(Async()).emit("news")


def test_a_declared_event_goes_by_its_name() -> None:
    @server_event("told")
    def tell(text: str) -> None: ...

    paper = Paper()
    with pytest.raises(EncodeError, match="takes the name of an event, and does not look at what was declared; write 'told'"):
        SyncEmitter(paper).emit(tell, "hello")  # type: ignore[arg-type]  # this mistake is the subject
    SyncEmitter(paper).emit(tell.name, "hello")
    ((_, payload),) = paper.published
    assert decode_broadcast(payload, Limits()).event == ("told", "hello")


def test_a_server_that_does_not_run_says_who_emits_without_one(caplog: pytest.LogCaptureFixture) -> None:
    server = Server(cluster=RedisCluster("redis://127.0.0.1:1"))
    for _ in range(2):
        server.emit_nowait("news", 1)
    (line,) = [record.getMessage() for record in caplog.records]
    assert line.startswith("What is emitted reaches no other server, as the server that it is emitted by does not run: enter it first")
    assert "trio_sio.cluster.redis.Emitter, or SyncEmitter" in line

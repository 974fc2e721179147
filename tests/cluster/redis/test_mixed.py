"""One Redis, a Node server and two of ours: whatever one of them says, the clients of all hear it, and all answer."""

from __future__ import annotations

import json
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, Final

import coredis
import pytest
import redis
import trio

from tests.cluster.redis.node import END, Node
from tests.cluster.redis_server import RedisServer
from tests.conftest import require_tool
from trio_sio import AckTimeout, Config, Instrument, Socket
from trio_sio.cluster.redis import Emitter, RedisCluster, SyncEmitter
from trio_sio.namespaces.remote import RemoteSocket
from trio_sio.testing import Fleet, StrictSocket, open_fleet

PATIENCE: Final = 0.5  # seconds for answers that do not come

VALUES: Final[tuple[Any, ...]] = (1, -1.5, None, True, "é\u2028☃", 2**40, {"a": [1, {"b": None}], "": []}, [])
BYTES: Final = (b"\x00\xff", {"deep": [b"", {"er": b"x" * 300}]}, "text")

Heard = list[list[Any]]


@pytest.fixture(scope="module")
def node_process(redis_server: RedisServer) -> Iterator[Node]:
    require_tool("node", "redis", "socket.io", "socket.io-client", "@socket.io/redis-adapter", "@socket.io/redis-emitter")
    node = Node(redis_server.port)
    yield node
    node.end()


class Mixed:
    """A fleet: two servers of ours with a client each, ``py0`` and ``py1``, and one of Node's, with the client ``js``.

    Attributes:
      node: The Node server.
      fleet: The other two.
      servers: These.
      key: What the channels begin with.
      port: Of Redis.
    """

    def __init__(self, node: Node, fleet: Fleet, key: str, port: int) -> None:
        self.node = node
        self.fleet = fleet
        self.servers = fleet.servers
        self.key = key
        self.port = port
        self.clients: dict[str, StrictSocket] = {}
        self.ids: dict[str, str] = {}

    async def client(self, name: str, *rooms: str, namespace: str = "/", auth: dict[str, Any] | None = None) -> None:
        """Connect one: at the first or the second of ours, or, as its name says, at Node's."""
        if name.startswith("js"):
            self.ids[name] = await self.node.do("client", name=name, rooms=rooms, namespace=namespace, auth=auth or {})
            return
        client = self.clients[name] = await self.fleet.client(int(name[2]), *rooms, namespace=namespace, auth=auth)
        self.ids[name] = client.id
        client.on("question", lambda *args: {name: args[0]})

    async def crowd(self, *rooms: str, namespace: str = "/") -> None:
        """Connect one to each server."""
        for name in ("py0", "py1", "js"):
            await self.client(name, *rooms, namespace=namespace)

    def socket(self, name: str) -> Socket:
        """Return what our server has for that client."""
        return self.fleet.socket(int(name[2]), self.clients[name])

    async def heard(self, *names: str) -> dict[str, Heard]:
        """Return what these clients, or all, have heard up to `END`."""
        heard = {}
        for name in names or self.ids:
            if name in self.clients:
                events: Heard = []
                while (event := await self.clients[name].receive(timeout=20)).name != END:
                    events.append([event.name, *event.args])
                heard[name] = events
            else:
                heard[name] = await self.node.heard(name)
        return heard

    async def rooms(self, name: str) -> set[str]:
        """Return in which rooms a client is, without its own."""
        if name in self.clients:
            return set(self.socket(name).rooms) - {self.ids[name]}
        return set(await self.node.do("rooms", name=name)) - {self.ids[name]}

    async def eventually(self, condition: Callable[[], Awaitable[bool]]) -> None:
        with trio.fail_after(20):
            while not await condition():  # noqa: ASYNC110  # nothing tells
                await trio.sleep(0.01)

    # Both languages, by the same words.

    async def emit(self, sender: str, *event: Any, **target: Any) -> None:
        """Let ``sender`` emit: the server of that client, or an emitter in Node, Python, or Python without Trio."""
        match sender:
            case "py0" | "py1":
                await _addressed(self.servers[int(sender[2])], **target).emit(*event)
            case "js":
                await self.node.do("emit", event=event, **target)
            case "emitter js":
                await self.node.do("emit", event=event, emitter=True, **target)
            case "emitter":
                async with coredis.Redis(port=self.port) as client:
                    await _addressed(Emitter(client, key=self.key), **target).emit(*event)
            case "emitter sync":
                with redis.Redis(port=self.port) as client:
                    _addressed(SyncEmitter(client, key=self.key), **target).emit(*event)


def without(*rooms: str) -> dict[str, Any]:
    """Return the argument that leaves these out."""
    return {"except": rooms}


def _addressed(
    server: Any,
    *,
    namespace: str = "/",
    rooms: tuple[str, ...] = (),
    volatile: bool = False,
    compress: bool | None = None,
    **rest: Any,
) -> Any:
    operator = server.of(namespace)
    if rooms:
        operator = operator.to(*rooms)
    if excluded := rest.get("except"):
        operator = operator.except_(*excluded)
    if volatile:
        operator = operator.volatile()
    return operator if compress is None else operator.compress(compress)


Mix = Callable[[], AbstractAsyncContextManager[Mixed]]


@pytest.fixture(params=[False, True], ids=["one channel", "specific"])
def mix(redis_server: RedisServer, node_process: Node, request: pytest.FixtureRequest) -> Mix:
    """What opens the fleet, with answers on one channel for all or on one of each server's own."""
    return partial(opened, redis_server, node_process, specific=request.param)


@asynccontextmanager
async def opened(redis_server: RedisServer, node: Node, *, specific: bool = False) -> AsyncIterator[Mixed]:
    key = secrets.token_hex(8)
    await node.open(key, specific=specific, patience=PATIENCE)
    clusters = [RedisCluster(redis_server.url, key=key, request_timeout=5, specific_response_channel=specific) for _ in range(2)]
    async with open_fleet(clusters, servers=3) as fleet:
        yield Mixed(node, fleet, key, redis_server.port)
        assert not any(cluster.bad_messages or cluster.gaps for cluster in clusters)
    await node.close()


SERVERS: Final = ("py0", "js")
EMITTERS: Final = ("emitter js", "emitter", "emitter sync")


# Broadcasts.


@pytest.mark.parametrize("sender", [*SERVERS, *EMITTERS])
async def test_everybody_hears_a_broadcast_once_and_in_order(mix: Mix, sender: str) -> None:
    async with mix() as mixed:
        await mixed.crowd()
        await mixed.emit(sender, "values", *VALUES)
        await mixed.emit(sender, "bytes", *BYTES)
        await mixed.emit(sender, "nothing")
        await mixed.emit(sender, "compressed", 1, compress=True)
        await mixed.emit(sender, END)
        expected = [["values", *VALUES], ["bytes", *BYTES], ["nothing"], ["compressed", 1]]
        assert await mixed.heard() == dict.fromkeys(("py0", "py1", "js"), expected)


async def test_node_takes_no_notice_of_what_instruments_let_travel(mix: Mix, monkeypatch: pytest.MonkeyPatch) -> None:
    class Traced(Instrument):
        def inject(self, namespace: str, event: str) -> dict[str, str]:
            return {"traceparent": "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}

    async with mix() as mixed:
        for server in mixed.servers:
            monkeypatch.setattr(server.of("/"), "instrument", Traced())
        await mixed.crowd("a")
        await mixed.emit("py0", "values", *VALUES)
        await mixed.emit("py0", "bytes", *BYTES, rooms=("a",))
        assert len(await mixed.servers[0].emit_with_ack("question", 1)) == 3
        await mixed.emit("py0", END)
        for events in (await mixed.heard()).values():
            assert events[:2] == [["values", *VALUES], ["bytes", *BYTES]]


@pytest.mark.parametrize("sender", [*SERVERS, *EMITTERS])
async def test_rooms_and_who_is_left_out(mix: Mix, sender: str) -> None:
    async with mix() as mixed:
        for name, rooms in (("py0", "a"), ("py1", "ab"), ("js", "ab"), ("js2", "b"), ("py0 too", ""), ("js3", "1")):
            await mixed.client(name, *rooms)
        await mixed.emit(sender, "a", rooms=("a",))
        await mixed.emit(sender, "a or b", rooms=("a", "b"))
        await mixed.emit(sender, "a, not b", rooms=("a",), **without("b"))
        await mixed.emit(sender, "not b", **without("b"))
        await mixed.emit(sender, "neither", **without("a", "b"))
        await mixed.emit(sender, "one", rooms=("1",))
        await mixed.emit(sender, "nobody", rooms=("c#*?",))
        for name in ("js", "py1"):
            await mixed.emit(sender, "alone", rooms=(mixed.ids[name],))
            await mixed.emit(sender, f"not {name}", **without(mixed.ids[name]))
        await mixed.emit(sender, END)
        assert {name: [event for (event,) in events] for name, events in (await mixed.heard()).items()} == {
            "py0": ["a", "a or b", "a, not b", "not b", "not js", "not py1"],
            "py1": ["a", "a or b", "not js", "alone"],
            "js": ["a", "a or b", "alone", "not py1"],
            "js2": ["a or b", "not js", "not py1"],
            "py0 too": ["not b", "neither", "not js", "not py1"],
            "js3": ["not b", "neither", "one", "not js", "not py1"],
        }


@pytest.mark.parametrize("sender", [*SERVERS, *EMITTERS])
async def test_namespaces_do_not_hear_each_other(mix: Mix, sender: str) -> None:
    async with mix() as mixed:
        await mixed.crowd("a")
        for name in ("py0 chat", "py1 chat", "js chat"):
            await mixed.client(name, "a", namespace="/chat")
        await mixed.emit(sender, "main")
        await mixed.emit(sender, "chat", namespace="/chat")
        await mixed.emit(sender, "a", rooms=("a",), namespace="/chat")
        await mixed.emit(sender, "both", rooms=("a", "b"))
        for namespace in ("/", "/chat"):
            await mixed.emit(sender, END, namespace=namespace)
        heard = await mixed.heard()
        assert all(heard[name] == [["main"], ["both"]] for name in ("py0", "py1", "js"))
        assert all(heard[f"{name} chat"] == [["chat"], ["a"]] for name in ("py0", "py1", "js"))


@pytest.mark.parametrize("sender", [*SERVERS, *EMITTERS])
async def test_what_may_be_lost_arrives_where_nobody_is_slow(mix: Mix, sender: str) -> None:
    async with mix() as mixed:
        await mixed.crowd()
        await mixed.emit(sender, "x", 1, volatile=True)
        for name in ("py0", "py1"):
            assert await mixed.clients[name].once("x") == (1,)
        assert await mixed.node.next("js") == ["x", 1]


async def test_what_a_socket_says_to_others_is_not_for_itself(mix: Mix) -> None:
    async with mix() as mixed:
        await mixed.crowd("a")
        await mixed.socket("py0").broadcast.emit("all others")
        await mixed.socket("py0").to("a").emit("others in a")
        await mixed.servers[0].emit(END)
        both = [["all others"], ["others in a"]]
        assert await mixed.heard() == {"py0": [], "py1": both, "js": both}


# Sockets.


async def test_sockets_of_node_are_found(mix: Mix) -> None:
    async with mix() as mixed:
        await mixed.client("py0", "a")
        mixed.ids["js"] = await mixed.node.do(
            "client", name="js", rooms=["a", "b"], auth={"token": "x"}, data={"name": "Ann", "deep": [1, None]}
        )
        found = {socket.id: socket for socket in await mixed.servers[0].to("a").fetch_sockets()}
        assert found.keys() == set(mixed.ids.values())
        ann = found[mixed.ids["js"]]
        assert isinstance(ann, RemoteSocket)
        assert ann.rooms == {ann.id, "a", "b"}
        assert ann.data == {"name": "Ann", "deep": [1, None]}
        assert ann.handshake.auth == {"token": "x"}
        assert ann.handshake.query["EIO"] == "4"
        assert ann.handshake.headers["host"].startswith("127.0.0.1:")
        assert str(ann.handshake.address).endswith("127.0.0.1")
        assert ann.handshake.secure is False
        assert abs(ann.handshake.issued - mixed.socket("py0").handshake.issued) < 60
        assert [socket.id for socket in await mixed.servers[1].to("a").except_("b").fetch_sockets()] == [mixed.ids["py0"]]
        assert await mixed.servers[1].count_sockets() == 2
        assert not (await mixed.servers[1].fetch_sockets()).missing


async def test_node_finds_sockets_of_ours(mix: Mix) -> None:
    async with mix() as mixed:
        await mixed.client("js", "a")
        await mixed.client("py0", "a", "b", auth={"token": "x"})
        await mixed.client("py1", "b")
        mixed.socket("py0").data.update(name="Ann", deep=[1, None])
        found = {socket["id"]: socket for socket in await mixed.node.do("fetch", rooms=["a"])}
        assert found.keys() == {mixed.ids["js"], mixed.ids["py0"]}
        ann = found[mixed.ids["py0"]]
        assert ann["rooms"] == sorted(["a", "b", mixed.ids["py0"]])
        assert ann["data"] == {"name": "Ann", "deep": [1, None]}
        # What Node has, ours says as well, and in the same form.
        handshake, theirs = ann["handshake"], found[mixed.ids["js"]]["handshake"]
        assert handshake.keys() == theirs.keys()
        assert {name: type(value) for name, value in handshake.items()} == {name: type(value) for name, value in theirs.items()}
        assert handshake["auth"] == {"token": "x"}
        assert handshake["query"] == {"EIO": "4", "transport": "websocket"}
        assert handshake["url"] == "/socket.io/?EIO=4&transport=websocket"
        assert handshake["issued"] == int(mixed.socket("py0").handshake.issued * 1000)
        assert [socket["id"] for socket in await mixed.node.do("fetch", rooms=["b"], **without("a"))] == [mixed.ids["py1"]]


@pytest.mark.parametrize("teller", [*SERVERS, *EMITTERS])
async def test_sockets_join_leave_and_are_disconnected(mix: Mix, teller: str) -> None:
    async with mix() as mixed:
        await mixed.crowd("a")
        await mixed.client("js2")
        await mixed.client("py1 too")
        told = ("py0", "py1", "js")

        async def tell(what: str, *names: str, close: bool = False, **target: Any) -> None:
            arguments = {"close": close} if what == "disconnect" else {"names": names}
            match teller:
                case "py0":
                    await _told(mixed.servers[0], what, names, close, **target)
                case "js":
                    await mixed.node.do(what, **arguments, **target)
                case "emitter js":
                    await mixed.node.do(what, emitter=True, **arguments, **target)
                case "emitter":
                    async with coredis.Redis(port=mixed.port) as client:
                        await _told(Emitter(client, key=mixed.key), what, names, close, **target)
                case "emitter sync":
                    with redis.Redis(port=mixed.port) as client:
                        _told(SyncEmitter(client, key=mixed.key), what, names, close, **target)

        async def all_in(names: tuple[str, ...], rooms: set[str]) -> bool:
            return all([await mixed.rooms(name) == rooms for name in names])

        await tell("join", "b", "c", rooms=("a",))
        await mixed.eventually(lambda: all_in(told, {"a", "b", "c"}))
        await tell("leave", "a", "c", rooms=("b",))
        await mixed.eventually(lambda: all_in(told, {"b"}))
        await tell("join", "d", **without("b"))
        await mixed.eventually(lambda: all_in(("js2", "py1 too"), {"d"}))
        assert await all_in(told, {"b"})
        await tell("disconnect", rooms=("b",))
        for name in ("py0", "py1"):
            assert (await mixed.clients[name].closed(timeout=20)).disconnected
        assert await mixed.node.next("js") == ["disconnect", "io server disconnect"]
        assert mixed.clients["py1 too"].connected
        await tell("disconnect", close=True)
        assert await mixed.node.next("js2") == ["disconnect", "io server disconnect"]
        assert await mixed.clients["py1 too"].connection.closed(timeout=20)


def _told(server: Any, what: str, names: tuple[str, ...], close: bool, **target: Any) -> Any:
    operator = _addressed(server, **target)
    match what:
        case "join":
            return operator.sockets_join(*names)
        case "leave":
            return operator.sockets_leave(*names)
        case _:
            return operator.disconnect_sockets(close=close)


async def test_a_socket_of_node_does_as_it_is_told(mix: Mix) -> None:
    async with mix() as mixed:
        await mixed.client("js", "a")
        (remote,) = await mixed.servers[0].to("a").fetch_sockets()
        await remote.emit("x", b"\x01")
        assert await mixed.node.next("js") == ["x", b"\x01"]
        assert await remote.emit_with_ack("question", b"\x02") == {"js": b"\x02"}
        await remote.join("b")
        await remote.leave("a")
        await mixed.eventually(lambda: _are(mixed.rooms("js"), {"b"}))
        await remote.disconnect(close=True)
        assert await mixed.node.next("js") == ["disconnect", "io server disconnect"]


async def test_a_socket_of_ours_does_as_node_tells_it(mix: Mix) -> None:
    async with mix() as mixed:
        await mixed.client("py0", "a")
        target = {"rooms": [mixed.ids["py0"]]}
        await mixed.node.do("remoteEmit", event=["x", b"\x01"], **target)
        assert await mixed.clients["py0"].once("x") == (b"\x01",)
        assert await mixed.node.do("remoteAsk", event=["question", b"\x02"], **target) == {"py0": b"\x02"}
        await mixed.node.do("remoteMove", join="b", leave="a", **target)
        await mixed.eventually(lambda: _are(mixed.rooms("py0"), {"b"}))
        await mixed.node.do("remoteDisconnect", close=False, **target)
        assert (await mixed.clients["py0"].closed(timeout=20)).disconnected


async def _are(rooms: Awaitable[set[str]], expected: set[str]) -> bool:
    return await rooms == expected


async def test_node_learns_all_rooms(mix: Mix) -> None:
    async with mix() as mixed:
        await mixed.client("js", "a")
        await mixed.client("py0", "b", "c")
        await mixed.client("py1", "c")
        await mixed.client("py1 chat", "d", namespace="/chat")
        assert await mixed.node.do("allRooms") == sorted(["a", "b", "c", *(mixed.ids[name] for name in ("js", "py0", "py1"))])
        assert await mixed.node.do("allRooms", namespace="/chat") == sorted(["d", mixed.ids["py1 chat"]])


# Answers of clients.


@pytest.mark.parametrize("value", [1, None, {"a": ["é"]}, b"\x00\xff", [b"x", {"y": b"z"}]])
async def test_clients_of_all_servers_answer_ours(mix: Mix, value: object) -> None:
    async with mix() as mixed:
        await mixed.crowd("a")
        await mixed.client("js2", "b")
        answers = await mixed.servers[0].to("a").emit_with_ack("question", value)
        assert sorted(answers, key=str) == sorted([{"py0": value}, {"py1": value}, {"js": value}], key=str)
        assert await mixed.servers[1].to("b").emit_with_ack("question", value) == [{"js2": value}]
        assert await mixed.servers[1].to("nobody").emit_with_ack("question", value) == []


@pytest.mark.parametrize("value", [1, None, {"a": ["é"]}, b"\x00\xff", [b"x", {"y": b"z"}]])
async def test_clients_of_all_servers_answer_node(mix: Mix, value: object) -> None:
    async with mix() as mixed:
        await mixed.crowd("a")
        await mixed.client("py1 too", "b")
        # In Node's own order of arrival.
        said = await mixed.node.do("ask", event=["question", value], rooms=["a"], timeout=10_000)
        assert said["error"] is None
        assert sorted(said["responses"], key=str) == sorted([{"py0": value}, {"py1": value}, {"js": value}], key=str)
        said = await mixed.node.do("ask", event=["question", value], rooms=["b"], timeout=10_000)
        assert said == {"error": None, "responses": [{"py1 too": value}]}
        said = await mixed.node.do("ask", event=["question", value], rooms=["nobody"], timeout=10_000)
        assert said == {"error": None, "responses": []}


async def test_who_does_not_answer_is_missing_on_both_sides(mix: Mix) -> None:
    async with mix() as mixed:
        await mixed.client("py0")
        await mixed.client("js")
        mixed.clients["py0"].on("ignore", lambda: "here")
        with pytest.raises(AckTimeout) as raised:
            await mixed.servers[1].timeout(PATIENCE).emit_with_ack("ignore")
        assert raised.value.responses == ["here"]
        assert len(raised.value.missing) == 1
        said = await mixed.node.do("ask", event=["ignore"], timeout=PATIENCE * 1000)
        assert said == {"error": "operation has timed out", "responses": ["here"]}


async def test_nobody_waits_for_who_goes_without_an_answer_but_node(mix: Mix) -> None:
    async with mix() as mixed:
        await mixed.crowd()
        for number, server in enumerate(("py0", "js")):
            goes = f"py1 goes {number}"
            await mixed.client(goes)
            mixed.clients[goes].on("question", lambda *args, goes=goes: mixed.socket(goes).disconnect_nowait())
            if server == "py0":
                answers = await mixed.servers[0].emit_with_ack("question", 1)
            else:
                said = await mixed.node.do("ask", event=["question", 1], timeout=PATIENCE * 1000)
                assert said["error"] == "operation has timed out"
                answers = said["responses"]
            assert sorted(answers, key=str) == [{"js": 1}, {"py0": 1}, {"py1": 1}]


# Servers.


async def test_servers_speak_to_each_other(mix: Mix) -> None:
    async with mix() as mixed:
        said_to_us, hears = trio.open_memory_channel[list[Any]](10)
        for number, server in enumerate(mixed.servers):
            server.on_server_side_emit("hello")(lambda *args, number=number: said_to_us.send_nowait([number, *args]))
        await mixed.servers[0].server_side_emit("hello", "é", {"a": [None]}, b"\x00")
        assert await mixed.node.next("server /") == ["hello", "é", {"a": [None]}, b"\x00"]
        assert await hears.receive() == [1, "é", {"a": [None]}, b"\x00"]
        await mixed.servers[0].of("/chat").server_side_emit("hello")
        assert await mixed.node.next("server /chat") == ["hello"]
        await mixed.node.do("say", event=["hello", "é", {"a": [None]}])
        assert sorted([await hears.receive(), await hears.receive()]) == [[number, "é", {"a": [None]}] for number in (0, 1)]
        await mixed.node.do("say", event=["hello", "emitted"], emitter=True)
        assert sorted([await hears.receive(), await hears.receive()]) == [[number, "emitted"] for number in (0, 1)]
        assert await mixed.node.next("server /") == ["hello", "emitted"]


async def test_servers_answer_each_other(mix: Mix) -> None:
    async with mix() as mixed:
        for number, server in enumerate(mixed.servers):

            @server.on_server_side_emit("count")
            async def count(more: int, number: int = number) -> dict[str, int]:
                await trio.lowlevel.checkpoint()
                return {f"py{number}": more}

            server.on_server_side_emit("ignore")(lambda number=number: ["here", number])
        answers = await mixed.servers[0].server_side_emit_with_ack("count", 2)
        assert sorted(answers, key=str) == [{"node": 2}, {"py1": 2}]
        said = await mixed.node.do("confer", event=["count", 3])
        assert said["error"] is None
        assert sorted(said["responses"], key=str) == [{"py0": 3}, {"py1": 3}]
        with pytest.raises(AckTimeout) as raised:
            await mixed.servers[0].server_side_emit_with_ack("ignore", timeout=PATIENCE)
        assert raised.value.responses == [["here", 1]]
        assert len(raised.value.missing) == 1
        said = await mixed.node.do("confer", event=["nobody listens"])
        assert said == {"error": "timeout reached: only 0 responses received out of 2", "responses": []}


# How clients are spoken to does not matter between servers.


async def test_servers_with_different_parsers_share_their_clients(redis_server: RedisServer) -> None:
    key = secrets.token_hex(8)
    async with open_fleet([RedisCluster(redis_server.url, key=key)], servers=1) as json:
        clients = [await json.client(0, "a")]
        async with open_fleet([RedisCluster(redis_server.url, key=key)], Config(parser="msgpack"), servers=2) as msgpack:
            clients.append(await msgpack.client(0, "a"))
            for client in clients:
                client.on("question", lambda value: value)
            for fleet in (json, msgpack):
                await fleet.servers[0].to("a").emit("x", *VALUES, *BYTES)
                assert [await client.once("x") for client in clients] == [(*VALUES, *BYTES)] * 2
                assert await fleet.servers[0].emit_with_ack("question", b"\x00") == [b"\x00"] * 2


async def test_servers_with_another_key_are_strangers(redis_server: RedisServer) -> None:
    keys = [secrets.token_hex(8) for _ in range(2)]
    async with open_fleet([RedisCluster(redis_server.url, key=keys[0])], servers=1) as stranger:
        outside = await stranger.client(0)
        async with open_fleet([RedisCluster(redis_server.url, key=keys[1]) for _ in range(2)]) as fleet:
            clients = [await fleet.client(number) for number in range(2)]
            await fleet.servers[0].emit("x")
            assert [(await client.receive()).name for client in clients] == ["x"] * 2
            await stranger.servers[0].emit("y")
            assert (await outside.receive()).name == "y"
            assert await stranger.servers[0].count_sockets() == 1
            assert await stranger.clusters[0].server_count() == 1


# What versions before 8 of Node's adapter ask.


async def test_what_older_servers_ask(redis_server: RedisServer) -> None:
    key = secrets.token_hex(8)
    async with open_fleet([RedisCluster(redis_server.url, key=key)]) as fleet:
        client, other = await fleet.client(0, "a"), await fleet.client(0, "b")
        socket = fleet.socket(0, client)
        with redis.Redis(port=redis_server.port) as wire, wire.pubsub(ignore_subscribe_messages=True) as ear:
            ear.subscribe(f"{key}-response#/#")
            ear.get_message(timeout=10)

            async def ask(**request: Any) -> Any:
                wire.publish(f"{key}-request#/#", json.dumps({"uid": "older", "requestId": "n", **request}))
                message = await trio.to_thread.run_sync(partial(ear.get_message, timeout=10))
                answer = json.loads(message["data"])
                assert answer.pop("requestId") == "n"
                return answer

            assert await ask(type=0, rooms=["a"]) == {"sockets": [client.id]}
            assert {*(await ask(type=0, rooms=[]))["sockets"]} == {client.id, other.id}
            assert await ask(type=0, rooms=["nobody"]) == {"sockets": []}
            assert {*(await ask(type=1))["rooms"]} == {"a", "b", client.id, other.id}
            assert await ask(type=2, sid=client.id, room="c") == {}
            assert socket.rooms == {client.id, "a", "c"}
            assert await ask(type=3, sid=client.id, room="a") == {}
            assert socket.rooms == {client.id, "c"}
            # Of a socket that another server has nothing is said; the next answer is to the next question.
            wire.publish(f"{key}-request#/#", json.dumps({"uid": "older", "requestId": "m", "type": 2, "sid": "nobody", "room": "c"}))
            assert await ask(type=4, sid=client.id, close=False) == {}
            assert (await client.closed()).disconnected
            assert other.connected

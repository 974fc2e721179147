"""Whatever somebody publishes on the channels of servers that run: it is counted, dropped, and the clients go on."""

from __future__ import annotations

import json
import logging
import pickle
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import AbstractAsyncContextManager, ExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final

import pytest
import redis
import socketio
import trio

from tests.cluster.recordings import load
from tests.cluster.redis_server import RedisServer
from trio_sio import Namespace, Server
from trio_sio.cluster import bad
from trio_sio.cluster.payload import loads
from trio_sio.cluster.redis import RedisCluster, SyncEmitter
from trio_sio.cluster.redis.classic import ClassicAdapter
from trio_sio.limits import Limits
from trio_sio.namespaces import handshake
from trio_sio.protocol import notepack
from trio_sio.testing import Fleet, StrictSocket, open_fleet

PACKET: Final = {"type": 2, "data": ["bad"], "nsp": "/"}
EVERYBODY: Final[dict[str, Any]] = {"rooms": [], "except": [], "flags": {}}


class Victim:
    """A server, a client of it in the room ``a``, and who publishes on its channels."""

    def __init__(self, fleet: Fleet, client: StrictSocket, redis_client: redis.Redis, key: str) -> None:
        self.fleet = fleet
        self.server: Server = fleet.servers[0]
        (cluster,) = fleet.clusters
        assert isinstance(cluster, RedisCluster)
        self.cluster = cluster
        self.client = client
        self.key = key
        self._redis = redis_client

    @property
    def uid(self) -> str:
        """What the server calls itself."""
        adapter = self.server.of("/").adapter
        assert isinstance(adapter, ClassicAdapter)
        return adapter.uid

    async def publish(self, payloads: Iterable[bytes], channel: str = "#/#") -> None:
        """Publish these behind the key."""
        pipeline = self._redis.pipeline(transaction=False)
        for payload in payloads:
            pipeline.publish(self.key + channel, payload)
        await trio.to_thread.run_sync(pipeline.execute)

    async def dropped(self) -> dict[str, int]:
        """Return what was dropped once all is there, and require that the client goes on, and has heard nothing else."""
        word = secrets.token_hex(4)
        await trio.to_thread.run_sync(SyncEmitter(self._redis, key=self.key).emit, "good", word)
        event = await self.client.receive(timeout=20)
        assert (event.name, event.args) == ("good", (word,))
        self.client.on("question", lambda: word)
        assert await self.server.to("a").emit_with_ack("question") == [word]
        bus = self.server.statistics().bus
        assert bus is not None
        return dict(bus.bad_messages)


Opens = Callable[[], AbstractAsyncContextManager[Victim]]


@pytest.fixture
def victim(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> Opens:
    """What opens one; in the end there is at most one line in the log, and no traceback."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[Victim]:
        key = secrets.token_hex(8)
        with redis.Redis(port=redis_server.port) as client:
            async with open_fleet([RedisCluster(redis_server.url, key=key)]) as fleet:
                yield Victim(fleet, await fleet.client(0, "a"), client, key)
        lines = [record for record in caplog.records if record.levelno >= logging.WARNING]
        assert len(lines) <= 1
        assert not any(record.exc_info for record in caplog.records)

    return opened


def broadcast(packet: object = PACKET, opts: object = EVERYBODY, uid: object = "nobody") -> bytes:
    return notepack.dumps([uid, packet, opts])


# Broadcasts.


@pytest.mark.hostile("B01")
async def test_what_is_cut_off_anywhere(victim: Opens) -> None:
    async with victim() as one:
        whole = broadcast({"type": 2, "data": ["bad", {"a": [b"\x00" * 40, 1.5, "é"]}], "nsp": "/"})
        cut = [whole[:size] for size in range(len(whole))]
        await one.publish([*cut, whole + b"\x00", b"\xc1", b"\xff" * 100, b"{", b'{"a":', b"\x93\xd9"])
        assert sum((await one.dropped()).values()) == len(cut) + 6


@pytest.mark.hostile("B02")
async def test_what_is_no_broadcast(victim: Opens) -> None:
    async with victim() as one:
        values: list[object] = [
            0,
            -1,
            1.5,
            None,
            True,
            "x",
            b"x",
            [],
            {},
            ["uid"],
            ["uid", PACKET],
            [PACKET, EVERYBODY],
            {"uid": 1},
            [[]] * 3,
        ]
        await one.publish(
            [*map(notepack.dumps, values), broadcast(uid=None), broadcast(uid=1), broadcast(uid=""), broadcast(uid="x" * 101)]
        )
        assert await one.dropped() == {"schema": len(values) + 4}


@pytest.mark.hostile("B03")
async def test_what_has_lost_whom_it_is_for(victim: Opens) -> None:
    async with victim() as one:
        options: list[object] = [
            None,
            [],
            {},
            {"rooms": None},
            {"rooms": None, "except": []},
            {"except": ["a"], "flags": {}},
            {"rooms": {}},
            {"rooms": "a"},
            {"rooms": [None]},
            {"rooms": [["a"]]},
            {"rooms": [], "except": None},
            {"rooms": [], "except": "a"},
            {"rooms": [], "except": [1.5]},
            {"rooms": [], "flags": []},
            {"rooms": [], "flags": {"timeout": "soon"}},
            {"rooms": [], "flags": {"timeout": -1}},
            {"rooms": [], "flags": {"volatile": "yes"}},
        ]
        await one.publish([broadcast(opts=option) for option in options])
        await one.publish([broadcast(opts=option) for option in options], "#/#a#")
        await one.publish([notepack.dumps(["uid", PACKET])])
        assert await one.dropped() == {"schema": 2 * len(options) + 1}


async def test_packets_that_no_server_broadcasts(victim: Opens) -> None:
    async with victim() as one:
        events: list[object] = [
            [],
            [True],
            [None],
            ["connect"],
            ["disconnect"],
            ["connect_error"],
            ["disconnecting"],
            ["x", *range(1025)],
            "x",
            None,
        ]
        packets = [{"type": 2, "data": event, "nsp": "/"} for event in events]
        packets += [{"type": kind, "data": ["bad"], "nsp": "/"} for kind in (0, 1, 3, 4, 6, -1, "2", None)]
        await one.publish([*map(broadcast, packets), broadcast(None), broadcast([])])
        assert await one.dropped() == {"schema": len(packets) + 2}


@pytest.mark.hostile("B04")
async def test_a_namespace_that_is_missing_or_another(victim: Opens) -> None:
    async with victim() as one:
        chat = await one.fleet.client(0, "a", namespace="/chat")
        bare = {"type": 2, "data": ["bare"]}
        await one.publish([broadcast(bare), broadcast({**bare, "nsp": None})])
        assert [(await one.client.receive()).name for _ in range(2)] == ["bare"] * 2
        await one.publish([broadcast(bare)], "#/chat#")
        await one.publish([broadcast({**PACKET, "nsp": "/chat"}), broadcast({**PACKET, "nsp": "/nobody"})])
        await one.publish([broadcast({**PACKET, "nsp": name}) for name in ("", "chat", "/" + "x" * 5000, 1)])
        assert await one.dropped() == {"schema": 4}
        await one.server.of("/chat").emit("good")
        assert (await chat.receive()).name == "good"


@pytest.mark.hostile("B05")
async def test_who_has_our_name_is_not_heard(victim: Opens) -> None:
    async with victim() as one:
        uid = one.uid
        assert len(uid) == 32
        await one.publish([broadcast(uid=uid)])
        await one.publish([json.dumps({"uid": uid, "type": 4, "opts": {"rooms": [], "except": []}, "close": True}).encode()], "-request#/#")
        assert await one.dropped() == {}


@pytest.mark.hostile("B07")
async def test_a_pickle_is_never_loaded(victim: Opens, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    class Trap:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "loaded",)

    async with victim() as one:
        pickles = [pickle.dumps({"method": "emit", "trap": Trap()}, protocol) for protocol in (2, 3, 4, 5)]
        for channel in ("#/#", "#/#a#", "-request#/#", "-response#/#"):
            await one.publish(pickles, channel)
        assert await one.dropped() == {"pickle": 16}
        assert not (tmp_path / "loaded").exists()
    (line,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
    assert "as python-socketio before 5.14 sends. None is ever loaded: give who sends it another key." in line


@pytest.mark.hostile("B08")
async def test_python_socketio_on_the_same_redis(victim: Opens, redis_server: RedisServer) -> None:
    async with victim() as one:
        for channel, dropped in ((("socketio"), {}), (f"{one.key}#/#", {"schema": 1})):
            manager = socketio.RedisManager(redis_server.url, channel=channel, write_only=True)
            await trio.to_thread.run_sync(partial(manager.emit, "bad", {"a": 1}))
            assert await one.dropped() == dropped
            manager.redis.close()


@pytest.mark.hostile("B09")
async def test_other_tenants_with_keys_like_ours(victim: Opens, redis_server: RedisServer) -> None:
    async with victim() as one:
        for key in (f"{one.key}2", f"{one.key}#", f"{one.key}*", one.key.upper(), "socket.io", "", "*"):
            with redis.Redis(port=redis_server.port) as client:
                emitter = SyncEmitter(client, key=key)
                emitter.emit("bad")
                emitter.to("a").emit("bad")
                emitter.server_side_emit("bad")
                emitter.disconnect_sockets()
        assert await one.dropped() == {}
        with redis.Redis(port=redis_server.port) as client:
            SyncEmitter(client, key=f"{one.key}-request").emit("bad")
        assert await one.dropped() == {"schema": 1}


@pytest.mark.hostile("B10")
async def test_names_with_a_meaning_for_redis(redis_server: RedisServer) -> None:
    names = ["*", "?", "[ab]", "[^b]", "\\", "a#b", "#", "a", "é*", "a*b?c", " ", "0"]
    key = secrets.token_hex(8)
    clusters = [RedisCluster(redis_server.url, key=key) for _ in range(2)]
    async with open_fleet(clusters) as fleet:
        clients = {name: await fleet.client(1, name) for name in names}
        for name in names:
            await fleet.servers[0].to(name).emit("for", name)
            await fleet.servers[0].to(name, "nobody").emit("for one of", name)
        await fleet.servers[0].emit("end")
        for name, client in clients.items():
            assert [(await client.receive()).args for _ in range(3)] == [(name,), (name,), ()]
    async with open_fleet([RedisCluster(redis_server.url, key=key) for _ in range(2)]) as fleet, trio.open_nursery() as nursery:
        heard: dict[str, list[object]] = {name: [] for name in names}

        async def listen(namespace: Namespace, name: str, task_status: trio.TaskStatus[None]) -> None:
            async with namespace.subscribe() as channel:
                await namespace.adapter.settled()
                task_status.started()
                while (event := await channel.receive()).name != "end":
                    heard[name].append(event.args[0])

        for name in names:
            await nursery.start(listen, fleet.servers[1].of(f"/{name}"), name)
        for name in names:
            await fleet.servers[0].of(f"/{name}").emit("for", name)
        for name in names:
            await fleet.servers[0].of(f"/{name}").emit("end")
    assert heard == {name: [name] for name in names}
    assert not any(cluster.bad_messages for cluster in clusters)


# Requests, and answers.


@pytest.mark.hostile("B06")
async def test_requests_and_answers_that_nobody_knows(victim: Opens) -> None:
    async with victim() as one:
        requests = [{"type": kind, "uid": "x", "requestId": "1"} for kind in (7.0, 8, 99, -1)]
        await one.publish([json.dumps(request).encode() for request in requests], "-request#/#")
        answers: list[dict[str, Any]] = [{}, {"sockets": []}, {"type": 8, "clientCount": 1}, {"type": 9}, {"type": 6}, {"type": 77}]
        for channel in ("-response#/#", f"-response#/#{one.uid}#"):
            await one.publish([json.dumps({"requestId": "nobody's", **answer}).encode() for answer in answers], channel)
        dropped = await one.dropped()
        assert dropped.pop("unknown") == 3 + 2
        assert dropped == {"schema": 1}


async def test_answers_that_are_too_many_or_late(victim: Opens, redis_server: RedisServer) -> None:
    """Somebody pretends to be two more servers, and answers everything seven times."""
    async with victim() as one:
        with redis.Redis(port=redis_server.port) as client, ExitStack() as stack:
            ears: list[Any] = [redis.Redis(port=redis_server.port).pubsub() for _ in range(2)]  # type: ignore[no-untyped-call]
            for ear in ears:
                stack.callback(ear.close)
                ear.subscribe(f"{one.key}-request#/#")
                ear.get_message(timeout=5)

            def answer(kind: int, response: dict[str, Any]) -> None:
                message = ears[0].get_message(ignore_subscribe_messages=True, timeout=10)
                request = loads(message["data"], Limits(), 10_000)
                assert request["type"] == kind
                for _ in range(7):
                    client.publish(f"{one.key}-response#/#", json.dumps({**response, "requestId": request["requestId"]}))

            one.client.on("question", lambda: "here")
            async with trio.open_nursery() as nursery:
                far = {"id": "far", "handshake": {}, "rooms": []}
                nursery.start_soon(trio.to_thread.run_sync, partial(answer, 5, {"sockets": [far]}))
                found = await one.server.fetch_sockets()
            assert [socket.id for socket in found] == [one.client.id, "far", "far"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, partial(answer, 6, {"type": 6, "data": "x"}))
                assert await one.server.server_side_emit_with_ack("x") == ["x", "x"]
            async with trio.open_nursery() as nursery:
                nursery.start_soon(trio.to_thread.run_sync, partial(answer, 7, {"type": 8, "clientCount": 0}))
                assert await one.server.emit_with_ack("question") == ["here"]
            await one.fleet.settle(3)
        await one.fleet.settle(1)
        assert await one.dropped() == {}


@pytest.mark.hostile("B27")
async def test_commands_for_nobody(victim: Opens) -> None:
    async with victim() as one:
        to = [{"rooms": [room], "except": []} for room in ("nobody", "*", "?", "", "a*", one.client.id[:-1], "__proto__")]
        commands = list[dict[str, Any]]()
        commands += [{"type": kind, "opts": opts, "rooms": ["b"]} for kind in (2, 3) for opts in to]
        commands += [{"type": 4, "opts": opts, "close": True} for opts in to]
        commands += [{"type": kind, "sid": "nobody", "room": "b", "close": True, "requestId": "1"} for kind in (2, 3, 4)]
        await one.publish([json.dumps({"uid": "x", **command}).encode() for command in commands], "-request#/#")
        assert await one.dropped() == {}
        assert one.fleet.socket(0, one.client).rooms == {one.client.id, "a"}


async def test_commands_that_cannot_be_obeyed(victim: Opens) -> None:
    async with victim() as one:
        other = await one.fleet.client(0)
        join = {"uid": "x", "type": 2, "opts": {"rooms": ["a"], "except": []}, "rooms": [other.id]}
        commands = list[dict[str, Any]]()
        commands += [{"type": kind} for kind in (2, 3, 4, 5, 6, 7)]
        commands += [{"type": kind, "rooms": ["b"]} for kind in (2, 3)]
        commands += [{"type": kind, "opts": {"rooms": None}, "rooms": ["b"], "close": True} for kind in (2, 3, 4, 5)]
        commands += [{"type": 6, "data": data} for data in (None, [], [1], "x", ["x", *range(1025)])]
        await one.publish([json.dumps(join).encode()], "-request#/#")
        await one.publish([json.dumps({"uid": "x", **command}).encode() for command in commands], "-request#/#")
        assert await one.dropped() == {"undeliverable": 1, "schema": len(commands)}
        assert one.fleet.socket(0, one.client).rooms == {one.client.id, "a"}


@pytest.mark.parametrize("name", ["classic", "classic_specific", "emitter"])
async def test_what_node_says_with_bytes_missing(victim: Opens, name: str) -> None:
    """On every channel, whatever it was for; what happens to remain a message may do what it says."""
    async with victim() as one:
        one.client.on("hello", lambda *args: None)
        recorded = {message.payload for message in load(name).messages}
        cut = [payload[:at] + payload[at + size :] for payload in recorded for at in range(0, len(payload), 17) for size in (1, 16)]
        for channel in ("#/#", "-request#/#", "-response#/#", f"-response#/#{one.uid}#"):
            await one.publish(cut, channel)
        # The client may have been told something, or have been disconnected; the server goes on.
        again = await one.fleet.client(0)
        await trio.to_thread.run_sync(SyncEmitter(redis.Redis(port=one.cluster.address.port), key=one.key).emit, "good")
        assert await again.once("good") == ()
        dropped = dict(one.cluster.bad_messages)
        assert dropped.get("failed", 0) == 0
        assert dropped["format"] + dropped["schema"] > len(cut)


async def test_a_flood_of_nonsense_is_one_line(victim: Opens, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    async with victim() as one:
        await one.publish([b"nonsense"] * 20_000)
        assert await one.dropped() == {"format": 20_000}
        (line,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert line.endswith("It is dropped; 1 were so far.")
        caplog.clear()
        monkeypatch.setattr(bad, "COMPLAINTS", 0)
        await one.publish([b"nonsense"])
        await one.dropped()
        (line,) = [record.message for record in caplog.records if record.levelno >= logging.WARNING]
        assert line.endswith("It is dropped; 20001 were so far.")


@pytest.mark.hostile("B25")
@pytest.mark.parametrize("seconds", [-3600, 3600])
async def test_servers_whose_clocks_differ(redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """What servers say to each other has no time in it but when somebody connected, which is only shown."""
    key = secrets.token_hex(8)
    async with open_fleet([RedisCluster(redis_server.url, key=key) for _ in range(2)]) as fleet:
        clients = [await fleet.client(0)]
        with monkeypatch.context() as patch:
            patch.setattr(handshake, "time", SimpleNamespace(time=lambda: time.time() + seconds))
            clients.append(await fleet.client(1))
        for client in clients:
            client.on("question", lambda: "here")
        for server in fleet.servers:
            assert await server.timeout(5).emit_with_ack("question") == ["here"] * 2
            issued = {socket.id: socket.handshake.issued for socket in await server.fetch_sockets()}
            assert issued[clients[1].id] - issued[clients[0].id] == pytest.approx(seconds, abs=5)

"""Redis dies, stands still, or was never there, and so do other servers: local clients notice nothing, and who asks others is told."""

from __future__ import annotations

import json
import logging
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, ClassVar, Final

import pytest
import trio
import trio.testing

from tests.cluster.redis.node import Node
from tests.cluster.redis_server import RedisServer
from tests.conftest import ROOT, require_tool
from trio_sio import AckTimeout, ConfigurationError, Route, RoutingTable, Server, Socket, on_connection, open_client
from trio_sio.cluster.redis import RedisCluster
from trio_sio.cluster.redis.classic import ClassicAdapter
from trio_sio.cluster.redis.pubsub import PubSubSettings
from trio_sio.errors import BusUnavailable
from trio_sio.testing import ChaosProxy, ChaosRules, Fleet, StrictSocket, open_chaos_proxy, open_fleet, open_test_server

QUICK: Final = PubSubSettings(ping_interval=0.3, answer_timeout=0.3, connect_timeout=1, delay=0.02, delay_max=0.1)

SOON: Final = 0.1  # seconds within which 99 of 100 echoes are there, on a machine that is never late itself
TURN: Final = 0.002  # seconds between two of them
REQUESTS: Final = 1.0  # seconds that other servers are waited for


class QuickCluster(RedisCluster):
    """One that loses its patience soon, and writes down its gaps."""

    SETTINGS: ClassVar = QUICK

    def __init__(self, url: str, **options: Any) -> None:
        super().__init__(url, request_timeout=REQUESTS, **options)
        self.sentences: list[str] = []
        self.on_gap(self.sentences.append)


class Impatient(QuickCluster):
    SETTINGS: ClassVar = PubSubSettings(queue_messages=100, delay=0.02, delay_max=0.1)


class Patient(QuickCluster):
    SETTINGS: ClassVar = PubSubSettings(ping_interval=60, answer_timeout=60, delay=0.02, delay_max=0.1)


class Hall:
    @on_connection
    def joined(self, socket: Socket) -> None:
        """Let everybody in."""


class Machine:
    """Measures how late the machine itself is, on which others run, too."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._seconds = [0.0]
        self._thread = threading.Thread(target=self._measure)

    def __enter__(self) -> Machine:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._over.set()
        self._thread.join()

    def _measure(self) -> None:
        began = time.monotonic()
        while not self._over.wait(TURN):
            now = time.monotonic()
            self._seconds.append(now - began - TURN)
            began = now

    @property
    def lateness(self) -> float:
        """By so many seconds one time in a hundred."""
        return percentile(self._seconds)


def percentile(values: list[float]) -> float:
    """Return what 99 of 100 do not exceed."""
    return sorted(values)[int(len(values) * 0.99)]


class Locals:
    """A client of one server, which goes on as if nothing were, while that server emits to all."""

    def __init__(self, server: Server, client: StrictSocket) -> None:
        self._server = server
        self._client = client
        self._emitted = 0
        self._heard: list[int] = []
        self._seconds: list[float] = []
        server.of("/").sockets[client.id].on("echo", lambda number: number)
        client.on("news", lambda sender, number: self._heard.append(number) if sender == client.id else None)
        client.on("question", lambda: "here")

    async def go_on(self) -> None:
        while True:
            began = trio.current_time()
            assert await self._client.emit_with_ack("echo", self._emitted) == self._emitted
            self._seconds.append(trio.current_time() - began)
            self._server.emit_nowait("news", self._client.id, self._emitted)
            self._emitted += 1
            await trio.sleep(TURN)

    @property
    def has_seen_enough(self) -> bool:
        """Whether one late echo is not too many yet."""
        return len(self._seconds) >= 200

    async def check(self, machine: Machine) -> None:
        """Require that nothing got lost, and nothing was late."""
        with trio.fail_after(5):
            while len(self._heard) < self._emitted:  # noqa: ASYNC110  # the last are on their way
                await trio.sleep(0.01)
        assert self._heard == list(range(self._emitted))
        assert percentile(self._seconds) < SOON + machine.lateness


async def until(condition: Callable[[], object]) -> None:
    with trio.fail_after(20):
        while not condition():  # noqa: ASYNC110  # nothing tells
            await trio.sleep(0.005)


class Outage:
    """Two servers of ours with a client each, which go on."""

    def __init__(self, fleet: Fleet, clients: list[StrictSocket]) -> None:
        self.fleet = fleet
        self.servers = fleet.servers
        self.clusters = [cluster for cluster in fleet.clusters if isinstance(cluster, QuickCluster)]
        self.clients = clients

    async def ready(self) -> None:
        """Wait until all servers are."""
        await until(lambda: all(server.ready().ready for server in self.servers))

    def is_back(self, proxy: ChaosProxy, connections: int) -> bool:
        """Tell whether the first server is ready again, on at least so many connections through the proxy."""
        return self.servers[0].ready().ready and proxy.connections >= connections

    async def require_partial_answers(self) -> None:
        """Ask without Redis: each question ends in time, with what came, and says that somebody is missing."""
        server, client = self.servers[0], self.clients[0]
        with trio.fail_after(5):
            found = await server.fetch_sockets()
            assert [socket.id for socket in found] == [client.id]
            assert found.missing
            assert await server.count_sockets() == 1
            with pytest.raises(AckTimeout) as raised:
                await server.timeout(0.2).emit_with_ack("question")
            assert raised.value.responses == ["here"]
            assert raised.value.missing
            with pytest.raises(AckTimeout) as raised:
                await server.server_side_emit_with_ack("question", timeout=0.2)
            assert raised.value.responses == []
            assert raised.value.missing

    async def require_together(self) -> None:
        """Require that the servers hear and answer each other again."""
        for number, server in enumerate(self.servers):
            word = secrets.token_hex(4)
            await server.emit("again", word)
            for client in self.clients:
                while await client.once("again", timeout=10) != (word,):
                    pass
            assert await server.emit_with_ack("question") == ["here"] * len(self.servers)
            found = await server.fetch_sockets()
            assert {socket.id for socket in found} == {client.id for client in self.clients}
            assert not found.missing
            answers = await server.server_side_emit_with_ack("question")
            assert sorted(map(str, answers)) == [f"server {other}" for other in range(len(self.servers)) if other != number]


@asynccontextmanager
async def going_on(*clusters: QuickCluster, servers: int | None = None) -> AsyncIterator[Outage]:
    """Run a server for each of ``clusters``, while their clients go on; in the end require that these have noticed nothing."""
    async with open_fleet(clusters, servers=servers) as fleet:
        clients = [await fleet.client(number) for number in range(len(clusters))]
        for number, server in enumerate(fleet.servers):
            server.on_server_side_emit("question")(lambda number=number: f"server {number}")
        outage = Outage(fleet, clients)
        both = [Locals(server, client) for server, client in zip(fleet.servers, clients, strict=True)]
        with Machine() as machine:
            async with trio.open_nursery() as nursery:
                for one in both:
                    nursery.start_soon(one.go_on)
                yield outage
                await until(lambda: all(one.has_seen_enough for one in both))
                nursery.cancel_scope.cancel()
            for one in both:
                await one.check(machine)


def two(url: str, kind: type[QuickCluster] = QuickCluster) -> list[QuickCluster]:
    key = secrets.token_hex(8)
    return [kind(url, key=key) for _ in range(2)]


# While it runs.


@pytest.mark.hostile("B14")
async def test_redis_is_killed_and_started_again(fragile_redis: RedisServer) -> None:
    async with going_on(*two(fragile_redis.url)) as outage:
        await trio.to_thread.run_sync(fragile_redis.kill)
        await until(lambda: not any(server.ready().ready for server in outage.servers))
        assert outage.servers[0].ready().reason.startswith(f"There is no connection to Redis at 127.0.0.1:{fragile_redis.port}: It ")
        await outage.require_partial_answers()
        await trio.to_thread.run_sync(fragile_redis.start)
        await outage.ready()
        await outage.require_together()
        await until(lambda: all(any("did not come here" in one for one in cluster.sentences) for cluster in outage.clusters))
        assert [cluster.gaps for cluster in outage.clusters] == [len(cluster.sentences) for cluster in outage.clusters]


@pytest.mark.hostile("B18")
async def test_redis_stands_still(fragile_redis: RedisServer) -> None:
    async with going_on(*two(fragile_redis.url)) as outage:
        fragile_redis.stop()
        # Before anybody can know: whom a question is for, gets it at once.
        began = trio.current_time()
        with pytest.raises(AckTimeout) as raised:
            await outage.servers[0].timeout(0.2).emit_with_ack("question")
        assert trio.current_time() - began < 0.5
        assert (raised.value.responses, raised.value.missing) == (
            ["here"],
            [f"servers that share Redis at 127.0.0.1:{fragile_redis.port}"],
        )
        await until(lambda: not any(server.ready().ready for server in outage.servers))
        await outage.require_partial_answers()
        fragile_redis.go_on()
        await outage.ready()
        await outage.require_together()
        await until(lambda: all(cluster.sentences for cluster in outage.clusters))


async def test_the_connections_are_killed_again_and_again(fragile_redis: RedisServer) -> None:
    async with going_on(*two(fragile_redis.url)) as outage:
        for _ in range(3):
            interrupted = [cluster.pubsub.lost.get("interrupted", 0) + 1 for cluster in outage.clusters]
            assert await trio.to_thread.run_sync(fragile_redis.command, "CLIENT", "KILL", "TYPE", "pubsub") == b":2\r\n"
            while [cluster.pubsub.lost.get("interrupted", 0) for cluster in outage.clusters] != interrupted:  # noqa: ASYNC110
                await trio.sleep(0.005)
            await outage.ready()
            await outage.require_together()
        await until(lambda: all(cluster.gaps for cluster in outage.clusters))


@pytest.mark.hostile("B15")
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_the_network_swallows_everything(redis_server: RedisServer, direction: str) -> None:
    """Nothing is closed, and nothing comes; each connection in turn."""
    rules = {direction: ChaosRules(stall_at=20_000)}
    async with open_chaos_proxy("127.0.0.1", redis_server.port, **rules) as proxy:
        key = secrets.token_hex(8)
        clusters = [QuickCluster(f"redis://127.0.0.1:{proxy.port}", key=key), QuickCluster(redis_server.url, key=key)]
        async with going_on(*clusters) as outage:
            for connections in (2, 3):
                await until(lambda: not outage.servers[0].ready().ready)
                assert outage.servers[1].ready().ready
                await until(partial(outage.is_back, proxy, connections))
            await until(lambda: clusters[0].gaps)
            with trio.fail_after(20):
                heard = False
                while not heard:  # it may happen once more
                    await outage.servers[1].emit("again")
                    with trio.move_on_after(0.2):
                        heard = await outage.clients[0].once("again") == ()


@pytest.mark.hostile("B18")
async def test_redis_is_far_away(redis_server: RedisServer) -> None:
    rules = ChaosRules(delay=0.2)
    async with open_chaos_proxy("127.0.0.1", redis_server.port, to_server=rules, to_client=rules) as proxy:
        key = secrets.token_hex(8)
        clusters = [Patient(url, key=key) for url in (f"redis://127.0.0.1:{proxy.port}", redis_server.url)]
        async with going_on(*clusters) as outage:
            for sender, receiver in ((0, 1), (1, 0)):
                for number in range(100):
                    await outage.servers[sender].emit("x", number)
                assert [await outage.clients[receiver].once("x") for _ in range(100)] == [(number,) for number in range(100)]
            await outage.require_together()
        assert not any(cluster.gaps for cluster in clusters)


FLOOD: Final = """
import socket, sys
wire = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
channel = sys.argv[2].encode()
command = b"*3\\r\\n$7\\r\\nPUBLISH\\r\\n$%d\\r\\n%s\\r\\n$10000\\r\\n" % (len(channel), channel) + b"x" * 10000 + b"\\r\\n"
for _ in range(30):
    wire.sendall(command * 100)
    for _ in range(100):
        wire.recv(4, socket.MSG_WAITALL)
"""


@pytest.mark.hostile("B17")
async def test_redis_cuts_off_who_is_too_slow(fragile_redis: RedisServer) -> None:
    fragile_redis.command("CONFIG", "SET", "client-output-buffer-limit", "pubsub 1mb 0 0")
    async with open_chaos_proxy("127.0.0.1", fragile_redis.port, to_client=ChaosRules(stall_at=20_000)) as proxy:
        key = secrets.token_hex(8)
        clusters = [Patient(f"redis://127.0.0.1:{proxy.port}", key=key), QuickCluster(fragile_redis.url, key=key)]
        async with going_on(*clusters) as outage:
            # To a room that nobody is in.
            await trio.run_process([sys.executable, "-c", FLOOD, str(fragile_redis.port), f"{key}#/#nobody#"])
            await until(lambda: proxy.connections >= 2 and outage.servers[0].ready().ready)
            await until(lambda: clusters[0].pubsub.lost.get("interrupted") and clusters[0].gaps)


async def test_what_waits_for_redis_is_bounded(fragile_redis: RedisServer) -> None:
    (cluster,) = clusters = [Impatient(fragile_redis.url)]
    async with open_fleet(clusters) as fleet:
        client = await fleet.client(0)
        await trio.to_thread.run_sync(fragile_redis.kill)
        await until(lambda: not fleet.servers[0].ready().ready)
        for number in range(1000):
            await fleet.servers[0].emit("x", number)
        assert [(await client.receive()).args for _ in range(1000)] == [(number,) for number in range(1000)]
        assert len(cluster.pubsub._outgoing) == 100
        bus = fleet.servers[0].statistics().bus
        assert bus is not None
        assert bus.lost == {"full": 900}
        await until(lambda: sum(int(one.split()[0]) for one in cluster.sentences if "did not fit into the queue" in one) == 900)


@pytest.mark.hostile("B19")
async def test_access_is_revoked_while_it_runs(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    name = secrets.token_hex(4)
    rules = ("ACL", "SETUSER", name, "on", ">secret", "+@all", "&*")
    redis_server.command(*rules)
    caplog.set_level(logging.ERROR)
    async with going_on(*two(f"redis://{name}:secret@127.0.0.1:{redis_server.port}")) as outage:
        redis_server.command("ACL", "SETUSER", name, "off")
        redis_server.command("CLIENT", "KILL", "USER", name)
        await until(lambda: not any(server.ready().ready for server in outage.servers))
        await until(lambda: len(caplog.records) == 2)
        assert "does not accept the name or the password in the URL" in outage.servers[0].ready().reason
        await outage.require_partial_answers()
        redis_server.command(*rules)
        await outage.ready()
        await outage.require_together()
    assert len(caplog.records) == 2
    assert "secret" not in caplog.text


async def test_publishing_is_forbidden_while_it_runs(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """It hears what others say, though they do not hear it; to connect again and again would help nobody."""
    name = secrets.token_hex(4)
    redis_server.command("ACL", "SETUSER", name, "on", ">secret", "+@all", "&*")
    caplog.set_level(logging.ERROR)
    key = secrets.token_hex(8)
    clusters = [QuickCluster(f"redis://{name}:secret@127.0.0.1:{redis_server.port}", key=key), QuickCluster(redis_server.url, key=key)]
    async with going_on(*clusters) as outage:
        redis_server.command("ACL", "SETUSER", name, "-publish", "-pubsub")
        await until(lambda: clusters[0].pubsub.lost.get("refused", 0) > 10)
        await outage.require_partial_answers()
        await outage.servers[1].emit("again", "heard")
        assert await outage.clients[0].once("again") == ("heard",)
        assert clusters[0].pubsub.lost.keys() == {"refused"}
        await until(lambda: any("were refused by Redis" in sentence for sentence in clusters[0].sentences))
        redis_server.command("ACL", "SETUSER", name, "+@all")
        await until(lambda: outage.servers[0].ready().ready)
        await outage.require_together()
    assert [record.message.partition(": ")[0] for record in caplog.records] == [f"Redis at 127.0.0.1:{redis_server.port} does not publish"]


class Interrupter:
    """Says something in the name of Redis, when it has just said something itself.

    Attributes:
      says: What it says next; empty: nothing.
      url: Where it is.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self.says = b""
        self.url = ""

    async def serve(self, client: trio.SocketStream) -> None:
        redis = await trio.open_tcp_stream("127.0.0.1", self._port)
        try:
            async with redis, client, trio.open_nursery() as nursery:
                nursery.start_soon(self._forward, client, redis)
                async for data in redis:
                    # So little comes at once that no answer is cut in two.
                    said, self.says = self.says, b""
                    await client.send_all(data + said)
                nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass

    async def _forward(self, client: trio.SocketStream, redis: trio.SocketStream) -> None:
        async for data in client:
            await redis.send_all(data)
        await redis.aclose()


@asynccontextmanager
async def interrupting(port: int) -> AsyncIterator[Interrupter]:
    """Run one in front of the Redis at ``port``."""
    between = Interrupter(port)
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, between.serve, 0, host="127.0.0.1"))
        between.url = f"redis://127.0.0.1:{listener.socket.getsockname()[1]}"
        yield between
        nursery.cancel_scope.cancel()


@pytest.mark.hostile("B16")
@pytest.mark.parametrize(
    "says",
    [
        "READONLY You can't write against a read only replica.",
        "MOVED 3999 127.0.0.1:6381",
        "LOADING Redis is loading the dataset in memory",
        "MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.",
        "CLUSTERDOWN The cluster is down",
    ],
)
async def test_another_redis_takes_over(redis_server: RedisServer, says: str, caplog: pytest.LogCaptureFixture) -> None:
    """The address is looked up again then, and leads to whoever has taken over."""
    key = secrets.token_hex(8)
    async with interrupting(redis_server.port) as between:
        clusters = [QuickCluster(url, key=key) for url in (between.url, redis_server.url)]
        async with going_on(*clusters) as outage:
            between.says = f"-{says}\r\n".encode()
            await until(lambda: clusters[0].pubsub.lost.get("interrupted"))
            await outage.ready()
            await outage.require_together()
            await until(lambda: clusters[0].gaps)
    assert f"It is not, or not yet, what we look for: {says}" in caplog.text


# At the start.


@pytest.mark.hostile("B13")
async def test_without_redis_a_server_does_not_start(fragile_redis: RedisServer) -> None:
    fragile_redis.kill()
    sentence = f"There is no connection to Redis at 127.0.0.1:{fragile_redis.port}: It cannot be reached"
    with trio.fail_after(10), pytest.raises(BusUnavailable, match=sentence):
        async with Server(cluster=RedisCluster(fragile_redis.url)):
            raise AssertionError


@pytest.mark.hostile("B13")
async def test_or_it_serves_its_own_clients_and_joins_when_redis_comes(fragile_redis: RedisServer) -> None:
    fragile_redis.kill()
    cluster = QuickCluster(fragile_redis.url, key="late", fail_fast=False)
    async with open_test_server(Server(RoutingTable(Route("/", Hall)), cluster=cluster)) as memory, memory.strict_client() as client:
        server = memory.server
        assert isinstance(server, Server)
        await until(lambda: "It cannot be reached" in server.ready().reason)
        assert not server.ready().ready
        await server.emit("early")
        assert await client.once("early") == ()
        found = await server.fetch_sockets()
        assert [socket.id for socket in found] == [client.id]
        assert found.missing == (f"servers that share Redis at 127.0.0.1:{fragile_redis.port}",)
        await trio.to_thread.run_sync(fragile_redis.start)
        await until(lambda: server.ready().ready)
        async with open_fleet([QuickCluster(fragile_redis.url, key="late")], servers=2) as fleet:
            there = await fleet.client(0)
            for one in (server, *fleet.servers):
                await one.emit("x")
                assert await client.once("x") == await there.once("x") == ()
            assert await server.count_sockets() == 2
    # It has heard nobody before, so nothing is missing.
    assert cluster.gaps == 0


async def test_a_wrong_password_is_told(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    name = secrets.token_hex(4)
    url = f"redis://{name}:secret@127.0.0.1:{redis_server.port}"
    with trio.fail_after(10), pytest.raises(ConfigurationError, match="does not accept the name or the password in the URL") as raised:
        async with Server(cluster=RedisCluster(url)):
            raise AssertionError
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("command", ["publish", "pubsub", "subscribe", "psubscribe", "ping"])
async def test_a_redis_without_a_command_that_is_needed_is_told(redis_server: RedisServer, command: str) -> None:
    name = secrets.token_hex(4)
    redis_server.command("ACL", "SETUSER", name, "on", ">secret", "+@all", "&*", f"-{command}")
    url = f"redis://{name}:secret@127.0.0.1:{redis_server.port}"
    with trio.fail_after(10), pytest.raises(ConfigurationError, match=f"access rules forbid what servers need, .*{command.upper()}"):
        async with Server(cluster=RedisCluster(url)):
            raise AssertionError


async def test_a_redis_with_other_channels_only_is_told(redis_server: RedisServer) -> None:
    name = secrets.token_hex(4)
    redis_server.command("ACL", "SETUSER", name, "on", ">secret", "+@all", "resetchannels", "&others*")
    url = f"redis://{name}:secret@127.0.0.1:{redis_server.port}"
    with trio.fail_after(10), pytest.raises(ConfigurationError, match=r"with all channels \(&\*\)"):
        async with Server(cluster=RedisCluster(url, key="others")):
            raise AssertionError


async def test_a_redis_in_which_a_command_was_renamed_is_told(tmp_path: Any) -> None:
    server = RedisServer(tmp_path, "--rename-command", "PUBSUB", "")
    server.start()
    try:
        with trio.fail_after(10), pytest.raises(ConfigurationError, match=r"lacks one of the commands that servers need, .*'PUBSUB'"):
            async with Server(cluster=RedisCluster(server.url)):
                raise AssertionError
    finally:
        server.kill()


async def test_a_redis_that_is_too_old_is_told() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.receive_some()
        await stream.send_all(b"-ERR unknown command `HELLO`, with args beginning with: `3`, \r\n")

    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        with trio.fail_after(10), pytest.raises(ConfigurationError, match="Redis 6 or later is needed"):
            async with Server(cluster=RedisCluster(f"redis://127.0.0.1:{port}")):
                raise AssertionError
        nursery.cancel_scope.cancel()


async def test_what_is_shared_with_whom_is_in_the_log(redis_server: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    """Where others were expected, it is the key that differs."""
    caplog.set_level(logging.INFO, logger="trio_sio.cluster")
    key = secrets.token_hex(8)
    async with open_fleet([RedisCluster(redis_server.url, key=key) for _ in range(2)]):
        pass
    where = f"Redis at 127.0.0.1:{redis_server.port} is shared with"
    assert [record.message for record in caplog.records if "shared" in record.message] == [
        f"{where} {number} other servers that have the key {key!r}." for number in (0, 1)
    ]


async def test_a_namespace_that_is_new_is_no_outage(redis_server: RedisServer) -> None:
    (cluster,) = clusters = [QuickCluster(redis_server.url, key=secrets.token_hex(8))]
    async with open_fleet(clusters) as fleet:
        adapter = fleet.servers[0].of("/new").adapter
        assert not cluster.pubsub.ready
        assert fleet.servers[0].ready().ready
        await adapter.settled()
        assert cluster.pubsub.ready


# Other servers die.


async def test_servers_that_nobody_has_counted_may_be_more_than_those_that_answer(fragile_redis: RedisServer) -> None:
    fragile_redis.kill()
    cluster = QuickCluster(fragile_redis.url, fail_fast=False)
    async with Server(cluster=cluster) as server, trio.open_nursery() as nursery:
        adapter = server.of("/").adapter
        assert isinstance(adapter, ClassicAdapter)

        async def answer() -> None:
            await trio.testing.wait_all_tasks_blocked()
            (number,) = adapter._requests._open
            for value in ("one", "two"):
                adapter._take_response("", json.dumps({"type": 6, "requestId": number, "data": value}).encode())

        with pytest.raises(AckTimeout) as raised:
            nursery.start_soon(answer)
            await server.of("/").server_side_emit_with_ack("x", timeout=0.2)
        assert raised.value.responses == ["one", "two"]
        assert raised.value.missing == [f"servers that share Redis at 127.0.0.1:{fragile_redis.port}"]


OTHER: Final = """
import sys, trio
from trio_sio import Route, RoutingTable, Server, on_message
from trio_sio.cluster.redis import RedisCluster

class Hall:
    @on_message("x")
    def x(self) -> None: ...

async def main():
    server = Server(RoutingTable(Route("/", Hall)), cluster=RedisCluster(sys.argv[1], key=sys.argv[2]))
    server.on_server_side_emit("ignore")(lambda: trio.sleep_forever())
    server.on_server_side_emit("question")(lambda: "the other one")
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, "127.0.0.1", 0)
        print(listeners[0].sockname[1], flush=True)

trio.run(main)
"""


@pytest.mark.hostile("B23", "B24")
async def test_servers_of_both_languages_are_killed(redis_server: RedisServer) -> None:
    require_tool("node", "redis", "socket.io", "socket.io-client", "@socket.io/redis-adapter", "@socket.io/redis-emitter")
    key = secrets.token_hex(8)
    node = Node(redis_server.port)
    other = subprocess.Popen([sys.executable, "-c", OTHER, redis_server.url, key], stdout=subprocess.PIPE, cwd=ROOT)  # noqa: ASYNC220  # it takes no time
    try:
        assert other.stdout is not None
        port = int(await trio.to_thread.run_sync(other.stdout.readline))
        await node.open(key, specific=False)
        await node.do("client", name="js")
        async with (
            open_client(f"http://127.0.0.1:{port}") as far,
            going_on(QuickCluster(redis_server.url, key=key), servers=3) as outage,
        ):
            far.on("question", lambda: "far")
            (server,) = outage.servers
            assert len(await server.fetch_sockets()) == 3
            outage.clients[0].on("ignore", lambda: "here")
            missing = list[int]()

            async def ask(question: Callable[..., Any], responses: int) -> None:
                with pytest.raises(AckTimeout) as raised:
                    await question()
                assert len(raised.value.responses) == responses
                missing.append(len(raised.value.missing))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask, lambda: server.server_side_emit_with_ack("ignore", timeout=1), 0)
                nursery.start_soon(ask, lambda: server.timeout(1).emit_with_ack("ignore"), 1)
                await trio.sleep(0.1)
                other.send_signal(signal.SIGKILL)
                node.kill()
            assert missing == [2, 2]
            # Redis has noticed, so they are not waited for any more.
            await outage.fleet.settle(1)
            began = trio.current_time()
            assert [socket.id for socket in await server.fetch_sockets()] == [outage.clients[0].id]
            assert await server.emit_with_ack("question") == ["here"]
            assert await server.server_side_emit_with_ack("question") == []
            assert trio.current_time() - began < 0.5
    finally:
        other.kill()
        other.communicate()

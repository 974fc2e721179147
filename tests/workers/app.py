"""What the workers of the tests serve."""

from __future__ import annotations

import itertools
import math
import os
import re
import resource
import socket as stdlib_socket
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

import trio

from trio_sio import Config, Limits, Recovery, Route, RoutingTable, Server, Socket, broadcasts, on_message
from trio_sio.cluster.local import LocalCluster
from trio_sio.errors import ConnectionReset
from trio_sio.workers import board, colleagues, worker_number

__all__ = [
    "alone",
    "broken",
    "entered",
    "make_server",
    "nothing",
    "numbering",
    "patient",
    "quick",
    "recovering",
    "routes",
    "secure",
    "sharing",
    "typed",
    "unhurried",
    "with_text",
]


def make_server(config: Config | None = None) -> Server:
    """Return a server that echoes, tells in which process it is, and hangs, or ends, if it is told to."""
    server = Server(config=config, cluster=LocalCluster())

    @server.on("echo")
    async def echo(socket: Socket, *args: object) -> object:
        return args

    @server.on("who")
    async def who(socket: Socket) -> tuple[int, int]:
        return worker_number(), os.getpid()

    @server.on("say")
    async def say(socket: Socket, *args: object) -> None:
        await server.emit("said", *args)

    @server.on("count")
    async def count(socket: Socket) -> int:
        return await server.count_sockets()

    @server.on("hang")
    async def hang(socket: Socket) -> None:
        time.sleep(60)  # noqa: ASYNC251 - which is what it is about

    @server.on("crash")
    async def crash(socket: Socket) -> None:
        os._exit(3)

    @server.on("babble")
    async def babble(socket: Socket, data: bytes, descriptors: int) -> None:
        # As a program may that closes, or writes to, a descriptor that is not its own.
        with stdlib_socket.socket(fileno=os.dup(int(sys.argv[1]))) as channel:
            stdlib_socket.send_fds(channel, [data], [0] * descriptors)

    @server.on("tighten")
    async def tighten(socket: Socket) -> None:
        # Let there be no room for another descriptor.
        _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        resource.setrlimit(resource.RLIMIT_NOFILE, (3, hard))

    return server


def quick() -> Server:
    """Return one that drains within a second, and notices clients that are gone."""
    return make_server(Config(drain_timeout=1.0, ping_interval=1.0, ping_timeout=1.0))


def recovering() -> Server:
    """Return one to whose clients nothing is lost if they come back in time."""
    return make_server(Config(drain_timeout=1.0, connection_state_recovery=Recovery()))


@dataclass
class Visits:
    """What is known of a client: when it was where."""

    name: str = ""
    token: bytes = b""
    times: list[datetime] = field(default_factory=list)
    workers: set[int] = field(default_factory=set)


class Visiting:
    """Each client is asked for its name once, and cut off whenever it wants that."""

    @on_message("visit")
    async def visit(self, socket: Socket[Visits], name: str) -> tuple[int, bool, int]:
        """Tell which worker this is, whether it is recovered, and how often it was here or elsewhere."""
        visits = socket.data
        if not visits.times:
            visits.name, visits.token = name, bytes(range(256))
        assert (visits.name, visits.token) == (name, bytes(range(256)))
        assert visits.times == sorted(visits.times)
        visits.times.append(datetime.now(UTC))
        visits.workers.add(worker_number())
        return worker_number(), socket.recovered, len(visits.times)

    @on_message("cut")
    async def cut(self, socket: Socket[Visits]) -> None:
        """Lose its connection."""
        socket.client.connection.end(ConnectionReset("the test cuts it"))


def typed() -> Server:
    """Return one whose clients have data of a type."""
    config = Config(drain_timeout=1.0, connection_state_recovery=Recovery())
    routes = RoutingTable(Route("/", Visiting, data=Visits), Route(re.compile(r"/room-\d+"), Visiting, data=Visits))
    return Server(routes, config=config, cluster=LocalCluster())


def unhurried() -> Server:
    """Return one that takes all the time in the world to drain."""
    return make_server(Config(drain_timeout=math.inf))


def secure() -> Server:
    """Return one at which TLS is possible."""
    return make_server(Config(drain_timeout=1.0, transports=["websocket"]))


def with_text(text: str, length: int) -> Server:
    """Return one, if all of the text has come."""
    assert len(text) == length
    return make_server()


def numbering() -> Server:
    """Return one that numbers what it emits, for clients that come back: each process has a series of its own."""
    config = Config(drain_timeout=1.0, connection_state_recovery=Recovery())
    server = Server(config=config, cluster=LocalCluster())
    series = f"worker {worker_number()}, process {os.getpid()}"

    async def count() -> None:
        for number in itertools.count():
            await server.to("watchers").emit("number", series, number)
            await trio.sleep(0.01)

    @server.on_connection
    async def joined(socket: Socket) -> None:
        if "name" in socket.handshake.auth and not socket.recovered:
            await socket.emit("welcome", {})
            await socket.join("watchers")

    @server.on("came back")
    async def came_back(socket: Socket) -> None:
        """It says so to nobody in particular."""

    @server.on("collect")
    async def collect(socket: Socket) -> list[object]:
        return await server.to("watchers").emit_with_ack("report", timeout=10)

    server.start_soon(count)
    return server


class Sayer:
    """What is said all hear."""

    @on_message("say")
    @broadcasts("said")
    async def say(self, text: str) -> str:
        """Say it."""
        return text

    @on_message("who")
    async def who(self) -> int:
        """Tell in which worker this is."""
        return worker_number()


routes = RoutingTable(Route("/", Sayer))


def patient() -> Server:
    """Return one that lets clients stay that join no namespace, and that never fetch their pings."""
    return make_server(Config(drain_timeout=1.0, connect_timeout=math.inf, limits=Limits(outbox_age=math.inf)))


def sharing() -> Server:
    """Return one of those that leave a connection to each other however long that takes on a machine that is busy."""
    vars(colleagues).update(_GRACE=10.0, _GRACE_FOR_STARTS=10.0, _START=30_000)
    vars(board).update(_STALE=10_000)
    return patient()


def alone() -> Server:
    """Return one that hears nobody, which is refused."""
    return Server()


def nothing() -> None:
    """Return nothing, which is refused."""


def broken() -> Server:
    """Fail."""
    raise ZeroDivisionError


@asynccontextmanager
async def entered() -> AsyncIterator[Server]:
    """Yield a server that is made within a scope."""
    await trio.lowlevel.checkpoint()
    yield make_server()

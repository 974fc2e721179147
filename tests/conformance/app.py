"""The application under test: one controller for each thing that a client can find out about a server."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import partial

import trio

from tests.conformance.results import HandledByEvent, HandledByRoute, HandledByTable, Results, handled_by
from trio_sio import (
    Config,
    ConnectionRefused,
    Context,
    Disconnected,
    Next,
    NoAck,
    Route,
    RoutingTable,
    Server,
    Socket,
    broadcasts,
    emits,
    on_connection,
    on_disconnection,
    on_message,
)
from trio_sio.cluster.local import LocalCluster


class Journal:
    """What the server saw, by the label that a client gave itself in its auth."""

    def __init__(self) -> None:
        self._lines: defaultdict[str, list[object]] = defaultdict(list)
        self._grown = trio.lowlevel.ParkingLot()

    def write(self, socket: Socket, line: object) -> None:
        """Add ``line`` to what was seen of this client."""
        self._lines[socket.handshake.auth.get("label", "")].append(line)
        self._grown.unpark_all()

    async def read(self, label: str, count: int = 0) -> list[object]:
        """Return everything seen under ``label``, as soon as there are ``count`` lines."""
        while len(self._lines[label]) < count:
            await self._grown.park()
        return self._lines[label]


@dataclass
class Observer:
    """``/observer``: lets a client read the journal."""

    journal: Journal

    @on_message("journal")
    async def read(self, label: str, count: int) -> list[object]:
        return await self.journal.read(label, count)


@dataclass
class Witness:
    """A second controller of most namespaces, which sees how sockets come and go."""

    socket: Socket
    journal: Journal

    @on_message("who")
    async def who(self) -> dict[str, object]:
        handshake = self.socket.handshake
        return {
            "id": self.socket.id,
            "namespace": self.socket.namespace.name,
            "connected": self.socket.connected,
            "auth": handshake.auth,
            "query": dict(handshake.query),
            "colour": handshake.headers.get("x-colour"),
            "address": handshake.address,
            "secure": handshake.secure,
        }

    @on_message("note")
    async def note(self, line: object) -> None:
        self.journal.write(self.socket, line)

    @on_message("trace")
    async def trace(self) -> list[object]:
        return await self.journal.read(self.socket.handshake.auth["label"])

    @on_disconnection
    async def gone(self, reason: str) -> None:
        self.journal.write(self.socket, reason)


@dataclass
class Main:
    """``/``: messages and acknowledgements in both directions."""

    socket: Socket
    journal: Journal

    @on_message("mirror")
    async def mirror(self, *args: object) -> None:
        await self.socket.emit("mirrored", *args)

    @on_message("echo", "événement 🎉")
    async def echo(self, *args: object) -> tuple[object, ...]:
        return args

    @on_message("never acked")
    async def never_acked(self) -> None:
        raise NoAck

    @on_message("send bytes")
    async def send_bytes(self) -> None:
        await self.socket.emit("bytes", b"\x01\x02", bytearray(b"\x03"), memoryview(b"\x04\x05"), {"deep": [b""]})

    @on_message("ask")
    async def ask(self, kind: str) -> tuple[object, ...]:
        answer = await self.socket.emit_with_ack("question", kind, timeout=3)
        return ([type(answer).__name__, answer],)

    @on_message("ask impatiently")
    async def ask_impatiently(self) -> str:
        try:
            await self.socket.emit_with_ack("question", timeout=0.01)
        except trio.TooSlowError:
            return "too slow"
        return "answered"

    @on_message("ask and note")
    async def ask_and_note(self) -> None:
        try:
            await self.socket.emit_with_ack("question", timeout=3)
        except Disconnected:
            self.journal.write(self.socket, "disconnected while asking")

    @on_message("slow")
    async def slow(self) -> None:
        self.journal.write(self.socket, "slow begins")
        # Without a checkpoint in between: whoever hears this may release at once.
        self.socket.emit_nowait("waiting")
        await self.socket.once("release")
        self.journal.write(self.socket, "slow ends")

    @on_message("slow and concurrent", concurrent=True)
    async def slow_and_concurrent(self) -> None:
        await self.slow()

    @on_message("measure slowly")
    async def measure(self, text: str) -> int:
        await trio.sleep(0.5)
        return len(text)

    @on_message("fast")
    async def fast(self) -> None:
        self.journal.write(self.socket, "fast")

    @on_message("volatile")
    async def volatile(self, count: int) -> None:
        for number in range(count):
            await self.socket.volatile(key="tick").emit("tick", number)
        await self.socket.emit("ticked")

    @on_message("leave me")
    async def leave(self, close: bool) -> None:
        await self.socket.emit("goodbye")
        await self.socket.disconnect(close=close)


async def check_token(ctx: Context, call_next: Next) -> object:
    """Let a client in, or turn it away in each possible way."""
    match ctx.socket.handshake.auth.get("token"):
        case "secret":
            return await call_next()
        case "early":
            await ctx.socket.emit("early", 1)
            return await call_next()
        case "crash":
            raise KeyError("a mistake in the middleware")
        case "forget":
            return None
        case _:
            raise ConnectionRefused("bad token", data={"code": 4001})


class Guarded:
    """``/guarded``: behind `check_token`."""

    @on_connection
    @emits("welcome")
    async def joined(self) -> str:
        return "you are in"


@dataclass
class Patient:
    """``/patient``: the connection hook takes as long as the client wants."""

    socket: Socket
    journal: Journal

    @on_connection
    async def joined(self) -> None:
        self.journal.write(self.socket, "hook begins")
        await self.socket.once("go")
        self.journal.write(self.socket, "hook ends")


class Broken:
    """``/broken``: the connection hook fails."""

    @on_connection
    async def joined(self) -> None:
        raise RuntimeError("a mistake in the hook")


class Backlog:
    """``/backlog``: the first of many messages asks the client something."""

    def __init__(self, socket: Socket) -> None:
        self.socket = socket
        self.answer: object = None
        self.seen: list[int] = []

    @on_message("numbered")
    async def numbered(self, number: int) -> None:
        if number == 0:
            self.answer = await self.socket.emit_with_ack("question", timeout=3)
        self.seen.append(number)

    @on_message("numbers")
    async def numbers(self) -> dict[str, object]:
        return {"answer": self.answer, "in order": self.seen == list(range(300))}


@dataclass
class Room:
    """``/room-<id>``: namespaces made by a pattern."""

    socket: Socket

    @on_message("params")
    async def params(self) -> dict[str, str]:
        return dict(self.socket.params)

    @on_message("say")
    @broadcasts("said")
    async def say(self, text: str) -> str:
        return text


@dataclass
class Rooms:
    """``/rooms``: who hears what."""

    socket: Socket

    @on_message("join")
    async def join(self, *rooms: str) -> list[str]:
        await self.socket.join(*rooms)
        return list(self.socket.rooms)

    @on_message("leave")
    async def leave(self, room: str) -> list[str]:
        await self.socket.leave(room)
        return list(self.socket.rooms)

    @on_message("say")
    async def say(self, how: str, rooms: list[str], excluded: list[str], word: object) -> None:
        socket, namespace, server = self.socket, self.socket.namespace, self.socket.server
        match how:
            case "socket.to":
                operator = socket.to(*rooms)
            case "socket.broadcast":
                operator = socket.broadcast
            case "namespace.in":
                operator = namespace.in_(*rooms)
            case "namespace.emit":
                await namespace.emit("said", word)
                return
            case "namespace.except":
                operator = namespace.except_()
            case "server.of":
                operator = server.of("/rooms").in_(*rooms)
            case "server.in":
                operator = server.in_(*rooms)
            case _:
                operator = namespace.local.in_(*rooms)
        await operator.except_(*excluded).emit("said", word)

    @on_message("fence")
    @broadcasts("fence")
    async def fence(self) -> tuple[()]:
        return ()


# An observer that waits in vain must not hold up the end for long.
# A polling client that has vanished holds a stopping server for a quarter of drain_timeout.
CONFIG = Config(cleanup_timeout=1, drain_timeout=4)


def make_server(config: Config = CONFIG, *, journal: Journal | None = None, clustered: bool = False) -> Server:
    """Make the application under test, with a journal of its own; ``clustered``: one of several, which share one."""
    journal = Journal() if journal is None else journal
    witness = partial(Witness, journal=journal)
    routes = RoutingTable(
        Route("/observer", Observer(journal)),
        Route("/", partial(Main, journal=journal)),
        Route("/", witness),
        Route("/guarded", Guarded, middleware=[check_token]),
        Route("/guarded", witness),
        Route("/patient", partial(Patient, journal=journal)),
        Route("/patient", witness),
        # In this order, because a controller that has not seen a client come does not see it go.
        Route("/broken", witness),
        Route("/broken", Broken),
        Route("/backlog", Backlog),
        Route(re.compile(r"/room-(?P<id>\d+)"), Room),
        Route("/rooms", Rooms),
        Route("/rooms", witness),
        Route("/results", Results, exception_handlers={HandledByRoute: handled_by("route")}),
        exception_handlers={HandledByEvent: handled_by("table"), HandledByRoute: handled_by("table"), HandledByTable: handled_by("table")},
    )
    return Server(routes, config=config, cluster=LocalCluster() if clustered else None)

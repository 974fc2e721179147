"""The application of server.cjs on our server."""

from __future__ import annotations

from collections import defaultdict
from typing import Any, Final

import trio

from trio_sio import Config, ConnectionRefused, Context, Next, NoAck, Recovery, Server, Socket

__all__ = ["make_server"]

# A server learns from its pings only that a client is gone which was between two polls.
PING_INTERVAL: Final = 0.3
PING_TIMEOUT: Final = 2


def make_server(config: Config | None = None) -> Server:
    """Return a server; ``config``: another than one with connection state recovery."""
    server = Server(config=config or Config(connection_state_recovery=Recovery(), ping_interval=PING_INTERVAL, ping_timeout=PING_TIMEOUT))
    notes: defaultdict[str, list[object]] = defaultdict(list)
    calls: defaultdict[str, int] = defaultdict(int)
    ends: dict[str, str] = {}
    ended = trio.lowlevel.ParkingLot()

    async def joined(socket: Socket) -> None:
        label = socket.handshake.auth.get("label")
        if label is not None:
            await socket.join(f"label:{label}")
            ends.pop(label, None)

    async def left(socket: Socket, reason: str) -> None:
        ends[socket.handshake.auth.get("label", "")] = reason
        ended.unpark_all()

    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    async def connection(socket: Socket) -> str:
        return socket.client.connection.sid

    async def check(ctx: Context, call_next: Next) -> object:
        if ctx.socket.handshake.auth.get("token") != "secret":
            raise ConnectionRefused("bad token", data={"code": 4001})
        return await call_next()

    for name in ("/", "/chat", "/private"):
        namespace = server.of(name)
        namespace.on_connection(joined if name != "/" else welcome(joined))
        namespace.on_disconnection(left)
        namespace.on("echo")(echo)
        namespace.on("connection_id")(connection)
    server.of("/private").use(check)

    @server.on("auth")
    async def auth(socket: Socket) -> object:
        return socket.handshake.auth

    @server.on("say")
    async def say(socket: Socket, *args: Any) -> None:
        await socket.emit("said", *args)

    @server.on("ask", concurrent=True)
    async def ask(socket: Socket, *args: Any) -> object:
        return await socket.emit_with_ack("question", *args, timeout=5)

    @server.on("burst")
    async def burst(socket: Socket, count: int) -> None:
        for number in range(count):
            await socket.emit("tick", number)

    @server.on("join")
    async def join(socket: Socket, room: str) -> tuple[()]:
        await socket.join(room)
        return ()

    @server.on("shout")
    async def shout(socket: Socket, room: str, text: str) -> None:
        await server.to(room).emit("shouted", text)

    @server.on("tell")
    async def tell(socket: Socket, label: str, number: int) -> tuple[()]:
        await server.to(f"label:{label}").emit("told", number)
        return ()

    @server.on("note")
    async def note(socket: Socket, key: str, value: Any) -> None:
        notes[key].append(value)

    @server.on("notes")
    async def read_notes(socket: Socket, key: str) -> list[object]:
        return notes[key]

    @server.on("flaky")
    async def flaky(socket: Socket, key: str) -> int:
        calls[key] += 1
        if calls[key] == 1:
            raise NoAck
        return calls[key]

    @server.on("never")
    async def never(socket: Socket) -> None:
        raise NoAck

    @server.on("ended")
    async def wait_ended(socket: Socket, label: str) -> str:
        while label not in ends:
            await ended.park()
        return ends[label]

    @server.on("send me away")
    async def send_away(socket: Socket) -> None:
        await socket.disconnect()

    return server


def welcome(joined: Any) -> Any:
    """Return a connection hook that greets, unless the socket has been greeted before."""

    async def hook(socket: Socket) -> None:
        await joined(socket)
        if not socket.recovered:
            await socket.emit("welcome", socket.handshake.auth)

    return hook

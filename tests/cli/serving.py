"""A server for ``trio-sio connect``, in a thread of its own."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Queue
from typing import Any

import trio
import trustme

from tests.client.proxy import Proxy, open_proxy
from trio_sio import Config, ConnectionRefused, Context, Next, Server, Socket

__all__ = ["AUTHORITY", "BOUND", "EVIL", "EVIL_SHOWN", "ROOT", "Site", "make_server"]

ROOT = Path(__file__).parent.parent.parent
BOUND = 20  # seconds; nothing here takes that long unless it fails

EVIL = "\x1b]0;title\x07\x1b[2J\u202e\x9b31m"
EVIL_SHOWN = r"\u001b]0;title\u0007\u001b[2J\u202e\u009b31m"


def make_server(config: Config, gone: Callable[[tuple[object, str]], None], notes: dict[str, list[object]]) -> Server:
    """Return a server; ``gone``: called with label and reason when a client has left; ``notes``: what clients said."""
    server = Server(config=config)

    async def check(ctx: Context, call_next: Next) -> object:
        if ctx.socket.handshake.auth.get("token") != "secret":
            raise ConnectionRefused(f"bad token {EVIL}", data={"code": 4001, "hint": EVIL})
        return await call_next()

    server.of("/private").use(check)

    @server.of("/fragile").on_connection
    async def fail(socket: Socket) -> None:
        raise ZeroDivisionError

    @server.on_connection
    async def joined(socket: Socket) -> None:
        if socket.handshake.auth.get("label") == "new":
            await socket.emit("welcome")

    @server.on_disconnection
    async def left(socket: Socket, reason: str) -> None:
        gone((socket.handshake.auth.get("label"), reason))

    @server.on("echo")
    async def echo(socket: Socket, *args: Any) -> tuple[Any, ...]:
        return args

    @server.on("note")
    async def note(socket: Socket, key: str, value: Any) -> None:
        notes[key].append(value)

    @server.on("say")
    async def say(socket: Socket, *args: Any) -> None:
        await socket.emit("said", *args)

    @server.on("flood")
    async def flood(socket: Socket, count: int, size: int) -> None:
        for number in range(count):
            await socket.emit("wave", number, "." * size)

    @server.on("binary")
    async def binary(socket: Socket) -> bytes:
        await socket.emit("data", b"\x01\x02\xff", {"more": bytes(40)})
        return b"\x07"

    @server.on("evil")
    async def evil(socket: Socket) -> str:
        await socket.emit(EVIL, EVIL, {EVIL: 1})
        return EVIL

    @server.on("ask")
    async def ask(socket: Socket) -> object:
        return await socket.emit_with_ack("question", timeout=5)

    @server.on("never")
    async def never(socket: Socket) -> None:
        await trio.sleep_forever()

    @server.on("bye")
    async def bye(socket: Socket) -> None:
        await socket.emit("last words")
        await socket.disconnect()

    @server.of("/private").on("seen")
    async def seen(socket: Socket) -> object:
        handshake = socket.handshake
        mine = {name: value for name, value in handshake.query.items() if name not in ("EIO", "transport", "t", "sid")}
        return {"auth": handshake.auth, "header": handshake.headers.get("x-mine"), "cookies": dict(handshake.cookies), "query": mine}

    return server


class Site:
    """Servers in a thread of their own: by HTTP, behind two proxies, by TLS, with MessagePack, with an impatient heartbeat.

    The proxy "late" lets no WebSocket through before `let_upgrade`.
    """

    def __init__(self, authority: trustme.CA) -> None:
        self.ports: dict[str, int] = {}
        self._servers: dict[str, Server] = {}
        self.notes: dict[str, list[object]] = defaultdict(list)
        self._gone: Queue[tuple[object, str]] = Queue()
        self.proxy: Proxy
        self._late: Proxy
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        authority.issue_cert("localhost").configure_cert(self._context)
        self._token: trio.lowlevel.TrioToken
        self._stop = trio.CancelScope()
        self._ready = threading.Event()

    def url(self, which: str) -> str:
        return f"http{'s' if which == 'tls' else ''}://localhost:{self.ports[which]}"

    def reason(self, label: str) -> str:
        """Wait until the client has left that said so in its credentials; return why."""
        while True:
            found, reason = self._gone.get(timeout=BOUND)
            if found == label:
                return reason

    def cut(self) -> None:
        self._token.run_sync_soon(self.proxy.cut)

    def let_upgrade(self) -> None:
        self._token.run_sync_soon(self._late.websockets.set)

    def wait_for_pongs(self, which: str, seconds: float) -> None:
        """Wait until the only client has answered pings for so long."""

        async def wait() -> None:
            (connection,) = self._servers[which].engine.connections
            until = trio.current_time() + seconds
            with trio.fail_after(BOUND):
                while connection.confirmed < until:  # noqa: ASYNC110 - an end that only this test looks for
                    await trio.sleep(0.02)

        trio.from_thread.run(wait, trio_token=self._token)

    async def _serve(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        configs = {
            "http": Config(path="/socket.io"),
            "tls": Config(),
            "msgpack": Config(parser="msgpack", path="/io"),
            "impatient": Config(ping_interval=0.1, ping_timeout=1, transports=["websocket"]),
        }
        with self._stop:
            async with trio.open_nursery() as nursery:
                for name, config in configs.items():
                    server = self._servers[name] = make_server(config, self._gone.put, self.notes)
                    context = self._context if name == "tls" else None
                    listeners = await nursery.start(
                        lambda task_status, server=server, context=context: server.serve(
                            "localhost", 0, ssl_context=context, task_status=task_status
                        )
                    )
                    self.ports[name] = listeners[0].sockname[1]
                async with open_proxy(self.ports["http"]) as self.proxy, open_proxy(self.ports["http"]) as self._late:
                    self.ports["proxy"] = self.proxy.port
                    self.ports["late"] = self._late.port
                    self._late.websockets = trio.Event()
                    self._ready.set()
                    await trio.sleep_forever()

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        thread = threading.Thread(target=trio.run, args=(self._serve,))
        thread.start()
        try:
            assert self._ready.wait(BOUND)
            yield
        finally:
            self._token.run_sync_soon(self._stop.cancel)
            thread.join(BOUND)


AUTHORITY = trustme.CA()

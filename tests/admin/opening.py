"""A server with an admin page, in memory, and pages that do what a test says."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

import bcrypt
import trio

from trio_sio import Config, Server, Socket
from trio_sio.admin import BasicAuth, Counts, admin
from trio_sio.admin.messages import Mode
from trio_sio.testing import InMemoryServer, StrictSocket, open_strict_client, open_test_server

PASSWORD: Final = "a secret of Ada's"
# Of the lowest cost, so that tests do not take their time; how long a real one takes is bcrypt's own test.
# With a salt that is always the same, as the hash is part of names of tests, which several processes share.
AUTH: Final = BasicAuth("ada", bcrypt.hashpw(PASSWORD.encode(), b"$2b$04$" + b"saltsaltsaltsaltsalte.").decode())
LOGIN: Final = {"username": "ada", "password": PASSWORD}


@dataclass
class Administered:
    """A server with an admin page.

    Attributes:
      host: The server.
      counts: What its admin page refuses.
    """

    host: InMemoryServer
    counts: Counts

    @property
    def server(self) -> Server:
        assert isinstance(self.host.server, Server)
        return self.host.server

    def page(self, auth: Mapping[str, object] | None = LOGIN, *, address: str = "test") -> AbstractAsyncContextManager[StrictSocket]:
        """Connect to the admin namespace."""
        return connect(self.host, "/admin", auth, address=address)

    def client(self, namespace: str = "/") -> AbstractAsyncContextManager[StrictSocket]:
        """Connect as somebody whom pages are shown."""
        return self.host.strict_client(namespace)


@asynccontextmanager
async def connect(
    host: InMemoryServer, namespace: str, auth: Mapping[str, object] | None, *, address: str = "test", headers: dict[str, str] | None = None
) -> AsyncIterator[StrictSocket]:
    """Connect from ``address``."""
    stream = await host.connect_stream(address=address)
    async with open_strict_client(stream, namespace, auth, path=host.server.config.path, headers=headers) as socket:
        yield socket


def make_server(config: Config | None = None, **arguments: Any) -> Server:
    """Return a server whose clients can do a few things, before it is entered."""
    server = Server(config=config, **arguments)

    @server.on("say")
    async def say(socket: Socket, *what: object) -> int:
        await socket.emit("said", *what)
        return len(what)

    @server.on("enter")
    async def enter(socket: Socket, room: str) -> None:
        await socket.join(room)

    @server.of("/chat").on("say")
    def say_nothing(socket: Socket) -> None: ...

    return server


@asynccontextmanager
async def open_admin(
    server: Server | None = None, *, auth: BasicAuth | None = AUTH, readonly: bool = False, mode: Mode = "development"
) -> AsyncIterator[Administered]:
    """Run ``server`` with an admin page."""
    server = make_server() if server is None else server
    counts = admin(server, auth=auth, readonly=readonly, mode=mode)
    async with open_test_server(server) as host:
        yield Administered(host, counts)


async def told(page: StrictSocket, event: str, *beginning: object) -> list[Any]:
    """Return what ``page`` is told with ``event``, the first time that it begins so."""
    with trio.fail_after(10):
        while True:
            args = list(await page.once(event))
            if args[: len(beginning)] == list(beginning):
                return args


__all__ = ["AUTH", "LOGIN", "PASSWORD", "Administered", "connect", "make_server", "open_admin", "told"]

"""How a client begins: `open_client` for one namespace, `open_manager` for several over one connection."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from functools import partial

import trio

from ..concurrency.under_trio import require_trio
from ..concurrency.unwrapping import unwrapping
from ..config import TransportName
from ..errors import ConfigurationError
from ..protocol.parsers import PARSERS, parser_for
from ..protocol.socketio import ATTACHMENTS
from .connection import Connection
from .core import Auth
from .manager import Manager
from .reconnection import Reconnection
from .session import MAX_MESSAGE_SIZE, open_session
from .socket import ClientSocket
from .target import HasConnectStream, Target

__all__ = ["open_client", "open_manager"]

_RECONNECTION = Reconnection()


@asynccontextmanager
async def open_client(
    target: str | HasConnectStream,
    namespace: str = "/",
    *,
    auth: Auth | None = None,
    path: str = "/socket.io",
    transports: Sequence[TransportName] = ("polling", "websocket"),
    upgrade: bool = True,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    connect_timeout: float = 20,
    close_timeout: float = 5,
    ack_timeout: float = 60,
    retries: int | None = None,
    reconnection: Reconnection | None = _RECONNECTION,
    parser: str = "json",
    max_message_size: int = MAX_MESSAGE_SIZE,
    max_attachments: int = ATTACHMENTS,
) -> AsyncIterator[ClientSocket]:
    """Connect to a server, join ``namespace`` and yield its socket; leaving says goodbye and closes the connection (Node: ``io()``).

    Nothing that it starts outlives the block. A connection that was there and is lost comes back by itself, as
    ``reconnection`` says; the block is never cancelled by it (see `ClientSocket.states`). Cancelling the block closes the
    connection within a second.

    Args:
      target: Such as ``"https://chat.example"``, or a server in memory.
      namespace: The namespace.
      auth: Credentials for the server's connection middleware, or a function, async or not, that is asked for them each
        time the namespace is joined.
      path: The server's ``Config.path``.
      transports: What to try, in this order.
      upgrade: Whether polling gives way to a WebSocket when that works.
      query: Query parameters of every request.
      headers: Header fields of every request.
      cookies: Cookies to begin with; those that the server sets are added.
      ssl_context: Whom to trust; ``None``: the system's authorities.
      connect_timeout: Seconds for a connection, name resolution and encryption included, and then for joining a namespace.
      close_timeout: Seconds for handing over what was emitted and for the goodbye, together; with `open_manager` for each
        block that is left.
      ack_timeout: Seconds that `ClientSocket.emit_with_ack` waits unless told otherwise.
      retries: How often an event is sent again that the server has not acknowledged; then there is never more than one on its
        way. ``None``: each event is sent once, and `ClientSocket.emit` does not wait for an acknowledgement.
      reconnection: How to come back; ``None``: not at all, the socket is over when its connection is.
      parser: How packets are written, by the name of ``Config.parser``; both sides must use the same.
      max_message_size: Bytes of the largest message that is accepted.
      max_attachments: Binary attachments of one packet; to emit one more raises, as the server would disconnect. For servers that
        accept more than 10 (``Limits.attachments``).

    Raises:
      ConnectFailed: if there is no connection; nothing is tried again then.
      ConnectionRefused: if the server refuses the socket.
      Disconnected: if it says goodbye instead of an answer. A socket that it lets in and sends away at once is yielded, and over.
      ConfigurationError: if an argument cannot be right.
    """
    async with (
        open_manager(
            target,
            path=path,
            transports=transports,
            upgrade=upgrade,
            query=query,
            headers=headers,
            cookies=cookies,
            ssl_context=ssl_context,
            connect_timeout=connect_timeout,
            close_timeout=close_timeout,
            reconnection=reconnection,
            parser=parser,
            max_message_size=max_message_size,
            max_attachments=max_attachments,
        ) as manager,
        manager.socket(namespace, auth=auth, ack_timeout=ack_timeout, retries=retries) as socket,
    ):
        yield socket
        manager.leave_soon()


@asynccontextmanager
async def open_manager(
    target: str | HasConnectStream,
    *,
    path: str = "/socket.io",
    transports: Sequence[TransportName] = ("polling", "websocket"),
    upgrade: bool = True,
    query: Mapping[str, str] | None = None,
    headers: Mapping[str, str] | None = None,
    cookies: Mapping[str, str] | None = None,
    ssl_context: ssl.SSLContext | None = None,
    connect_timeout: float = 20,
    close_timeout: float = 5,
    reconnection: Reconnection | None = _RECONNECTION,
    parser: str = "json",
    max_message_size: int = MAX_MESSAGE_SIZE,
    max_attachments: int = ATTACHMENTS,
) -> AsyncIterator[Manager]:
    """Connect to a server and yield the connection, on which `Manager.socket` joins namespaces (Node: ``new Manager()``).

    Arguments and errors are those of `open_client`.
    """
    require_trio("A client", "trio.run(main) with an `async def main()` that opens it")
    if parser not in PARSERS:
        raise ConfigurationError(f"There is no parser {parser!r}; choose from {', '.join(map(repr, PARSERS))}.")
    if max_attachments < 1:
        raise ConfigurationError(f"max_attachments is {max_attachments!r}; give 1 or more.")
    for name, seconds in (("connect_timeout", connect_timeout), ("close_timeout", close_timeout)):
        if not seconds > 0:
            raise ConfigurationError(f"{name} is {seconds!r}; give a number of seconds above 0.")
    session = partial(
        open_session,
        Target(target, path=path, query=query, headers=headers, cookies=cookies, ssl_context=ssl_context),
        transports=transports,
        upgrade=upgrade,
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
        max_message_size=max_message_size,
    )
    connection = Connection(
        session,
        parser_for(parser, max_attachments),
        connect_timeout=connect_timeout,
        close_timeout=close_timeout,
        max_message_size=max_message_size,
    )
    manager = Manager(connection, reconnection)
    async with run_manager(manager):
        yield manager


@asynccontextmanager
async def run_manager(manager: Manager) -> AsyncIterator[None]:
    """Run ``manager`` while the block runs, then let it say goodbye."""
    with unwrapping() as body:
        async with trio.open_nursery() as nursery:
            with body:
                await nursery.start(manager.run)
                yield
                manager.leave()

"""What a test of a misbehaving server requires: an error within the deadline, bounded memory, and nothing left open."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

import pytest
import trio
import trio.testing

from tests.client.fake_server import Connection, open_fake_server
from tests.client.sessions import Session, open_session
from trio_sio.client.session import SessionClosed
from trio_sio.config import TransportName
from trio_sio.errors import ConnectFailed
from trio_sio.protocol.engineio import text_message

DEADLINE: Final = 20.0  # `connect_timeout`
BOUND: Final = 6 * 1024 * 1024  # bytes that a test may hold when the limit of a message is a megabyte
LIMIT: Final = 1024 * 1024

Script = Callable[[Connection], Awaitable[None]]


async def answer_first(connection: Connection, first: bytes) -> None:
    """Open a session with ``first`` as its first packet, on either transport; then say nothing."""
    request = await connection.request()
    if request.query["transport"] == "websocket":
        await connection.accept(request)
        await connection.send_message(first.decode())
    else:
        await connection.respond(first)
    await trio.sleep_forever()


async def fails(script: Script, *, transports: tuple[TransportName, ...] = ("polling",), within: float = DEADLINE) -> ConnectFailed:
    """Return the error with which connecting to ``script`` fails."""
    start = trio.current_time()
    async with open_fake_server(script) as target:
        with pytest.raises(ConnectFailed) as caught:
            async with open_session(target, transports=transports, connect_timeout=DEADLINE, max_message_size=LIMIT):
                raise AssertionError("a session was opened")
        assert trio.current_time() - start <= within
        assert isinstance(caught.value, ConnectionError)
    return caught.value


async def ends(
    script: Script,
    *,
    transport: TransportName = "polling",
    use: Callable[[Session], Awaitable[object]] | None = None,
    within: float = 60,
) -> SessionClosed:
    """Return the error with which a session ends that ``script`` has opened."""
    async with open_fake_server(script) as target:
        start = trio.current_time()
        async with open_session(target, transports=[transport], max_message_size=LIMIT) as session:
            if use is not None:
                await use(session)
            with pytest.raises(SessionClosed) as caught:
                while True:
                    await session.receive()
            assert trio.current_time() - start <= within
            with pytest.raises(SessionClosed):
                await session.send(text_message("too late"))
            with pytest.raises(SessionClosed):
                session.send_nowait(text_message("too late"))
            assert session.closed is not None
            assert session.closed.reason == caught.value.reason
    return caught.value

"""ASGI servers that cannot run us: each is told in one sentence what to do instead."""

from __future__ import annotations

import asyncio
import logging
from typing import Any, Final

import hypercorn.trio
import pytest
import trio
import uvicorn
from hypercorn.config import Config as HypercornConfig

from trio_sio import Server
from trio_sio.doors.asgi import ASGIFramework
from trio_sio.doors.asgi.messages import Receive, Scope, Send
from trio_sio.testing import RawHttp, RawWebSocket, UpgradeRefused

BOUND: Final = 5.0
POLLING: Final = "/socket.io/?EIO=4&transport=polling"
WEBSOCKET: Final = "/socket.io/?EIO=4&transport=websocket"
NEEDS_TRIO: Final = (
    "trio_sio runs on Trio, and this ASGI server does not; "
    "call trio_sio.doors.hypercorn.serve(APP, CONFIG), or use another one with a Trio worker."
)
NEEDS_LIFESPAN: Final = (
    "Clients get 503, because the Socket.IO server is not running: let the ASGI server run the lifespan of this application, "
    "or enter `async with server:` around it."
)


def under_uvicorn(**options: Any) -> uvicorn.Server:
    return uvicorn.Server(uvicorn.Config(Server().asgi(), port=0, ws="none", log_config=None, **options))


@pytest.mark.parametrize("lifespan", ["auto", "on"])
def test_uvicorn_does_not_start(lifespan: str, caplog: pytest.LogCaptureFixture) -> None:
    server = under_uvicorn(lifespan=lifespan)
    with pytest.raises(SystemExit, match="3"):
        server.run()
    assert [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING] == [
        NEEDS_TRIO,
        "Application startup failed. Exiting.",
    ]


def test_uvicorn_without_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    server = under_uvicorn(lifespan="off")

    async def ask() -> bytes:
        async with asyncio.TaskGroup() as group:
            group.create_task(server.serve())
            while not server.started:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
            host, port = server.servers[0].sockets[0].getsockname()
            reader, writer = await asyncio.open_connection(host, port)
            writer.write(f"GET {POLLING} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
            answer = await reader.read()
            writer.close()
            await writer.wait_closed()
            server.should_exit = True
        return answer

    answer = asyncio.run(asyncio.wait_for(ask(), BOUND))
    assert answer.startswith(b"HTTP/1.1 500 ")
    (record,) = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == NEEDS_TRIO


async def test_hypercorn_without_lifespan(caplog: pytest.LogCaptureFixture) -> None:
    inner = Server().asgi()

    async def outer(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            raise NotImplementedError
        await inner(scope, receive, send)

    answers = await refusals(outer)
    body = b"The server is not running: enter `async with server:` first, or let serve() or the ASGI lifespan do it.\n"
    assert answers == [(503, body)] * 3
    assert [record.getMessage() for record in caplog.records if record.name.startswith("trio_sio")] == [NEEDS_LIFESPAN]


async def refusals(app: ASGIFramework) -> list[tuple[int, bytes]]:
    """Return with what clients of ``app`` are refused under hypercorn: two that poll, and a WebSocket."""
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    # hypercorn's annotations want TypedDicts of its own.
    application: Any = app
    answers = []
    async with trio.open_nursery() as nursery:
        urls: list[str] = await nursery.start(hypercorn.trio.serve, application, config)
        port = int(urls[0].rpartition(":")[2])
        with trio.fail_after(BOUND):
            for _ in range(2):
                async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
                    response = await http.request("GET", POLLING)
                    answers.append((response.status, response.body))
            async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
                with pytest.raises(UpgradeRefused) as refused:
                    await RawWebSocket.open(stream, WEBSOCKET)
                answers.append((refused.value.response.status, refused.value.response.body))
        nursery.cancel_scope.cancel()
    return answers

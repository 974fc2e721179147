"""``Config(path="/")``: a server with nothing beside it, at every door, and below a path of another application."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
import trio
from hypercorn.config import Config as HypercornConfig

from tests.conformance.doors import DOORS, HTTP_DOORS, DoorName, open_door
from trio_sio import Config, ConfigurationError, Server, Socket, open_client
from trio_sio.cli import main
from trio_sio.doors import hypercorn, trio_websocket
from trio_sio.doors.asgi.messages import ASGIFramework, Receive, Scope, Send
from trio_sio.testing import open_test_server
from trio_sio.testing.raw import RawHttp

NEW = "/?EIO=4&transport=polling"


def make_server() -> Server:
    server = Server(config=Config(path="/", drain_timeout=1))  # nobody polls any more when it ends

    @server.on("double")
    def double(socket: Socket, number: int) -> int:
        return 2 * number

    return server


async def status(port: int, target: str) -> int:
    async with RawHttp(await trio.open_tcp_stream("127.0.0.1", port)) as http:
        return (await http.request("GET", target, headers={"Connection": "close"})).status


@pytest.mark.slow
@pytest.mark.parametrize("door", DOORS)
async def test_it_is_served_at_every_door(door: DoorName) -> None:
    async with open_door(door, make_server) as opened:
        for transports in [["websocket"], ["polling"], ["polling", "websocket"]] if door in HTTP_DOORS else [["websocket"]]:
            async with open_client(opened.url, path="/", transports=transports) as client:  # type: ignore[arg-type]  # words of the type
                assert await client.emit_with_ack("double", 2) == 4
        if door in HTTP_DOORS:
            assert [await status(opened.port, target) for target in (NEW, "/", "//", "/socket.io/", "/x")] == [200, 400, 404, 404, 404]


async def test_it_is_served_in_memory() -> None:
    async with (
        open_test_server(make_server()) as server,
        server.client() as client,
        server.strict_client() as strict,
        await server.websocket(),
    ):
        assert await client.emit_with_ack("double", 2) == 4
        assert await strict.emit_with_ack("double", 3) == 6


def mounted(app: ASGIFramework, at: str, in_path: bool) -> ASGIFramework:
    """Return an application with ``app`` below a path, as different frameworks do it."""

    async def mount(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "lifespan":
            path = scope["path"].removeprefix(at)
            scope = {**scope, "root_path": at, "path": at + path if in_path else path}
        await app(scope, receive, send)

    return mount


@asynccontextmanager
async def under_hypercorn(app: ASGIFramework) -> AsyncIterator[str]:
    config = HypercornConfig()
    config.bind = ["127.0.0.1:0"]
    config.errorlog = None
    stop = trio.Event()
    async with trio.open_nursery() as nursery:
        (url,) = await nursery.start(partial(hypercorn.serve, app, config, shutdown_trigger=stop.wait))
        yield url
        stop.set()


@pytest.mark.parametrize("in_path", [True, False], ids=["whole path", "rest of the path"])
async def test_it_is_mounted(in_path: bool) -> None:
    async with under_hypercorn(mounted(make_server().asgi(), "/api/live", in_path)) as url:
        async with open_client(url, path="/api/live") as client:
            assert await client.emit_with_ack("double", 2) == 4
        for target in ("/api/live", "/api/live/"):
            assert await status(int(url.rpartition(":")[2]), f"{target}{NEW[1:]}") == 200


async def test_the_bundle_and_the_health_page_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "socket.io.js").write_text("1")
    server = Server(config=Config(path="/", serve_client=str(tmp_path)))
    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(server.serve, "127.0.0.1", 0, health_path="/healthz"))
        port = listeners[0].sockname[1]
        assert [await status(port, target) for target in ("/socket.io.js", "/healthz", "/other")] == [200, 200, 404]
        nursery.cancel_scope.cancel()


# What would hide behind it is refused.


async def never(*_: object) -> None:
    raise AssertionError("this is not called")


@pytest.mark.parametrize("what", ["static files", "other application", "other protocol"])
async def test_nothing_hides_behind_it(what: str, tmp_path: Path) -> None:
    server = make_server()
    sentence = rf'^Config\.path is "/", so the root of the {what} could not be reached; leave it out, or give the engine a path of its own'
    with trio.fail_after(5), pytest.raises(ConfigurationError, match=sentence):
        if what == "static files":
            await server.serve("127.0.0.1", 0, static=tmp_path)
        elif what == "other application":
            server.asgi(never)
        else:
            await trio_websocket.serve(server, "127.0.0.1", 0, other=never)


def test_the_command_refuses_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "nothing.py").write_text("from trio_sio import RoutingTable\nroutes = RoutingTable()\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert main(["run", "nothing:routes", "--port", "0", "--path", "/", "--static", "."]) == 2
    assert 'trio-sio: Config.path is "/"' in capsys.readouterr().err

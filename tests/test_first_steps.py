"""What somebody does in the first hour with the package, and how they learn what to do instead."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any, Literal

import pytest
import trio
import trio.testing

import trio_sio
from trio_sio import (
    Config,
    ConfigurationError,
    ConnectionRefused,
    Context,
    EncodeError,
    EngineServer,
    Next,
    Server,
    Session,
    Socket,
    open_client,
    open_manager,
)
from trio_sio.testing import open_test_server, serving

ANY: Any = trio_sio  # for calls that no type checker would let through


async def session_handler(session: Session) -> None: ...


async def enter(one: Any) -> None:
    async with one:
        pass


@pytest.mark.parametrize(
    "call",
    [
        lambda: Server().serve("127.0.0.1", 0),
        lambda: Server().serve_until_signal("127.0.0.1", 0),
        lambda: enter(Server()),
        lambda: enter(EngineServer(session_handler)),
    ],
)
def test_a_server_under_asyncio(call: Callable[[], Any]) -> None:
    with pytest.raises(
        RuntimeError, match=r"^A server runs on Trio, which does not run here; write server\.run\(HOST, PORT\), or trio\.run\("
    ):
        asyncio.run(call())


@pytest.mark.parametrize("client", [open_client, open_manager])
def test_a_client_under_asyncio(client: Any) -> None:
    with pytest.raises(RuntimeError, match=r"^A client runs on Trio, which does not run here; write trio\.run\(main\)"):
        asyncio.run(enter(client("http://127.0.0.1:1")))


async def test_a_port_that_is_taken_is_named() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        with pytest.RaisesGroup(pytest.RaisesExc(OSError), flatten_subgroups=True) as info:
            await Server().serve("127.0.0.1", port)
    error: BaseException = info.value
    while isinstance(error, BaseExceptionGroup):
        (error,) = error.exceptions
    assert error.__notes__ == [f"It is about 127.0.0.1, port {port}. Another program listens there: stop it, or choose another port."]


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (
            lambda: ANY.Config(connections=5),
            r"Config has no field 'connections'; it is one of Limits: write limits=Limits\(connections=...\)\.",
        ),
        (lambda: ANY.Config(origins="*"), r"it is one of CORS: write cors=CORS\(origins=...\)"),
        (lambda: ANY.Config(max_disconnection=5), r"write connection_state_recovery=Recovery\(max_disconnection=...\)"),
        (lambda: ANY.Limits(max_http_buffer_size=5), r"Limits has no field 'max_http_buffer_size'; it is one of Config: write Config\("),
        (lambda: ANY.Config(pingInterval=5), "did you mean 'ping_interval'"),
        (lambda: ANY.Limits(nonsense=5), "it has connections, "),
    ],
)
def test_a_field_of_another_class(call: Callable[[], object], says: str) -> None:
    with pytest.raises(ConfigurationError, match=says):
        call()


def test_a_lifespan_without_the_server() -> None:
    with pytest.raises(TypeError, match=r"^lifespan=_no_lifespan cannot be called with the server, as its one argument: too many"):
        ANY.Server(lifespan=_no_lifespan)


def _no_lifespan() -> None: ...


def test_tests_of_an_application_need_pytest_and_pytest_trio_alone() -> None:
    program = (
        "import sys, pytest, trio_sio.testing, trio_sio.testing.plugin, trio_sio.testing.adapter_suite\n"
        "for name in trio_sio.testing.__all__: getattr(trio_sio.testing, name)\n"
        "print(*{name.partition('.')[0] for name in sys.modules})"
    )
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    heavy = {
        "hypothesis",
        "pydantic",
        "trustme",
        "socketio",
        "redis",
        "coredis",
        "hypercorn",
        "quart_trio",
        "uvicorn",
        "bcrypt",
        "opentelemetry",
    }
    assert heavy.isdisjoint(loaded)


async def _in_thread(function: Callable[[], object]) -> str:
    """Call ``function`` in a thread that Trio did not start, and return what it raised there, in words."""
    raised = list[Exception]()

    def run() -> None:
        try:
            function()
        except Exception as error:
            raised.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    await trio.to_thread.run_sync(thread.join)
    return str(raised[0]) if raised else ""


@pytest.mark.parametrize("volatile", [False, True])
async def test_who_emits_from_another_thread_is_told_and_nobody_suffers(caplog: pytest.LogCaptureFixture, volatile: bool) -> None:
    server = Server()

    @server.on("go")
    async def go(socket: Socket[Any]) -> int:
        return 1

    async with server, trio.open_nursery() as nursery:
        (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listener.sockname[1]}"
        with trio.fail_after(20):
            async with open_client(url, transports=["websocket"]) as client:
                await trio.testing.wait_all_tasks_blocked(0.05)  # so that what flushes is parked
                (socket_here,) = server.of("/").sockets.values()
                operator = server.volatile() if volatile else server.compress(True)
                told = await _in_thread(partial(operator.emit_nowait, "x", 1))
                assert told.startswith(
                    "A broadcast was emitted in a thread other than Trio's; write trio.from_thread.run_sync(server.emit_nowait,"
                )
                assert await client.emit_with_ack("go", timeout=5) == 1
                async with open_client(url, transports=["websocket"]):
                    (other,) = set(server.of("/").sockets.values()) - {socket_here}
                    await trio.testing.wait_all_tasks_blocked(0.05)
                    assert "must be called from async context" in await _in_thread(partial(other.emit_nowait, "x", 1))
                    assert await client.emit_with_ack("go", timeout=5) == 1
            async with open_client(url, transports=["websocket"]) as client:
                assert await client.emit_with_ack("go", timeout=5) == 1
        nursery.cancel_scope.cancel()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]


async def answer() -> int:
    return 42


@pytest.mark.parametrize("parser", ["json", "msgpack"])
async def test_an_await_that_was_forgotten_in_what_is_emitted(parser: Literal["json", "msgpack"]) -> None:
    async with Server(config=Config(parser=parser)) as server:
        with pytest.raises(EncodeError, match=r"^A coroutine cannot be sent: write `await` before the call of answer\.$"):
            await server.emit("news", {"n": answer()})


async def test_an_await_that_was_forgotten_in_connection_middleware(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()

    @server.use
    async def forgets(ctx: Context, call_next: Next) -> object:
        return call_next()

    @server.on("x")
    async def x(socket: Socket[Any]) -> None: ...

    async with open_test_server(server) as running:
        with pytest.raises(ConnectionRefused):
            async with running.client():
                pass
    (line,) = errors_in(caplog)
    assert line.startswith(
        "Connection middleware of namespace '/' returned something that is still to be awaited, so the client is refused"
    )


async def test_a_refusal_in_a_hook_says_where_it_belongs(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()

    @server.on_connection
    async def joined(socket: Socket[Any]) -> None:
        raise ConnectionRefused("Not you.")

    async with open_test_server(server) as running, running.client() as client:
        await client.closed()
    assert (
        caplog.records[0].getMessage()
        == "joined raised ConnectionRefused, but its client is in by then; refuse it in connection middleware."
    )


async def test_start_soon_gets_a_function(caplog: pytest.LogCaptureFixture) -> None:
    server = Server()

    @server.on("called")
    async def called(socket: Any) -> None:
        with pytest.raises(
            TypeError, match=r"^start_soon\(\) takes an async function and its arguments, not <coroutine.*; write start_soon\(f, x\)"
        ):
            socket.start_soon(answer())

    @server.on("plain")
    async def plain(socket: Any) -> None:
        socket.start_soon(returns_five)

    async with open_test_server(server) as running, running.client() as client:
        assert await client.emit_with_ack("called") is None
        await client.emit("plain")
        await client.closed()
    (record,) = [record for record in caplog.records if record.levelname == "ERROR"]
    assert record.exc_info is not None
    assert str(record.exc_info[1]) == "returns_five returned 5, which cannot be awaited; write it with `async def`."


def returns_five() -> int:
    return 5


async def test_a_client_with_the_wrong_path(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    async with open_test_server(Server()) as running, await running.http() as http:
        response = await http.request("GET", "/ws/?EIO=4&transport=polling")
        assert (response.status, response.body) == (404, b"Socket.IO is at /socket.io/ here; give the client this `path`.\n")
        assert (await http.request("GET", "/ws/")).body == b"There is nothing at this address.\n"
        assert (await http.request("GET", "/ws/?EIO=4&transport=polling&t=again")).status == 404  # which is no news
    assert [record.getMessage() for record in caplog.records if record.name == "trio_sio.doors.native"] == [
        "A Socket.IO client asked for '/ws/', but this server is at '/socket.io/': its `path` has to be Config.path."
    ]


class Site:
    """What Quart looks like from here."""

    def __init__(self) -> None:
        self.asgi_app: Any = self.answer

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        await self.asgi_app(scope, receive, send)

    async def answer(self, scope: Any, receive: Any, send: Any) -> None:
        for kind in ("startup", "shutdown"):
            assert (await receive())["type"] == f"lifespan.{kind}"
            await send({"type": f"lifespan.{kind}.complete"})


@pytest.mark.parametrize("behind_itself", [False, True])
async def test_a_server_in_front_of_an_application_that_calls_it_again(behind_itself: bool) -> None:
    site, server, said = Site(), Server(), list[dict[str, str]]()
    site.asgi_app = server.asgi(site if behind_itself else site.asgi_app)
    words = iter(["lifespan.startup", "lifespan.shutdown"])

    async def receive() -> dict[str, str]:
        return {"type": next(words)}

    async def send(message: dict[str, str]) -> None:
        said.append(message)

    with trio.fail_after(5):
        await site({"type": "lifespan"}, receive, send)
    if behind_itself:
        (failed,) = said
        assert failed["type"] == "lifespan.startup.failed"
        assert "write `app.asgi_app = server.asgi(app.asgi_app)`, and not `server.asgi(app)`" in failed["message"]
    else:
        assert [one["type"] for one in said] == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


@pytest.mark.parametrize("given", [lambda server: server, lambda server: server.asgi])
async def test_hypercorn_gets_an_application(given: Callable[[Server], Any]) -> None:
    from trio_sio.doors.hypercorn import serve

    with pytest.raises(TypeError, match=r"^serve\(\) takes an ASGI application, not .*; write serve\(server\.asgi\(\), config\)\.$"):
        await serve(given(Server()), ANY)


def test_a_table_is_given_to_serving() -> None:
    with pytest.raises(TypeError, match=r"makes what is served, not <.*RoutingTable.*>; write serving\(lambda: routes\)"):
        serving(ANY.RoutingTable())


async def test_nodes_milliseconds_are_doubted(caplog: pytest.LogCaptureFixture) -> None:
    async with Server(config=Config(ping_interval=25_000, ping_timeout=20, connect_timeout=float("inf"), upgrade_timeout=3600)):
        pass
    assert [record.getMessage() for record in caplog.records] == [
        "Config.ping_interval is 25000 seconds, which is 6.9 hours: times are in seconds here, and in milliseconds in Node."
    ]

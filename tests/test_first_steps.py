"""What somebody does in the first hour with the package, and how they learn what to do instead."""

from __future__ import annotations

import asyncio
import socket
import subprocess
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

import trio_sio
from trio_sio import ConfigurationError, EngineServer, Server, Session, Socket, open_client, open_manager

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
                await trio.testing.wait_all_tasks_blocked(0.05)
                assert "must be called from async context" in await _in_thread(partial(socket_here.emit_nowait, "x", 1))
                assert await client.emit_with_ack("go", timeout=5) == 1
            async with open_client(url, transports=["websocket"]) as client:
                assert await client.emit_with_ack("go", timeout=5) == 1
        nursery.cancel_scope.cancel()
    assert not [record for record in caplog.records if record.levelname == "ERROR"]

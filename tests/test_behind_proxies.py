"""The real nginx and the real haproxy before two servers, as in examples/behind_nginx, with the official client."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.conftest import ROOT, require_tool, tool_path
from tests.ports import free_port

EXAMPLE: Final = ROOT / "examples" / "behind_nginx"
CLIENT: Final = ROOT / "tests" / "behind_proxy.cjs"

CLIENTS: Final = 4
HANDSHAKE: Final = "/socket.io/?EIO=4&transport=polling"
ADDRESS: Final = "127.0.0.2"  # of the clients, so that it is not the proxy's

NGINX: Final = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {}
http {
    access_log off;
    client_body_temp_path body;
    proxy_temp_path proxy;
    fastcgi_temp_path fastcgi;
    uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    include example.conf;
}
"""

pytestmark = pytest.mark.slow


@pytest.fixture(params=["nginx", "haproxy"])
def proxy(request: pytest.FixtureRequest) -> str:
    """Return the name of a proxy that is installed."""
    name: str = request.param
    require_tool(name, "node", "socket.io-client")
    return name


@asynccontextmanager
async def running_process(command: list[str], directory: Path, **environment: str) -> AsyncIterator[trio.Process]:
    """Run ``command`` until the end of the block."""

    async def kill(process: trio.Process) -> None:
        process.kill()  # the sessions that a test leaves behind are not worth a goodbye

    run = partial(trio.run_process, command, cwd=directory, stdout=subprocess.PIPE, check=False, deliver_cancel=kill)
    async with trio.open_nursery() as nursery:
        yield await nursery.start(partial(run, env={**os.environ, **environment}))
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def running_server(name: str, app: str) -> AsyncIterator[tuple[int, trio.Process]]:
    """Run one server of the example, or of another ``app``; yields its port, too."""
    command = [sys.executable, "-m", "trio_sio", "run", app, "--port", "0", "--health-path", "/healthz"]
    async with running_process(command, EXAMPLE, NAME=name, PYTHONPATH=str(ROOT)) as process:
        assert process.stdout is not None
        printed = b""
        while (found := re.search(rb"Serving http://127\.0\.0\.1:(\d+)/", printed)) is None:
            data = await process.stdout.receive_some()
            assert data, printed
            printed += data
        yield int(found[1]), process


@asynccontextmanager
async def running_proxy(
    name: str, directory: Path, *, sticky: bool, app: str = "app:server", prefix: str = r"\1-"
) -> AsyncIterator[tuple[str, trio.Process]]:
    """Run two servers and ``name`` before them; yields the proxy's URL and the first server.

    Args:
      name: The proxy.
      directory: For its files.
      sticky: Whether it looks at session ids.
      app: What the servers run.
      prefix: What the session ids of a server begin with, where ``\\1`` is its name.
    """
    file = "nginx.conf" if name == "nginx" else "haproxy.cfg"
    text = (EXAMPLE / file).read_text()
    text, count = re.subn(r"\b([ab])-(.*# sticky\n)", prefix + r"\2", text) if sticky else re.subn(r".*# sticky\n", "", text)
    assert count == 2
    async with running_server("a", app) as (a, first), running_server("b", app) as (b, _):
        port = free_port()
        for old, new in [("127.0.0.1:3001", f"127.0.0.1:{a}"), ("127.0.0.1:3002", f"127.0.0.1:{b}"), ("8080", f"{port}")]:
            assert old in text
            text = text.replace(old, new)
        (directory / "nginx.conf").write_text(NGINX)
        (directory / "example.conf").write_text(text)
        program = tool_path(name)
        assert program is not None
        if name == "nginx":
            command = [program, "-e", "stderr", "-p", str(directory), "-c", str(directory / "nginx.conf")]
        else:
            command = [program, "-db", "-f", str(directory / "example.conf")]
        async with running_process(command, directory) as process:
            with trio.fail_after(20):
                await accepts(port, process)
            yield f"http://127.0.0.1:{port}", first


async def accepts(port: int, process: trio.Process) -> None:
    """Return when somebody listens on ``port``."""
    while True:
        assert process.returncode is None, "the proxy has ended"
        try:
            stream = await trio.open_tcp_stream("127.0.0.1", port)
        except OSError:
            await trio.sleep(0.02)
        else:
            await stream.aclose()
            return


async def visits(url: str, mode: str) -> list[dict[str, Any]]:
    """Return what the clients report."""
    command = ["node", str(CLIENT), url, mode, str(CLIENTS), ADDRESS]
    with trio.fail_after(30):
        completed = await trio.run_process(command, capture_stdout=True)
    return [json.loads(line) for line in completed.stdout.splitlines()]


async def check_sessions(url: str, mode: str, expected: set[str] | None = None) -> list[str]:
    """Require that all requests of a session arrive at one server, and that both servers, or those ``expected``, have some.

    Returns:
      The ids of the sessions.
    """
    servers, sids = set(), []
    for visit in await visits(url, mode):
        assert "error" not in visit, visit
        assert visit["transport"] == ("polling" if mode == "polling" else "websocket")
        (server,) = {answer["server"] for answer in visit["answers"]}
        assert {answer["address"] for answer in visit["answers"]} == {ADDRESS}
        servers.add(server)
        sids.append(visit["sid"])
    assert servers == (expected or {"a", "b"})
    return sids


async def test_a_session_stays_with_its_server(proxy: str, tmp_path: Path) -> None:
    async with running_proxy(proxy, tmp_path, sticky=True) as (url, _):
        for mode in ("polling", "upgrade", "websocket"):
            await check_sessions(url, mode)


async def test_so_does_one_with_an_id_of_36_characters(proxy: str, tmp_path: Path) -> None:
    # Point 16 of tests/conformance/test_midway.py. Polling, where each request is for the proxy to place.
    async with running_proxy(proxy, tmp_path, sticky=True, app="tests.behind_proxy_app:server", prefix=r"\1") as (url, _):
        sids = await check_sessions(url, "polling")
    assert [str(uuid.UUID(sid)) for sid in sids] == sids


async def test_without_stickiness_it_does_not(proxy: str, tmp_path: Path) -> None:
    async with running_proxy(proxy, tmp_path, sticky=False) as (url, _):
        for mode in ("polling", "upgrade"):
            with pytest.raises(AssertionError, match="error"):
                await check_sessions(url, mode)
        await check_sessions(url, "websocket")  # which is one connection


async def test_a_server_that_stops_gets_no_new_clients(proxy: str, tmp_path: Path) -> None:
    async with running_proxy(proxy, tmp_path, sticky=True, app="tests.behind_proxy_app:patient") as (url, first):
        polling = ""
        while not polling.startswith("a-"):
            polling = json.loads((await fetch(f"{url}{HANDSHAKE}"))[1:])["sid"]
        first.terminate()
        # It waits a quarter of its drain_timeout until that client has fetched its goodbye, and says 503 to all others.
        with trio.fail_after(15):
            elsewhere = 0
            while elsewhere < 6:  # where two in a row were too many before
                opened = json.loads((await fetch(f"{url}{HANDSHAKE}"))[1:])
                elsewhere = elsewhere + 1 if opened["sid"].startswith("b-") else 0
        assert await fetch(f"{url}{HANDSHAKE}&sid={polling}") == b"1"
        # A handshake that was quicker than the signal is waited for as long as this one might have been: a quarter of drain_timeout.
        with trio.fail_after(40):
            await first.wait()
        await check_sessions(url, "upgrade", {"b"})


async def fetch(url: str) -> bytes:
    def get() -> bytes:
        with urllib.request.urlopen(url, timeout=10) as response:
            return bytes(response.read())

    return await trio.to_thread.run_sync(get)

"""``trio-sio run --redis``."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import trio

from tests.cluster.redis_server import RedisServer
from tests.conftest import require_tool
from tests.ports import free_port
from trio_sio import cli, open_client

APP = """
from trio_sio import Route, RoutingTable, Server, Socket, on_message

class Hall:
    @on_message("say")
    async def say(self, socket: Socket, text: str) -> None:
        await socket.server.emit("said", text)

routes = RoutingTable(Route("/", Hall))
server = Server(routes)
"""


@pytest.fixture
def app(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "redis_app.py").write_text(APP)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def redis(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    require_tool("redis-server")
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.kill()


@pytest.mark.slow
async def test_two_commands_share_their_clients(app: Path, redis: RedisServer) -> None:
    command = [sys.executable, "-m", "trio_sio", "run", "redis_app:routes", "--port", "0", "--redis", redis.url, "--redis-key", "test"]
    urls = list[str]()
    with ExitStack() as stack:
        processes = [stack.enter_context(subprocess.Popen(command, cwd=app, stdout=subprocess.PIPE)) for _ in range(2)]  # noqa: ASYNC220  # it takes no time
        try:
            for process in processes:
                assert process.stdout is not None
                line = await trio.to_thread.run_sync(process.stdout.readline)
                found = re.search(r"http://\S+?:\d+", line.decode())
                assert found, line
                urls.append(found[0])
            with trio.fail_after(20):
                async with open_client(urls[0]) as first, open_client(urls[1]) as second:
                    await first.emit("say", "hello")
                    assert await second.once("said") == ("hello",)
        finally:
            for process in processes:
                process.send_signal(signal.SIGTERM)
        assert [await trio.to_thread.run_sync(process.wait) for process in processes] == [0, 0]


@pytest.mark.usefixtures("app")
@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["redis_app:routes", "--redis", "http://localhost"], "redis://host:6379"),
        (["redis_app:routes", "--redis", "localhost:6379"], "redis://host:6379"),
        (["redis_app:routes", "--redis-key", "x"], "--redis-key alone connects nothing; name the Redis with --redis as well."),
        (["redis_app:routes", "--redis", "redis://localhost", "--redis-key", ""], "is no key"),
        (["redis_app:server", "--redis", "redis://localhost"], "redis_app:server is a Server; give it cluster=RedisCluster(...)"),
    ],
)
def test_what_makes_no_cluster_is_one_sentence(arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["run", *arguments]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert sentence in line


@pytest.mark.usefixtures("app")
def test_without_redis_it_does_not_start(capsys: pytest.CaptureFixture[str]) -> None:
    port = free_port()
    assert cli.main(["run", "redis_app:routes", "--redis", f"redis://127.0.0.1:{port}", "--port", "0"]) == 2
    output = capsys.readouterr()
    assert output.err.startswith(f"trio-sio: There is no connection to Redis at 127.0.0.1:{port}: It cannot be reached")
    assert "Serving" not in output.out

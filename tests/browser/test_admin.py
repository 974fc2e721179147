"""npm's admin page in a real Chromium, against the real command line: two servers that share a Redis, and one that shows figures only."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import bcrypt
import pytest

from tests.cluster.redis_server import RedisServer
from tests.conftest import ROOT
from tests.examples.programs import serving
from tests.ports import free_port

PAGE = ROOT / "node_modules/@socket.io/admin-ui/ui/dist"
SCRIPT = Path(__file__).with_name("admin.cjs")


@contextmanager
def running(log: Path, *options: str) -> Iterator[str]:
    """Run the demo with an admin page and the files of npm's; in the end it has to have logged nothing worse than INFO."""
    port = free_port()
    command = [sys.executable, "-m", "trio_sio", "run", "handlers:routes", "--port", str(port), "--static", str(PAGE), "--admin", *options]
    with serving(command, port, ROOT, log) as url:
        yield url


@pytest.mark.slow
@pytest.mark.needs("node", "chromium", "redis-server", "playwright-core", "socket.io-client", "@socket.io/admin-ui")
def test_the_official_page_shows_two_servers_and_commands_them(tmp_path: Path) -> None:
    (tmp_path / "users").write_text(f"ada:{bcrypt.hashpw(b'correct horse', bcrypt.gensalt(6)).decode()}\n")
    redis = RedisServer(tmp_path)
    with ExitStack() as stack:
        redis.start()
        stack.callback(redis.kill)
        shared = ("--redis", redis.url, "--admin-auth", str(tmp_path / "users"))
        servers = [stack.enter_context(running(tmp_path / f"log{number}", *shared)) for number in range(2)]
        figures = stack.enter_context(running(tmp_path / "log", "--admin-mode", "production", "--admin-readonly"))
        options = {"servers": servers, "figures": figures, "root": str(ROOT), "shots": str(tmp_path), "chromium": shutil.which("chromium")}
        ran = subprocess.run(["node", str(SCRIPT), json.dumps(options)], cwd=ROOT, capture_output=True, text=True, timeout=85, check=False)
        assert ran.returncode == 0, f"{ran.stdout}{ran.stderr}\nPictures are in {tmp_path}."

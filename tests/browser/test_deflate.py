"""A real Chromium agrees on permessage-deflate by itself; deflate.cjs is what it does."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
import trio

from trio_sio import Config, PerMessageDeflate, Server, Socket

ROOT = Path(__file__).parents[2]
SCRIPT = Path(__file__).with_name("deflate.cjs")

pytestmark = [pytest.mark.slow, pytest.mark.needs("node", "chromium", "playwright-core")]


@pytest.mark.parametrize("takeover", [False, True])
async def test_chromium_compresses(takeover: bool) -> None:
    options = PerMessageDeflate(server_no_context_takeover=not takeover, client_no_context_takeover=not takeover)
    server = Server(config=Config(per_message_deflate=options))

    @server.on("echo")
    async def echo(socket: Socket, text: str) -> str:
        return text

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(server.serve, "127.0.0.1", 0)
        url = f"http://127.0.0.1:{listeners[0].sockname[1]}"
        what = json.dumps({"server": url, "root": str(ROOT), "chromium": shutil.which("chromium")})
        with trio.fail_after(120):
            done = await trio.run_process(["node", str(SCRIPT), what], stdin=subprocess.DEVNULL, capture_stdout=True)
        nursery.cancel_scope.cancel()

    agreed = "" if takeover else "; server_no_context_takeover; client_no_context_takeover"
    assert json.loads(done.stdout) == {
        "extensions": f"permessage-deflate{agreed}; server_max_window_bits=12; client_max_window_bits=12",
        "same": [True] * 4,
    }

"""nginx and haproxy in front of workers: neither looks at session ids, and both mix requests of all clients on what they keep open."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest
import trio

from tests.conftest import require_tool, tool_path
from tests.ports import free_port
from tests.test_behind_proxies import accepts, running_process
from tests.workers import app
from tests.workers.processes import open_workers, url_of
from trio_sio import open_client

CLIENTS: Final = 200

NGINX: Final = """
daemon off;
master_process off;
pid nginx.pid;
error_log stderr warn;
events {{ worker_connections 2048; }}
http {{
    access_log off;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
    upstream workers {{ server {server}; keepalive 16; }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://workers; proxy_http_version 1.1; proxy_set_header Connection ""; proxy_set_header Host $host:{port};
        }}
    }}
}}
"""

HAPROXY: Final = """
defaults
    mode http
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    http-reuse always
listen all
    bind 127.0.0.1:{port}
    server workers {server}
"""

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("proxy", ["nginx", "haproxy"])
async def test_two_hundred_polling_clients_on_shared_connections(proxy: str, tmp_path: Path) -> None:
    require_tool(proxy)
    program, port = tool_path(proxy), free_port()
    assert program is not None
    async with open_workers(app.patient, 4) as workers:
        text = (NGINX if proxy == "nginx" else HAPROXY).format(port=port, server=url_of(workers).removeprefix("http://"))
        config = tmp_path / "proxy.conf"
        config.write_text(text)
        command = (
            [program, "-e", "stderr", "-p", str(tmp_path), "-c", str(config)] if proxy == "nginx" else [program, "-db", "-f", str(config)]
        )
        async with running_process(command, tmp_path) as process:
            await accepts(port, process)
            homes, everybody, leave = list[int](), trio.Event(), trio.Event()

            async def visit(number: int) -> None:
                async with open_client(f"http://127.0.0.1:{port}", transports=["polling"]) as client:
                    for turn in range(3):
                        assert await client.emit_with_ack("echo", number, turn, b"x", timeout=30) == (number, turn, b"x")
                    homes.append((await client.emit_with_ack("who", timeout=30))[0])
                    if len(homes) == CLIENTS:
                        everybody.set()
                    await leave.wait()

            async with trio.open_nursery() as nursery:
                for number in range(CLIENTS):
                    nursery.start_soon(visit, number)
                    await trio.sleep(0.005)
                await everybody.wait()
                statistics = await workers.statistics()
                leave.set()
            assert set(homes) == {0, 1, 2, 3}
            # Each session was opened once, and no request asked in vain.
            assert (statistics.total.handshakes, statistics.total.refusals) == (CLIENTS, {})

"""A fleet on one machine: Redis, two servers, and nginx before them. Ctrl-C ends all of it.

    python examples/cluster/fleet.py

nginx listens on PORT (8080); the next three ports are the servers' and that of Redis. All are programs of this one: when one of
them ends, the others do.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import tempfile
from functools import partial
from pathlib import Path

import trio

HERE = Path(__file__).parent
PROXY = HERE.parent / "behind_nginx" / "nginx.conf"
PORT = int(os.environ.get("PORT", "8080"))
SERVERS = {"a": PORT + 1, "b": PORT + 2}
REDIS = PORT + 3

NGINX = """
daemon off;
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
    include fleet.conf;
}
"""


async def run(command: list[str], ended: trio.CancelScope, **environment: str) -> None:
    """Run a program until it ends, or this one is told to; then it gets SIGTERM, and time to say goodbye."""
    process = await trio.lowlevel.open_process(command, cwd=HERE, env={**os.environ, **environment})
    try:
        await process.wait()
        print(f"{command[0]} has ended with {process.returncode}.", file=sys.stderr)
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGTERM)
            with trio.move_on_after(10, shield=True):
                await process.wait()
            if process.returncode is None:
                process.kill()
        ended.cancel()


async def answers(port: int) -> None:
    """Wait until something listens there."""
    while True:
        try:
            await (await trio.open_tcp_stream("127.0.0.1", port)).aclose()
        except OSError:
            await trio.sleep(0.05)
        else:
            return


def write_proxy(directory: Path) -> None:
    """Write nginx' configuration: that of the other example, with our ports."""
    text = PROXY.read_text().replace("listen 8080", f"listen 127.0.0.1:{PORT}")
    for name, port in zip(("3001", "3002"), SERVERS.values(), strict=True):
        text = re.sub(rf"127\.0\.0\.1:{name}\b", f"127.0.0.1:{port}", text)
    (directory / "fleet.conf").write_text(text)
    (directory / "nginx.conf").write_text(NGINX)


async def main() -> None:
    """Run all four until one of them ends, or somebody says that it is enough."""
    with tempfile.TemporaryDirectory() as name, trio.open_signal_receiver(signal.SIGINT, signal.SIGTERM) as signals:
        directory = Path(name)
        write_proxy(directory)
        async with trio.open_nursery() as nursery:
            ended = nursery.cancel_scope
            redis = ["redis-server", "--port", str(REDIS), "--bind", "127.0.0.1", "--save", "", "--dir", name]
            nursery.start_soon(run, [*redis, "--loglevel", "warning"], ended)
            await answers(REDIS)
            for server, port in SERVERS.items():
                command = [sys.executable, "-m", "trio_sio", "run", "app:server", "--port", str(port), "--health-path", "/healthz"]
                environment = {"NAME": server, "REDIS": f"redis://127.0.0.1:{REDIS}"}
                nursery.start_soon(partial(run, command, ended, **environment))
                await answers(port)
            nursery.start_soon(run, ["nginx", "-p", name, "-c", str(directory / "nginx.conf")], ended)
            await answers(PORT)
            print(f"Clients connect to http://127.0.0.1:{PORT}; Ctrl-C ends it.", flush=True)
            async for _ in signals:
                break
            ended.cancel()


if __name__ == "__main__":
    try:
        trio.run(main)
    except FileNotFoundError as error:
        sys.exit(f"{error.filename} is not installed; on Debian: apt-get install redis-server nginx")

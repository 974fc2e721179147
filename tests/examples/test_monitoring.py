"""examples/monitoring: Prometheus itself asks a server with two workers, and answers every query of the dashboard and the alerts."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import trio

from tests.conftest import ROOT
from tests.ports import free_port
from trio_sio import open_client

EXAMPLE: Final = ROOT / "examples" / "monitoring"
SERVER: Final = [sys.executable, "-m", "trio_sio", "run", "app:routes", "--port", "0", "--workers", "2", "--metrics-path", "/metrics"]
CLIENTS: Final = 12
BOUND: Final = 60.0


def expressions(panels: object) -> Iterator[str]:
    """Yield each query of a dashboard, or of a part of it."""
    if isinstance(panels, dict):
        if "expr" in panels:
            yield panels["expr"]
        for value in panels.values():
            yield from expressions(value)
    elif isinstance(panels, list):
        for value in panels:
            yield from expressions(value)


DASHBOARD: Final = json.loads((EXAMPLE / "dashboard.json").read_text())
QUERIES: Final = [one.replace("$__rate_interval", "10s").replace("$job", ".*").replace("$instance", ".*") for one in expressions(DASHBOARD)]
ALERTS: Final = (EXAMPLE / "alerts.yml").read_text()


def promtool(*arguments: str, given: str = "") -> str:
    done = subprocess.run(["promtool", *arguments], input=given, capture_output=True, text=True, check=False, cwd=EXAMPLE)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.mark.needs("promtool")
def test_promtool_finds_nothing() -> None:
    assert "SUCCESS: 1 rule files found" in promtool("check", "config", "prometheus.yml")
    names = re.findall(r"alert: (\w+)", ALERTS)
    assert f"SUCCESS: {len(names)} rules found" in promtool("check", "rules", "alerts.yml")
    assert "SUCCESS" in promtool("test", "rules", "alerts_test.yml")
    tested = (EXAMPLE / "alerts_test.yml").read_text()
    # Each is tried where all is well, and where it is not.
    assert [name for name in names if len(re.findall(rf"alertname: {name}\b", tested)) < 2] == []


async def ask(url: str) -> str:
    def blocking() -> str:
        with urllib.request.urlopen(url, timeout=10) as response:
            text: str = response.read().decode()
            return text

    return await trio.to_thread.run_sync(blocking)


@asynccontextmanager
async def running(command: Sequence[str], directory: Path) -> AsyncIterator[trio.Process]:
    process = await trio.lowlevel.open_process(command, cwd=directory, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    try:
        yield process
    finally:
        process.terminate()
        with trio.move_on_after(10, shield=True):
            await process.wait()
        process.kill()


async def address_of(process: trio.Process) -> str:
    """Return the address that a server prints."""
    assert process.stdout is not None
    printed = b""
    while (found := re.search(rb"http://[\d.]+:\d+", printed)) is None:
        data = await process.stdout.receive_some()
        assert data, f"it ended after {printed!r}"
        printed += data
    return found[0].decode()


class Prometheus:
    """The API of one that runs.

    Args:
      port: Where.
    """

    def __init__(self, port: int) -> None:
        self._address = f"http://127.0.0.1:{port}"

    async def query(self, expression: str) -> list[Any]:
        """Return what an expression is now."""
        answer = json.loads(await ask(f"{self._address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}"))
        assert answer["status"] == "success", answer
        result: list[Any] = answer["data"]["result"]
        return result

    async def rules(self) -> list[Any]:
        """Return the alert rules."""
        (group,) = json.loads(await ask(f"{self._address}/api/v1/rules"))["data"]["groups"]
        rules: list[Any] = group["rules"]
        return rules

    async def wait_until(self, expression: str) -> None:
        """Wait until an expression has a value."""
        while True:
            try:
                if await self.query(expression):
                    return
            except OSError:
                pass  # it has not begun to listen
            await trio.sleep(0.2)


@pytest.mark.slow
@pytest.mark.needs("prometheus", "promtool")
async def test_every_query_has_an_answer(tmp_path: Path) -> None:
    with trio.fail_after(BOUND):
        async with running(SERVER, ROOT / "examples" / "deployment") as server, trio.open_nursery() as nursery:
            address = await address_of(server)
            nursery.start_soon(talk, address)
            config = (EXAMPLE / "prometheus.yml").read_text().replace("127.0.0.1:3000", address.removeprefix("http://"))
            (tmp_path / "prometheus.yml").write_text(config.replace("15s", "500ms"))
            (tmp_path / "alerts.yml").write_text(ALERTS)
            port = free_port()
            command = ["prometheus", "--config.file=prometheus.yml", f"--web.listen-address=127.0.0.1:{port}", "--storage.tsdb.path=data"]
            async with running(command, tmp_path):
                prometheus = Prometheus(port)
                await prometheus.wait_until(
                    'count by (event) (rate(trio_sio_events_handled_total{outcome="ok", event="say"}[10s]) > 0) == 2'
                )
                scrape = await ask(f"{address}/metrics")
                # What it does not like: `_max` of a gauge and the like.
                promtool("check", "metrics", given=scrape)
                await has_all(prometheus, scrape)
            nursery.cancel_scope.cancel()


async def talk(address: str) -> None:
    """Say something every now and then, as so many clients that each worker has some."""
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(open_client(address)) for _ in range(CLIENTS)]
        while True:
            for client in clients:
                await client.emit("say", "hello")
            await trio.sleep(0.1)


async def has_all(prometheus: Prometheus, scrape: str) -> None:
    told = set(re.findall(r"^# TYPE (\w+) ", scrape, re.MULTILINE))
    for query in [*QUERIES, *re.findall(r"expr: (?!>-)(.*)", ALERTS)]:
        await prometheus.query(query)
        names = {re.sub("_bucket$", "", name) for name in re.findall(r"\b(?:trio_sio|process)_\w+", query)}
        assert names <= told, query
    while True:
        health = {rule["health"] for rule in await prometheus.rules()}
        if "unknown" not in health:
            break
        await trio.sleep(0.2)  # it has not looked at all of them yet
    assert health == {"ok"}
    workers = await prometheus.query("sum by (worker) (trio_sio_sessions)")
    assert [one["metric"]["worker"] for one in workers] == ["0", "1"]
    assert sum(float(one["value"][1]) for one in workers) == CLIENTS

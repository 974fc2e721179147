"""What pages are told of a server, every two seconds."""

from __future__ import annotations

import os
import re
import socket
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.admin.opening import make_server, open_admin, told
from trio_sio import Config, Limits, Route, RoutingTable, Server, on_connection
from trio_sio.admin.figures import INTERVAL, MOST_NAMESPACES, Figures, Traffic
from trio_sio.admin.messages import Mode
from trio_sio.namespaces.adapter import Broadcast, InMemoryAdapter
from trio_sio.statistics import Statistics
from trio_sio.testing import LoopbackNetwork, StrictSocket, open_test_server


async def figures(page: StrictSocket) -> dict[str, Any]:
    (stats,) = await page.once("server_stats")
    assert isinstance(stats, dict)
    return stats


async def test_a_page_is_told_every_two_seconds_how_the_server_is(mock_clock: trio.testing.MockClock) -> None:
    async with (
        open_admin(mode="production") as administered,
        administered.client(),
        administered.client("/chat"),
        administered.page() as page,
    ):
        await page.once("config")
        mock_clock.jump(INTERVAL)
        stats = await figures(page)
        assert stats["serverId"].startswith(f"{socket.gethostname()}#{os.getpid()}")
        assert (stats["hostname"], stats["pid"]) == (socket.gethostname(), os.getpid())
        assert stats["uptime"] == pytest.approx(INTERVAL)
        assert (stats["clientsCount"], stats["pollingClientsCount"]) == (3, 0)
        assert sorted((one["name"], one["socketsCount"]) for one in stats["namespaces"]) == [("/", 1), ("/admin", 1), ("/chat", 1)]
        await trio.testing.wait_all_tasks_blocked()
        assert [event.name for event in page.pending] == ["session"]
        mock_clock.jump(INTERVAL)
        assert (await figures(page))["uptime"] == pytest.approx(2 * INTERVAL)


async def test_what_happened_meanwhile_is_counted_once(mock_clock: trio.testing.MockClock) -> None:
    async with open_admin(mode="production") as administered, administered.page() as page:
        await page.once("config")
        mock_clock.jump(INTERVAL)
        await figures(page)
        async with administered.client():
            pass
        async with administered.client():
            await trio.testing.wait_all_tasks_blocked()
            mock_clock.jump(INTERVAL)
            events = (await figures(page))["aggregatedEvents"]
            counted = {(event["type"], event.get("subType")): event["count"] for event in events}
            assert counted == {("rawConnection", None): 2, ("rawDisconnection", "transport close"): 1}
            assert all(event["timestamp"] % 1000 == 0 for event in events)
            mock_clock.jump(INTERVAL)
            assert (await figures(page))["aggregatedEvents"] == []


async def test_in_production_pages_are_told_nothing_else(mock_clock: trio.testing.MockClock) -> None:
    async with open_admin(mode="production") as administered, administered.page() as page:
        assert (await told(page, "config"))[0]["supportedFeatures"][-1] == "AGGREGATED_EVENTS"
        async with administered.client() as client:
            await client.emit_with_ack("say", "a secret")
            await client.emit_with_ack("enter", "room")
        await trio.testing.wait_all_tasks_blocked()
        assert [event.name for event in page.pending] == ["session"]


@pytest.mark.hostile("O28")
async def test_a_page_that_leaves_while_it_is_told_changes_nothing(
    mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_admin() as administered:
        for _ in range(3):
            async with administered.page() as page:
                await page.once("config")
                mock_clock.jump(INTERVAL)
                await page.connection.abort()
            await trio.testing.wait_all_tasks_blocked()
        async with administered.page() as page:
            await page.once("config")
            mock_clock.jump(INTERVAL)
            assert (await figures(page))["clientsCount"] == 1
    assert not [record for record in caplog.records if record.exc_info]


async def test_while_nobody_looks_nothing_is_measured(mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    server = make_server()
    measured = list[None]()
    statistics = server.statistics

    def measure() -> Statistics:
        measured.append(None)
        return statistics()

    monkeypatch.setattr(server, "statistics", measure)
    async with open_admin(server, mode="production") as administered:
        for _ in range(5):
            mock_clock.jump(INTERVAL)
            await trio.testing.wait_all_tasks_blocked()
        assert not measured
        async with administered.page() as page:
            await page.once("config")
            mock_clock.jump(INTERVAL)
            # What happened before is not of this moment.
            assert (await figures(page))["aggregatedEvents"] == []


class Room:
    @on_connection
    def joined(self) -> None: ...


@pytest.mark.hostile("O28")
async def test_of_very_many_namespaces_the_fullest_are_named() -> None:
    routes = [Route(f"/{number}", Room) for number in range(MOST_NAMESPACES + 10)]
    server = Server(RoutingTable(*routes))
    async with open_test_server(server) as host, host.strict_client("/1005"):
        stats = Figures(server, Traffic()).take()
    assert len(stats["namespaces"]) == MOST_NAMESPACES
    assert stats["namespaces"][0] == {"name": "/1005", "socketsCount": 1}


@pytest.mark.hostile("O28")
async def test_long_names_of_namespaces_are_no_end_of_the_server(mock_clock: trio.testing.MockClock) -> None:
    """Clients make them up, where a route has a pattern; and what is larger than an outbox cannot be sent."""
    config = Config(limits=Limits(outbox_bytes=20_000))
    server = Server(RoutingTable(Route(re.compile("/.*"), Room)), config=config)
    async with open_admin(server, mode="production") as administered, administered.page() as page, AsyncExitStack() as stack:
        await page.once("config")
        for number in range(100):
            await stack.enter_async_context(administered.client(f"/{number}-{'x' * 200}"))
        mock_clock.jump(INTERVAL)
        stats = await figures(page)
        assert stats["clientsCount"] == 101
        assert 10 < len(stats["namespaces"]) < 30


async def test_figures_that_fit_into_no_outbox_are_left_out(mock_clock: trio.testing.MockClock) -> None:
    server = make_server(Config(limits=Limits(outbox_bytes=200)))
    async with open_admin(server, mode="production") as administered, administered.page() as page:
        await page.once("config")
        mock_clock.jump(INTERVAL)
        await trio.testing.wait_all_tasks_blocked()
        assert administered.counts.left_out == 1
        assert not [event for event in page.pending if event.name == "server_stats"]
        assert server.running


class Broken(InMemoryAdapter):
    """An adapter of the application's that cannot reach anybody."""

    def broadcast(self, broadcast: Broadcast) -> None:
        raise OSError("nobody is there")


@pytest.mark.hostile("O28")
async def test_an_adapter_that_fails_is_no_end_of_the_server(mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture) -> None:
    async with open_admin(make_server(adapter=Broken), mode="production") as administered, administered.client() as client:
        for _ in range(3):
            mock_clock.jump(INTERVAL)
            await trio.testing.wait_all_tasks_blocked()
        assert administered.counts.left_out == 4
        assert await client.emit_with_ack("say", 1) == 1
    (record,) = [record for record in caplog.records if record.name == "trio_sio.admin" and record.exc_info]
    assert record.levelname == "ERROR"


async def test_every_server_of_a_cluster_tells_every_page() -> None:
    network = LoopbackNetwork()
    async with (
        open_admin(make_server(cluster=network.cluster()), mode="production") as one,
        open_admin(make_server(cluster=network.cluster()), mode="production") as other,
        one.page() as page,
    ):
        found: set[str] = set()
        with trio.fail_after(10):
            while len(found) < 2:
                found.add((await figures(page))["serverId"])
        assert other.server.running


@pytest.mark.parametrize("mode", ["production", "development"])
async def test_while_it_drains_nobody_is_told_anything_more(
    mode: Mode, autojump_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        open_admin(auth=None, mode=mode) as administered,
        administered.client() as client,
        administered.page(address="127.0.0.1") as page,
    ):
        await page.once("config")
        await client.emit_with_ack("enter", "room")
        await administered.server.drain()
        await trio.sleep(10 * INTERVAL)
    assert not [record for record in caplog.records if record.exc_info]

"""Controllers that are async context managers, cancelled at each step of their lives: whatever was entered is left, once."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from types import TracebackType
from typing import Self

import pytest
import trio

from trio_sio import Config, Route, RoutingTable, Server, Socket, on_connection, on_disconnection, on_message
from trio_sio.testing import InMemoryServer, cancel_everywhere, serving

pytestmark = pytest.mark.slow


class Resourceful:
    """Keeps a nursery open, and writes down how often what happened."""

    def __init__(self, socket: Socket, accounts: Counter[str]) -> None:
        self.socket = socket
        self.accounts = accounts
        self.manager = trio.open_nursery()

    async def __aenter__(self) -> Self:
        await trio.sleep(0.1)
        self.nursery = await self.manager.__aenter__()
        self.nursery.start_soon(trio.sleep_forever)
        self.accounts["entered"] += 1
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        self.accounts["left"] += 1
        self.nursery.cancel_scope.cancel()
        return await self.manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102  # whoever leaves it has a shield and a deadline

    @on_connection
    async def joined(self) -> None:
        self.accounts["joined"] += 1
        assert not self.nursery.cancel_scope.cancel_called
        await trio.sleep(0.1)

    @on_message("work")
    async def work(self) -> str:
        await trio.sleep(0.1)
        return "done"

    @on_disconnection
    async def gone(self) -> None:
        self.accounts["gone"] += 1
        await trio.sleep(0.1)


@asynccontextmanager
async def running() -> AsyncIterator[InMemoryServer]:
    """Serve two such controllers in one namespace, and require their accounts to be in order."""
    accounts: tuple[Counter[str], Counter[str]] = (Counter(), Counter())

    class Second(Resourceful):
        @on_message("second")
        async def work(self) -> str:
            return await super().work()

    factories: list[Callable[[Socket], Resourceful]] = [
        partial(cls, accounts=account) for cls, account in zip((Resourceful, Second), accounts, strict=True)
    ]
    routes = RoutingTable(*(Route("/", factory) for factory in factories))
    async with serving(lambda: Server(routes, config=Config(cleanup_timeout=5)))() as server:
        yield server
    for account in accounts:
        assert account["entered"] == account["left"], account
        assert account["joined"] == account["gone"], account


async def use(server: InMemoryServer) -> None:
    async with server.client() as client:
        assert await client.emit_with_ack("work") == "done"
        assert await client.emit_with_ack("second") == "done"
        await client.disconnect()


@pytest.mark.parametrize("part", ["everything", "client", "dispatcher", Resourceful.__aenter__, Resourceful.joined, Resourceful.gone])
def test_whatever_is_entered_is_left_once(part: str | Callable[..., object]) -> None:
    report = cancel_everywhere(use, running, part=part)
    assert report.struck == report.steps > 1

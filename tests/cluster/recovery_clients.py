"""Clients of several servers, for the tests of recovery."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any, Protocol

import trio

from trio_sio.testing import InMemoryServer, StrictSocket

__all__ = ["Comer", "open_comer"]


class Hosts(Protocol):
    """Some servers.

    Attributes:
      hosts: Where clients reach them; ``None``: it is not there now.
    """

    @property
    def hosts(self) -> Sequence[InMemoryServer | None]: ...


class Comer:
    """A client that comes back, as the official one does: with its secret, and the newest offset that it has.

    Attributes:
      client: The client, as it is connected now.
      number: To which server.
      recovered: Whether it was the last time.
      heard: All that it has heard since it began anew.
    """

    def __init__(self, hosts: Hosts, namespace: str, nursery: trio.Nursery) -> None:
        self._hosts = hosts
        self.namespace = namespace
        self.client: StrictSocket
        self.number = 0
        self.recovered = False
        self.heard = list[tuple[Any, ...]]()
        self._pid: str | None = None
        self._offset: str | None = None
        self._nursery = nursery

    async def _live(self, number: int, auth: dict[str, Any], task_status: trio.TaskStatus[StrictSocket]) -> None:
        host = self._hosts.hosts[number]
        assert host is not None
        async with host.strict_client(self.namespace, auth) as client:
            task_status.started(client)
            await trio.sleep_forever()

    async def come(self, number: int) -> bool:
        """Connect to a server; tell whether it is recovered."""
        auth = {key: value for key, value in (("pid", self._pid), ("offset", self._offset)) if value is not None}
        self.client, self.number = await self._nursery.start(self._live, number, auth), number
        self.recovered = self.client.pid == self._pid
        if not self.recovered:
            self.heard.clear()
        self._pid = self.client.pid
        return self.recovered

    def listen(self, part: float = 1.0) -> None:
        """Take what has come, or the first ``part`` of it: the connection breaks now, and the rest was still on its way."""
        come = self.client.pending
        for event in come[: round(part * len(come))]:
            *args, self._offset = event.args
            self.heard.append((event.name, *args))
        self.client._events.clear()

    async def go(self, part: float = 1.0) -> None:
        """Lose the connection, perhaps with something on its way; ``part``: see `listen`."""
        self.listen(part)
        await self.client.connection.abort()

    async def move(self, number: int) -> bool:
        """Lose the connection and come back to another server."""
        await self.go()
        return await self.come(number)


@asynccontextmanager
async def open_comer(hosts: Hosts, namespace: str = "/") -> AsyncIterator[Comer]:
    """Make one, who is connected to nobody yet."""
    async with trio.open_nursery() as nursery:
        yield Comer(hosts, namespace, nursery)
        nursery.cancel_scope.cancel()

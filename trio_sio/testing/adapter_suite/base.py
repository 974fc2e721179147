"""What the parts of the suite share: servers, clients, and ways to wait for what must come."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, ClassVar, Final

import trio

from ...config import Config
from ...namespaces.adapter import Cluster
from ..fleet import Fleet, open_fleet
from ..strict import StrictSocket

__all__ = ["END", "Suite", "heard"]

END: Final = "end of the test"
"""What is emitted behind something that is not to arrive, on the same way."""


async def heard(client: StrictSocket) -> list[list[Any]]:
    """Return the events that ``client`` got before `END`: of each a list of its name and its arguments."""
    events = list[list[Any]]()
    while (event := await client.receive()).name != END:
        events.append([event.name, *event.args])
    return events


class Suite:
    """What the tests need, and what may differ from cluster to cluster; see `AdapterSuite`."""

    PATIENCE: ClassVar[float] = 2.0
    REPLAYS: ClassVar[bool] = True
    RECOVERS_ELSEWHERE: ClassVar[bool] = True
    TELLS_OF_LOST_ANSWERS: ClassVar[bool] = True
    NAMES_THE_MISSING: ClassVar[bool] = True

    @abstractmethod
    def cluster(self) -> Cluster:
        """Return what connects one more server with the others of this test."""

    @asynccontextmanager
    async def fleet(self, servers: int = 2, config: Config | None = None) -> AsyncIterator[Fleet]:
        """Run so many servers that know each other."""
        async with open_fleet([self.cluster() for _ in range(servers)], config) as fleet:
            yield fleet

    async def eventually(self, condition: Callable[[], object]) -> None:
        """Wait until ``condition()``, for ten seconds at most."""
        with trio.fail_after(10):
            while not condition():  # noqa: ASYNC110  # of anything
                await trio.sleep(0.01)

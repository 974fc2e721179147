"""`RedisCluster`: servers, of ours and of Node's, that share one Redis."""

from __future__ import annotations

import ssl
from dataclasses import replace
from itertools import count
from typing import TYPE_CHECKING, ClassVar, Final

import trio

from ...concurrency.unwrapping import unwrapping
from ...errors import ConfigurationError
from ...log import get_logger
from ..asking import AskingCluster
from .address import RedisAddress
from .channels import DEFAULT_KEY, Channels
from .classic import ClassicAdapter
from .pubsub import Gap, PubSub, PubSubSettings

if TYPE_CHECKING:
    from ...namespaces.adapter import BusStatistics, Config, Namespace

__all__ = ["RedisCluster"]

logger = get_logger("trio_sio.cluster")

TICK: Final = 1.0  # seconds between two looks at what is due
TICKS_PER_LOOK: Final = 5  # after so many, an instrument is told how long Redis takes to answer

_GAPS: Final[dict[Gap, str]] = {
    "full": "{} messages for other servers did not fit into the queue.",
    "stale": "{} messages for other servers were given up, as there was no connection to Redis.",
    "unanswered": "{} messages for other servers may not have got there, as the connection to Redis broke.",
    "refused": "{} messages for other servers were refused by Redis.",
    "interrupted": "The connection to Redis was lost for a while; what other servers have emitted meanwhile did not come here.",
    "oversized": "{} messages of other servers were larger than is accepted.",
}


class RedisCluster(AskingCluster):
    """Servers that publish and subscribe through one Redis, as with Node's ``@socket.io/redis-adapter``.

    What is emitted while there is no connection reaches local clients; for other servers it waits ten seconds. Then, and for
    what others have emitted meanwhile, there is a gap (`Cluster.on_gap`): Redis keeps nothing for those who are away.

    Args:
      url: Where it is: ``redis://[[username]:password@]host[:port]``, ``rediss://`` for TLS, or ``unix:///path``.
      key: What all channels begin with. Servers with another one do not hear each other, so each application has its own where
        several share a Redis. Whoever may publish there can speak to all clients, and disconnect them.
      request_timeout: Seconds that `fetch_sockets` and its like wait for other servers.
      fail_fast: Whether the server does not start without Redis; otherwise it serves its own clients until Redis is there.
      specific_response_channel: Whether answers go to a channel of who has asked: less traffic, which all of Node's servers since
        version 8 of that adapter understand (Node: ``publishOnSpecificResponseChannel``).
      ssl_context: For ``rediss://``; ``None``: what Python does by default.

    Raises:
      ConfigurationError: if the URL or the key is none.
    """

    SETTINGS: ClassVar = PubSubSettings()

    def __init__(
        self,
        url: str,
        *,
        key: str = DEFAULT_KEY,
        request_timeout: float = 5.0,
        fail_fast: bool = True,
        specific_response_channel: bool = False,
        ssl_context: ssl.SSLContext | None = None,
    ) -> None:
        super().__init__(request_timeout)
        if not key or type(key) is not str:
            raise ConfigurationError(f"key={key!r:.80} is no key; write what all channels begin with, such as key={DEFAULT_KEY!r}.")
        self.address = RedisAddress.parse(url, ssl_context)
        self.key = key
        self.specific_response_channel = specific_response_channel
        # Nobody listens there.
        self.pubsub = PubSub(self.address, self.SETTINGS, trial=Channels(key, "/").responses_to("trial"))
        self.pubsub.on_gap(self._has_gap)
        self.pubsub.on_connected(self._is_connected)
        self._fail_fast = fail_fast
        self._adapters: set[ClassicAdapter] = set()

    def __repr__(self) -> str:
        return f"<RedisCluster {self.address} key={self.key!r}>"

    def attach(self, namespace: Namespace) -> ClassicAdapter:
        """See `Cluster.attach`."""
        adapter = ClassicAdapter(namespace, self)
        self._adapters.add(adapter)
        return adapter

    def detach(self, adapter: ClassicAdapter) -> None:
        """Forget ``adapter``, which is closed."""
        self._adapters.discard(adapter)

    async def run(self, config: Config, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Cluster.run`."""
        over = trio.Event()
        with unwrapping() as body:
            async with trio.open_nursery() as nursery:
                with body:
                    await nursery.start(self._keep_connection, over)
                    self.pubsub.ask_nowait(self._tell_of_others, "PUBSUB", "NUMSUB", Channels(self.key, "/").requests)
                    task_status.started()
                    try:
                        for tick in count(1):
                            await trio.sleep(TICK)
                            for adapter in list(self._adapters):
                                adapter.tick()
                            if tick % TICKS_PER_LOOK == 0:
                                self._measure_lag()
                    finally:
                        over.set()

    async def _keep_connection(self, over: trio.Event, task_status: trio.TaskStatus[None]) -> None:
        """Keep it until ``over``, and let what waits leave then, also when all around is cancelled."""
        with trio.CancelScope() as scope:
            async with self.pubsub.open(fail_fast=self._fail_fast):
                scope.shield = True
                task_status.started()
                await over.wait()

    async def listeners(self, channel: str) -> int:
        """Return how many servers listen on ``channel``.

        Raises:
          BusUnavailable: if Redis does not say.
        """
        _, count = await self.pubsub.command("PUBSUB", "NUMSUB", channel)
        return max(int(count), 1)

    async def server_count(self) -> int:
        """See `Cluster.server_count`.

        Raises:
          BusUnavailable: if Redis does not say.
        """
        return await self.listeners(Channels(self.key, "/").requests)

    def statistics(self) -> BusStatistics:
        """See `Cluster.statistics`."""
        return replace(super().statistics(), lost={str(kind): count for kind, count in self.pubsub.lost.items()})

    def unready(self) -> str | None:
        """See `Cluster.unready`."""
        if self.pubsub.connected:
            return None
        return f"There is no connection to Redis at {self.address}{f': {trouble}' if (trouble := self.pubsub.trouble) else '.'}"

    def _tell_of_others(self, listeners: object) -> None:
        match listeners:
            case [_, int(count)]:
                # Where others were expected, it is the key that differs.
                logger.info("Redis at %s is shared with %d other servers that have the key %r.", self.address, max(count - 1, 0), self.key)

    def _is_connected(self, connected: bool) -> None:
        if connected:
            self.comes()
        else:
            self.goes(self.pubsub.trouble or "The server has ended.")

    def _measure_lag(self) -> None:
        if (instrument := self.instrument) is None:
            return
        asked = trio.current_time()

        def answer(value: object) -> None:
            if value == b"PONG":
                instrument.bus_lag(trio.current_time() - asked)

        self.pubsub.ask_nowait(answer, "PING")

    def _has_gap(self, kind: Gap, count: int) -> None:
        self.has_gap(_GAPS[kind].format(count))

"""A cluster in one Trio run: servers that speak to each other through memory, over a network that may misbehave."""

from __future__ import annotations

import math
from random import Random
from typing import TYPE_CHECKING, NamedTuple

import trio

from ..cluster.node import NodeCluster
from ..cluster.node_adapter import NodeAdapter

if TYPE_CHECKING:
    from ..config import Config

__all__ = ["LoopbackCluster", "LoopbackNetwork"]


class _Parcel(NamedTuple):
    due: float
    namespace: str
    uid: str | None  # for which adapter alone
    payload: bytes


class LoopbackNetwork:
    """What connects the servers of one test: ``Server(cluster=network.cluster())`` for each.

    Between two servers messages keep their order; what two servers send to a third may come in any.

    Args:
      delay: Seconds that a message takes at least.
      jitter: Seconds that it may take longer.
      loss: The part of all messages that is lost, from 0 to 1.
      duplication: The part that comes twice.
      seed: Makes a run repeatable.
      capacity: How many messages may be on their way from one server to another; more are a gap.
    """

    def __init__(
        self,
        *,
        delay: float = 0.0,
        jitter: float = 0.0,
        loss: float = 0.0,
        duplication: float = 0.0,
        seed: int = 0,
        capacity: int = 10_000,
    ) -> None:
        self.delay = delay
        self.jitter = jitter
        self.loss = loss
        self.duplication = duplication
        self.capacity = capacity
        self._random = Random(seed)
        self._running: list[LoopbackCluster] = []

    def cluster(self, *, heartbeat_interval: float = 5.0, heartbeat_timeout: float = 10.0, request_timeout: float = 5.0) -> LoopbackCluster:
        """Return what connects one more server; see `NodeCluster`."""
        return LoopbackCluster(
            self, heartbeat_interval=heartbeat_interval, heartbeat_timeout=heartbeat_timeout, request_timeout=request_timeout
        )

    def send(self, sender: LoopbackCluster, namespace: str, uid: str | None, payload: bytes) -> None:
        """Let all others have ``payload``, as far as they get it."""
        is_complete = True
        for other in self._running:
            if other is sender or self._random.random() < self.loss:
                continue
            for _ in range(2 if self._random.random() < self.duplication else 1):
                due = trio.current_time() + self.delay + self._random.uniform(0, self.jitter)
                is_complete &= other.put(sender, _Parcel(due, namespace, uid, payload))
        if not is_complete:
            # Behind the others, as the application may emit when it is told.
            sender.has_gap("Another server takes its messages too slowly.")

    def join(self, cluster: LoopbackCluster) -> None:
        """Connect ``cluster``."""
        self._running.append(cluster)

    def leave(self, cluster: LoopbackCluster) -> None:
        """Connect it no longer; idempotent."""
        if cluster in self._running:
            self._running.remove(cluster)


class LoopbackCluster(NodeCluster):
    """One server's end of a `LoopbackNetwork`, which makes it."""

    def __init__(self, network: LoopbackNetwork, *, heartbeat_interval: float, heartbeat_timeout: float, request_timeout: float) -> None:
        super().__init__(heartbeat_interval=heartbeat_interval, heartbeat_timeout=heartbeat_timeout, request_timeout=request_timeout)
        self._network = network
        self._nursery: trio.Nursery | None = None
        self._links: dict[LoopbackCluster, trio.MemorySendChannel[_Parcel]] = {}

    def die(self) -> None:
        """Be gone without a goodbye, as after a power cut: nothing leaves this server any more, and nothing reaches it."""
        self._network.leave(self)
        self._nursery = None

    @property
    def has_died(self) -> bool:
        """Whether nothing leaves it, or reaches it."""
        return self._nursery is None

    # What `NodeCluster` calls.

    async def carry(self, config: Config, task_status: trio.TaskStatus[None]) -> None:
        """See `NodeCluster.carry`."""
        async with trio.open_nursery() as nursery:
            self._nursery = nursery
            self._network.join(self)
            task_status.started()
            try:
                await trio.sleep_forever()
            finally:
                self._network.leave(self)
                self._nursery = None
                self._links.clear()

    def publish(self, adapter: NodeAdapter, payload: bytes) -> None:
        """See `NodeCluster.publish`."""
        if not self.has_died:
            self._network.send(self, adapter.name, None, payload)

    def respond(self, adapter: NodeAdapter, uid: str, payload: bytes) -> None:
        """See `NodeCluster.respond`."""
        if not self.has_died:
            self._network.send(self, adapter.name, uid, payload)

    # What the network calls.

    def put(self, sender: LoopbackCluster, parcel: _Parcel) -> bool:
        """Take what ``sender`` has sent; tell whether there is room for it."""
        if self._nursery is None:
            return True
        link = self._links.get(sender)
        if link is None:
            link, receiver = trio.open_memory_channel[_Parcel](self._network.capacity)
            self._links[sender] = link
            self._nursery.start_soon(self._take, receiver)
        try:
            link.send_nowait(parcel)
        except trio.WouldBlock:
            return False
        return True

    async def _take(self, parcels: trio.MemoryReceiveChannel[_Parcel]) -> None:
        now = -math.inf
        async for parcel in parcels:
            now = max(now, parcel.due)
            if now > trio.current_time():
                await trio.sleep_until(now)
            if not self.has_died and (parcel.uid is None or self.knows(parcel.namespace, parcel.uid)):
                self.received(parcel.namespace, parcel.payload)

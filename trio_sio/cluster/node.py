"""One server among others: what all clusters share whose buses carry the messages of Node's ``ClusterAdapter``.

Theory of operation
===================

Each namespace of each server has a `NodeAdapter`, which calls itself by a random id and hears of the others by what they
publish: a newcomer says `InitialHeartbeat`, everybody answers, and whoever has said nothing for a while says `Heartbeat`.
Who is silent for too long, or says goodbye, is gone, and nothing is awaited of it any more.

* An event for clients is delivered here first and published then; nobody waits for the bus. It is encoded for the bus before
  anybody has it, so what cannot be sent is refused as a whole.
* A question (`fetch_sockets`, answers of clients or servers) goes to all, and ends with the last answer of those who are known.
  An adapter that is new waits a moment before it asks, until it can know who is there.
* What comes is checked by messages.py, and whatever is wrong is counted and dropped. An exception here costs one message.
* A client that is asked for another server is asked under an ack id of this one, and its answer goes to the server that asked.

https://github.com/socketio/socket.io/blob/main/packages/socket.io-adapter/lib/cluster-adapter.ts
"""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Final

import trio

from ..errors import ConfigurationError
from .asking import AskingCluster
from .node_adapter import NodeAdapter

if TYPE_CHECKING:
    from ..namespaces.adapter import Config, Namespace
    from .peers import Peers

__all__ = ["NodeCluster"]

TICK: Final = 1.0  # seconds between two looks at who is gone and what is due


class NodeCluster(AskingCluster):
    """A cluster whose servers know each other.

    Args:
      heartbeat_interval: Seconds of silence after which a server says that it lives.
      heartbeat_timeout: Seconds of silence after which it counts as dead.
      request_timeout: Seconds that `fetch_sockets` and its like wait for the others.

    Raises:
      ConfigurationError: if one of them is not above zero, or who lives would count as dead.
    """

    def __init__(self, *, heartbeat_interval: float = 5.0, heartbeat_timeout: float = 10.0, request_timeout: float = 5.0) -> None:
        super().__init__(request_timeout)
        if not (heartbeat_timeout > heartbeat_interval > 0 and request_timeout > 0):
            raise ConfigurationError(
                f"A cluster has heartbeat_interval={heartbeat_interval!r}, heartbeat_timeout={heartbeat_timeout!r}, "
                f"request_timeout={request_timeout!r}: all are seconds above zero, and heartbeat_timeout is longer than "
                "heartbeat_interval, or who lives counts as dead."
            )
        self.heartbeat_interval = heartbeat_interval
        self.heartbeat_timeout = heartbeat_timeout
        self._adapters: dict[str, NodeAdapter] = {}
        self._is_running = False

    # What the bus does.

    @abstractmethod
    async def carry(self, config: Config, task_status: trio.TaskStatus[None]) -> None:
        """Carry messages until cancelled, and then what is still to be sent, within `Config.cleanup_timeout`: see `Cluster.run`."""

    @abstractmethod
    def publish(self, adapter: NodeAdapter, payload: bytes) -> None:
        """Let the same namespace of all other servers have ``payload``; never waits. What does not fit is a gap."""

    @abstractmethod
    def respond(self, adapter: NodeAdapter, uid: str, payload: bytes) -> None:
        """Let the adapter ``uid`` of that namespace have ``payload``, likewise."""

    def connected(self) -> None:
        """Learn that this runs. A bus that knows better calls `Cluster.comes` and `Cluster.goes` itself, and overrides this."""
        self.comes()

    def opened(self, adapter: NodeAdapter) -> None:
        """Begin to listen for ``adapter``; called while this runs."""

    def closed(self, adapter: NodeAdapter) -> None:
        """Listen for ``adapter`` no longer, likewise."""

    def received(self, namespace: str, payload: bytes) -> None:
        """Take what has come for a namespace; the bus calls this."""
        adapter = self._adapters.get(namespace)
        if adapter is not None:
            self.take(adapter.take, payload)

    # What the server does.

    def attach(self, namespace: Namespace) -> NodeAdapter:
        """See `Cluster.attach`."""
        if namespace.name in self._adapters:
            raise ConfigurationError("This cluster connects another server already: each Server needs a cluster object of its own.")
        adapter = self._adapters[namespace.name] = NodeAdapter(namespace, self)
        if self._is_running:
            self.opened(adapter)
            adapter.begin()
        return adapter

    def detach(self, adapter: NodeAdapter) -> None:
        """Forget ``adapter``, which has said goodbye."""
        if self._adapters.get(adapter.name) is adapter:
            del self._adapters[adapter.name]
        if self._is_running:
            self.closed(adapter)

    async def run(self, config: Config, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """See `Cluster.run`."""
        async with trio.open_nursery() as nursery:
            await nursery.start(self.carry, config)
            self._is_running = True
            self.connected()
            try:
                for adapter in list(self._adapters.values()):
                    self.opened(adapter)
                    adapter.begin()
                task_status.started()
                while True:
                    await trio.sleep(TICK)
                    for adapter in list(self._adapters.values()):
                        adapter.tick()
            finally:
                self._is_running = False
                self.goes("The server has ended.")

    async def hand_over(self) -> None:
        """See `Cluster.hand_over`."""
        async with trio.open_nursery() as nursery:
            for adapter in self._adapters.values():
                nursery.start_soon(adapter.hand_over)

    def knows(self, namespace: str, uid: str) -> bool:
        """Tell whether ``uid`` is the adapter of ``namespace`` here."""
        adapter = self._adapters.get(namespace)
        return adapter is not None and adapter.uid == uid

    async def server_count(self) -> int:
        """See `Cluster.server_count`."""
        await trio.lowlevel.checkpoint()
        return 1 + max((len(adapter.peers) for adapter in self._adapters.values()), default=0)

    def beyond(self, peers: Peers) -> list[tuple[NodeAdapter, str]]:
        """Return all other servers, the newest first, by an adapter that knows them and its name for each; none if ``peers`` are all."""
        known = max(self._adapters.values(), key=lambda adapter: len(adapter.peers))
        return [] if len(known.peers) <= len(peers) else [(known, uid) for uid in reversed(known.peers.counting())]

    def knows_as_many(self, peers: Peers) -> bool:
        """Tell whether ``peers`` are as many as any adapter knows."""
        return all(len(peers) >= len(adapter.peers) for adapter in self._adapters.values())

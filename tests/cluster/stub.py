"""A bus that goes nowhere: it writes down what one server says to others, and a test says what comes from them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import trio

from trio_sio import Config, Limits
from trio_sio.cluster import codec, messages
from trio_sio.cluster.fields import EVERYBODY
from trio_sio.cluster.node import NodeCluster
from trio_sio.cluster.node_adapter import NodeAdapter
from trio_sio.testing import Fleet, open_fleet

__all__ = ["LIMITS", "Peer", "StubCluster", "open_node"]

LIMITS: Final = Limits()

M = TypeVar("M", bound=messages.Message)


class StubCluster(NodeCluster):
    """One server's end of it.

    Attributes:
      said: What was published, or sent as an answer, with the uid of the adapter that it is for.
      carried: Called with each of them.
    """

    def __init__(self, *, heartbeat_interval: float = 5.0, heartbeat_timeout: float = 10.0, request_timeout: float = 5.0) -> None:
        super().__init__(heartbeat_interval=heartbeat_interval, heartbeat_timeout=heartbeat_timeout, request_timeout=request_timeout)
        self.said = list[tuple[str | None, messages.Message]]()

    async def carry(self, config: Config, task_status: trio.TaskStatus[None]) -> None:
        task_status.started()
        await trio.sleep_forever()

    def publish(self, adapter: NodeAdapter, payload: bytes) -> None:
        self.said.append((None, codec.decode(payload, LIMITS)))

    def respond(self, adapter: NodeAdapter, uid: str, payload: bytes) -> None:
        self.said.append((uid, codec.decode(payload, LIMITS)))

    def adapter(self, namespace: str = "/") -> NodeAdapter:
        return self._adapters[namespace]

    def all_said(self, kind: type[M], to: str | None = None) -> list[M]:
        """Return all messages of that kind; ``to``: which are answers for that adapter."""
        return [message for uid, message in self.said if type(message) is kind and uid == to and isinstance(message, kind)]

    def last_said(self, kind: type[M], to: str | None = None) -> M:
        return self.all_said(kind, to)[-1]


class Peer:
    """Another server, which says what the test lets it say.

    Args:
      cluster: To whom.
      uid: What it calls itself.
      counts: Whether it numbers what it publishes, as Node's do not.
    """

    def __init__(self, cluster: StubCluster, uid: str = "peer", *, counts: bool = True) -> None:
        self.cluster = cluster
        self.uid = uid
        self.number: int | None = 0 if counts else None
        self._answers = 0

    def publish(self, kind: type[messages.Message], **fields: Any) -> None:
        if self.number is not None:
            self.number += 1
        self.send(kind, number=self.number, **fields)

    def send(self, kind: type[messages.Message], *, namespace: str = "/", **fields: Any) -> None:
        """Say something without a number, or with one of its own."""
        self.cluster.received(namespace, codec.encode(kind(uid=self.uid, namespace=namespace, **fields), LIMITS))

    def emit(self, *event: object, **fields: Any) -> None:
        self.publish(messages.Broadcast, event=event, options=EVERYBODY, **fields)


@asynccontextmanager
async def open_node(config: Config | None = None, **parameters: float) -> AsyncIterator[tuple[Fleet, StubCluster]]:
    """Run one server."""
    cluster = StubCluster(**parameters)
    async with open_fleet([cluster], config) as fleet:
        yield fleet, cluster

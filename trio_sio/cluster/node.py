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

import secrets
from abc import abstractmethod
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import trio

from ..errors import BusMessageError, DecodeError, EncodeError
from ..log import get_logger
from ..namespaces.adapter import Broadcast, Cluster, FoundSockets, InMemoryAdapter, Target
from . import messages
from .bad import BadMessages
from .fields import SocketDetails
from .peers import Peers
from .relay import Relays
from .requests import Collected, EmittedToClients, EmittedToServers, Requests
from .translation import answer_of, broadcast_from, options_of, target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ..namespaces.adapter import BroadcastAnswers, Config, Namespace

__all__ = ["NodeAdapter", "NodeCluster"]

logger = get_logger("trio_sio.cluster")

TICK: Final = 1.0  # seconds between two looks at who is gone and what is due
SETTLING: Final = 0.25  # seconds within which others have answered a newcomer


class NodeCluster(Cluster):
    """A cluster whose servers know each other.

    Args:
      heartbeat_interval: Seconds of silence after which a server says that it lives.
      heartbeat_timeout: Seconds of silence after which it counts as dead.
      request_timeout: Seconds that `fetch_sockets` and its like wait for the others.

    Attributes:
      bad_messages: How many messages were dropped, by what was wrong with them.
    """

    def __init__(self, *, heartbeat_interval: float = 5.0, heartbeat_timeout: float = 10.0, request_timeout: float = 5.0) -> None:
        super().__init__()
        self.heartbeat_interval = heartbeat_interval
        self.heartbeat_timeout = heartbeat_timeout
        self.request_timeout = request_timeout
        self.bad_messages = BadMessages()
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

    def opened(self, adapter: NodeAdapter) -> None:
        """Begin to listen for ``adapter``; called while this runs."""

    def closed(self, adapter: NodeAdapter) -> None:
        """Listen for ``adapter`` no longer, likewise."""

    def received(self, namespace: str, payload: bytes) -> None:
        """Take what has come for a namespace; the bus calls this."""
        adapter = self._adapters.get(namespace)
        if adapter is None:
            return
        try:
            adapter.receive(messages.decode(payload, adapter.limits))
        except BusMessageError as error:
            self.bad_messages.drop(error.kind, error)
        except (DecodeError, EncodeError) as error:
            self.bad_messages.drop("undeliverable", error)
        except Exception:
            logger.exception("A message of another server failed; it is dropped.")
            self.bad_messages["failed"] += 1

    # What the server does.

    def attach(self, namespace: Namespace) -> NodeAdapter:
        """See `Cluster.attach`."""
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

    def knows(self, namespace: str, uid: str) -> bool:
        """Tell whether ``uid`` is the adapter of ``namespace`` here."""
        adapter = self._adapters.get(namespace)
        return adapter is not None and adapter.uid == uid

    async def server_count(self) -> int:
        """See `Cluster.server_count`."""
        await trio.lowlevel.checkpoint()
        return 1 + max((len(adapter.peers) for adapter in self._adapters.values()), default=0)

    def knows_as_many(self, peers: Peers) -> bool:
        """Tell whether ``peers`` are as many as any adapter knows."""
        return all(len(peers) >= len(adapter.peers) for adapter in self._adapters.values())


class NodeAdapter(InMemoryAdapter):
    """One namespace of one server among others.

    Args:
      namespace: The namespace.
      cluster: What carries its messages.

    Attributes:
      name: The namespace's name.
      uid: What it calls itself on the bus.
      limits: What is accepted of others.
      peers: The others.
    """

    def __init__(self, namespace: Namespace, cluster: NodeCluster) -> None:
        super().__init__(namespace)
        self.name = namespace.name
        self.uid = secrets.token_hex(16)
        self.limits = namespace.config.limits
        self.peers = Peers(cluster.heartbeat_timeout)
        self._cluster = cluster
        self._requests = Requests()
        self._relays = Relays()
        self._number = 0
        self._said_at = 0.0
        self._settles_at = 0.0
        self._newcomers = trio.lowlevel.ParkingLot()

    # Its life.

    def begin(self) -> None:
        """Say hello."""
        self._settles_at = trio.current_time() + SETTLING
        self._publish(messages.InitialHeartbeat)

    def close(self) -> None:
        """See `Adapter.close`: say goodbye."""
        self._publish(messages.AdapterClose)
        self._relays.close()
        self._cluster.detach(self)

    def tick(self) -> None:
        """Look at who is gone, and say that this one is not."""
        for uid in self.peers.dead():
            logger.info("Server %.80r of namespace %.80r is silent: it counts as dead.", uid, self.name)
            self._lose(uid)
        self._relays.expire()
        if trio.current_time() - self._said_at >= self._cluster.heartbeat_interval:
            self._publish(messages.Heartbeat)

    async def settled(self) -> None:
        """See `Adapter.settled`."""
        if trio.current_time() < self._settles_at:
            with trio.move_on_at(self._settles_at):
                while not (len(self.peers) and self._cluster.knows_as_many(self.peers)):
                    await self._newcomers.park()

    def _lose(self, uid: str) -> None:
        if self.peers.forget(uid):
            self._requests.lose(uid)
            self._relays.lose(uid)

    # Out.

    def broadcast(self, broadcast: Broadcast) -> None:
        """See `Adapter.broadcast`."""
        if broadcast.target.local:
            self._namespace.deliver(broadcast)
            return
        send = self._prepare(messages.Broadcast, event=tuple(broadcast.event), options=options_of(broadcast.target, broadcast.flags))
        self._namespace.deliver(broadcast, send)

    def broadcast_with_ack(self, broadcast: Broadcast, answers: BroadcastAnswers) -> None:
        """See `Adapter.broadcast_with_ack`."""
        if broadcast.target.local:
            super().broadcast_with_ack(broadcast, answers)
            return
        number = self._wait_for(EmittedToClients(self.peers, answers), answers)
        options = options_of(broadcast.target, broadcast.flags)
        send = self._prepare(messages.Broadcast, event=tuple(broadcast.event), options=options, request_id=number)
        answers.wait_for(self._namespace.ask(broadcast, answers, send))

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """See `Adapter.server_side_emit`."""
        number = None if answers is None else self._wait_for(EmittedToServers(self.peers, answers), answers)
        self._prepare(messages.ServerSideEmit, event=tuple(event), request_id=number)()

    def _wait_for(self, request: EmittedToClients | EmittedToServers, answers: BroadcastAnswers) -> str:
        number = self._requests.open(request)
        request.on_close = partial(self._requests.close, number)
        answers.wait_for(request)
        return number

    async def fetch_sockets(self, target: Target) -> FoundSockets:
        """See `Adapter.fetch_sockets`."""
        found = await super().fetch_sockets(target)
        if target.local:
            return found
        details, found.missing = await self._fetch(target)
        namespace = self._namespace
        for one in details:
            try:
                found.append(namespace.remote_socket(one.id, one.handshake, one.rooms, one.data))
            except DecodeError as error:
                self._cluster.bad_messages["schema"] += 1
                logger.debug("A socket of another server is left out: %s", error)
        return found

    async def count_sockets(self, target: Target) -> int:
        """See `Adapter.count_sockets`."""
        count = await super().count_sockets(target)
        return count if target.local else count + len((await self._fetch(target))[0])

    async def _fetch(self, target: Target) -> tuple[list[SocketDetails], tuple[str, ...]]:
        await self.settled()
        request = Collected[tuple[SocketDetails, ...]](self.peers)
        number = self._requests.open(request)
        try:
            self._publish(messages.FetchSockets, options=options_of(target), request_id=number)
            await request.wait(self._cluster.request_timeout)
        finally:
            self._requests.close(number)
        if request.missing:
            logger.warning("%d servers of namespace %.80r did not say which sockets they have.", len(request.missing), self.name)
        return [socket for sockets in request.answers for socket in sockets], tuple(request.missing)

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.add_sockets`."""
        await super().add_sockets(target, rooms)
        self._publish_unless_local(target, messages.SocketsJoin, rooms=frozenset(rooms))

    async def remove_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.remove_sockets`."""
        await super().remove_sockets(target, rooms)
        self._publish_unless_local(target, messages.SocketsLeave, rooms=frozenset(rooms))

    async def disconnect_sockets(self, target: Target, *, close: bool, reason: str | None) -> None:
        """See `Adapter.disconnect_sockets`."""
        await super().disconnect_sockets(target, close=close, reason=reason)
        self._publish_unless_local(target, messages.DisconnectSockets, close=close)

    def _publish_unless_local(self, target: Target, kind: type[messages.Message], **fields: Any) -> None:
        if not target.local:
            self._publish(kind, options=options_of(target), **fields)

    def _publish(self, kind: type[messages.Message], **fields: Any) -> None:
        self._prepare(kind, **fields)()

    def _prepare(self, kind: type[messages.Message], **fields: Any) -> Callable[[], None]:
        """Encode a message; return what publishes it, which is to be called before another one is prepared.

        Raises:
          EncodeError: if it cannot be encoded.
        """
        number = self._number + 1
        payload = messages.encode(kind(uid=self.uid, namespace=self.name, number=number, **fields), self.limits)

        def send() -> None:
            self._number = number
            self._said_at = trio.current_time()
            self._cluster.publish(self, payload)

        return send

    def respond(self, uid: str, kind: type[messages.Message], **fields: Any) -> None:
        """Answer the adapter ``uid``; what cannot be encoded is one line in the log."""
        try:
            payload = messages.encode(kind(uid=self.uid, namespace=self.name, **fields), self.limits)
        except EncodeError:
            logger.exception("An answer to another server cannot be sent.")
        else:
            self._cluster.respond(self, uid, payload)

    # In.

    def receive(self, message: messages.Message) -> None:
        """Take a message.

        Raises:
          EncodeError: if it is an event that cannot be sent to the clients of this server.
        """
        uid = message.uid
        if uid == self.uid or message.namespace != self.name:
            return
        if uid != messages.EMITTER:
            if self.peers.heard(uid):
                logger.info("Namespace %.80r has found server %.80r.", self.name, uid)
                self._newcomers.unpark_all()
            is_answer = isinstance(message, messages.BroadcastAck | messages.AnswerLost)
            if message.number is not None and not is_answer and not self._is_next(uid, message.number):
                return
        match message:
            case messages.Broadcast(request_id=None):
                self._namespace.deliver(broadcast_from(message.event, message.options))
            case messages.Broadcast():
                self._ask(message)
            case messages.InitialHeartbeat():
                self._publish(messages.Heartbeat)
            case messages.AdapterClose():
                self._lose(uid)
            case messages.ServerSideEmit():
                number = message.request_id
                reply = None if number is None else partial(self._answer, uid, number)
                self._namespace.server_side_event(str(message.event[0]), message.event[1:], reply)
            case messages.FetchSockets():
                sockets = [SocketDetails(**self._namespace.describe(one)) for one in self.members(target_of(message.options))]
                self.respond(uid, messages.FetchSocketsResponse, request_id=message.request_id, sockets=tuple(sockets))
            case messages.SocketsJoin() | messages.SocketsLeave() | messages.DisconnectSockets():
                self._command(message)
            case messages.UnknownMessage():
                self._cluster.bad_messages["unknown"] += 1
            case _:
                self._take_answer(uid, message)

    def _is_next(self, uid: str, number: int) -> bool:
        missing = self.peers.numbered(uid, number)
        if missing > 0:
            self._cluster.has_gap(f"{missing} messages of server {uid:.80} for namespace {self.name:.80} are lost.")
        return missing >= 0

    def _ask(self, message: messages.Broadcast) -> None:
        assert message.request_id is not None
        timeout = message.options.flags.timeout
        if timeout is None:
            timeout = self._namespace.config.ack_timeout
        relay = self._relays.open(message.uid, message.request_id, partial(self.respond, message.uid), timeout)
        if relay is None and self._relays.knows(message.uid, message.request_id):
            return
        if relay is None:
            self._cluster.has_gap("Other servers ask more than can be remembered; some answers will be missing.")
            self.respond(message.uid, messages.BroadcastClientCount, request_id=message.request_id, count=0)
        else:
            relay.questions = self._namespace.ask(broadcast_from(message.event, message.options), relay)

    def _answer(self, uid: str, number: str, values: tuple[object, ...]) -> None:
        self.respond(uid, messages.ServerSideEmitResponse, request_id=number, value=answer_of(values))

    def _command(self, message: messages.SocketsJoin | messages.SocketsLeave | messages.DisconnectSockets) -> None:
        target = target_of(message.options)
        match message:
            case messages.SocketsLeave():
                self.leave_members(target, tuple(message.rooms))
            case messages.SocketsJoin():
                self.join_members(target, tuple(message.rooms))
            case _:
                self.disconnect_members(target, close=message.close, reason=None)

    def _take_answer(self, uid: str, message: messages.Message) -> None:
        request = self._requests.get(getattr(message, "request_id", ""))
        match message, request:
            case messages.FetchSocketsResponse(), Collected():
                request.arrive(uid, message.sockets)
            case messages.BroadcastClientCount(), EmittedToClients():
                request.count(uid, message.count)
            case messages.BroadcastAck(), EmittedToClients():
                request.arrive(uid, message.value, message.number)
            case messages.AnswerLost(), EmittedToClients():
                request.lose_client(uid, message.number)
            case messages.ServerSideEmitResponse(), EmittedToServers():
                request.arrive(uid, message.value)
            case messages.Heartbeat(), _:
                pass
            case _:
                logger.debug("An answer of server %.80r comes too late, or nobody has asked: %.200r", uid, message)

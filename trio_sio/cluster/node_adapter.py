"""One namespace of one server whose cluster carries the messages of Node's ``ClusterAdapter``; see `node`."""

from __future__ import annotations

import weakref
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

import trio

from ..errors import EncodeError
from ..log import get_logger
from ..namespaces.adapter import Broadcast, Target
from . import codec, messages
from .asking import AskingAdapter
from .leaving import LeavingRecovery
from .moving import Knowledge
from .peers import Peers
from .publication import Publication
from .requests import Collected, EmittedToClients, EmittedToServers, Requests
from .translation import answer_of, options_of, target_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from ..namespaces.adapter import BroadcastAnswers, Namespace, Recovery
    from .node import NodeCluster

__all__ = ["NodeAdapter"]

logger = get_logger("trio_sio.cluster")

T = TypeVar("T")

SETTLING: Final = 0.25  # seconds within which others have answered a newcomer

_ANSWERS: Final = (
    messages.BroadcastAck,
    messages.AnswerLost,
    messages.BroadcastClientCount,
    messages.FetchSocketsResponse,
    messages.ServerSideEmitResponse,
)

_FOR_RECOVERY: Final = (messages.FindSession, messages.FoundSession, messages.HandOver, messages.OpenNamespace, messages.Taken)


class NodeAdapter(AskingAdapter):
    """One namespace of one server among others.

    Args:
      namespace: The namespace.
      cluster: What carries its messages.

    Attributes:
      peers: The others.
      began: Since when it listens.
      request_timeout: Seconds that others have for an answer.
      is_closed: Whether its namespace is used no more.
    """

    _shared: LeavingRecovery | None = None

    def __init__(self, namespace: Namespace, cluster: NodeCluster) -> None:
        super().__init__(namespace, cluster)
        self.peers = Peers(cluster.heartbeat_timeout)
        self.began = 0.0
        self.request_timeout = cluster.request_timeout
        self.is_closed = False
        self._cluster = cluster
        self._number = 0
        self._unsent: Publication | None = None
        self._said_at = 0.0
        self._settles_at = 0.0
        self._newcomers = trio.lowlevel.ParkingLot()
        self._listeners = trio.lowlevel.ParkingLot()

    def _make_recovery(self, namespace: Namespace, recovery: Recovery) -> LeavingRecovery:
        self._shared = LeavingRecovery(namespace, recovery, weakref.proxy(self))
        return self._shared

    # Its life.

    def begin(self) -> None:
        """Say hello."""
        self.began = trio.current_time()
        self._settles_at = self.began + SETTLING
        self._publish(messages.InitialHeartbeat)

    def close(self) -> None:
        """See `Adapter.close`: say goodbye; whoever still asks something here has what came until now."""
        self.is_closed = True
        try:
            self._publish(messages.AdapterClose)
        finally:
            self._listeners.unpark_all()
            for uid in self.peers:
                self._requests.lose(uid, is_dead=True)
            self._settles_at = 0.0
            self._newcomers.unpark_all()
            self._relays.close()
            self._cluster.detach(self)

    def tick(self) -> None:
        """Say that this one is there, and look at who is gone."""
        # In this order: what is given up may be the last that its namespace was used for, and it says goodbye.
        if trio.current_time() - self._said_at >= self._cluster.heartbeat_interval:
            self._publish(messages.Heartbeat)
        for uid in self.peers.dead():
            logger.info("Server %.80r of namespace %.80r is silent: it counts as dead.", uid, self.name)
            self._lose(uid, is_dead=True)
        self._relays.expire()
        if self._shared is not None and not self.is_closed:
            self._shared.tick()

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep this in the block, during which its namespace may come to be used no more."""
        yield

    async def settled(self) -> None:
        """See `Adapter.settled`."""
        with trio.move_on_at(self._settles_at):
            while trio.current_time() < self._settles_at and not (len(self.peers) and self._cluster.knows_as_many(self.peers)):
                await self._newcomers.park()

    def _lose(self, uid: str, *, is_dead: bool) -> None:
        if self.peers.forget(uid, is_dead=is_dead):
            self._requests.lose(uid, is_dead=is_dead)
            self._relays.lose(uid)
            if self._shared is not None:
                self._shared.lose(uid, is_dead=is_dead)
            self._listeners.unpark_all()

    # Out.

    def broadcast(self, broadcast: Broadcast) -> None:
        """See `Adapter.broadcast`."""
        if broadcast.target.local:
            self._namespace.deliver(broadcast)
            return
        options = self.options_of(broadcast)
        try:
            send = self._prepare(messages.Broadcast, event=tuple(broadcast.event), options=options)
            with send:
                self._namespace.deliver(broadcast, send, (self.uid, send.number))
        except BaseException as error:
            self.failed(broadcast, error)
            raise

    def broadcast_with_ack(self, broadcast: Broadcast, answers: BroadcastAnswers) -> None:
        """See `Adapter.broadcast_with_ack`."""
        if broadcast.target.local:
            super().broadcast_with_ack(broadcast, answers)
            return
        number = self.wait_for(EmittedToClients(self.peers, answers), answers)
        options = self.options_of(broadcast)
        send = self._prepare(messages.Broadcast, event=tuple(broadcast.event), options=options, request_id=number)
        with send:
            answers.wait_for(self._namespace.ask(broadcast, answers, send))

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """See `Adapter.server_side_emit`."""
        number = None if answers is None else self.wait_for(EmittedToServers(self.peers, answers), answers)
        self._prepare(messages.ServerSideEmit, event=tuple(event), request_id=number)()

    def others(self) -> Iterable[str]:
        """See `AskingAdapter.others`."""
        return self.peers

    def ask_for_sockets(self, target: Target, number: str) -> None:
        """See `AskingAdapter.ask_for_sockets`."""
        self._publish(messages.FetchSockets, options=options_of(target), request_id=number)

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.add_sockets`."""
        with self._command(target, messages.SocketsJoin, rooms=frozenset(rooms)):
            await super().add_sockets(target, rooms)

    async def remove_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.remove_sockets`."""
        with self._command(target, messages.SocketsLeave, rooms=frozenset(rooms)):
            await super().remove_sockets(target, rooms)

    async def disconnect_sockets(self, target: Target, *, close: bool, reason: str | None) -> None:
        """See `Adapter.disconnect_sockets`."""
        with self._command(target, messages.DisconnectSockets, close=close):
            await super().disconnect_sockets(target, close=close, reason=reason)

    def _command(self, target: Target, kind: type[messages.Message], **fields: Any) -> AbstractContextManager[object]:
        return nullcontext() if target.local else self._prepare(kind, options=options_of(target), **fields)

    def _publish(self, kind: type[messages.Message], **fields: Any) -> None:
        self._prepare(kind, **fields)()

    def _prepare(self, kind: type[messages.Message], **fields: Any) -> Publication:
        """Encode a message; return what publishes it.

        Raises:
          EncodeError: if it cannot be encoded.
        """
        if self._unsent is not None:
            self._unsent()
        number = self._number + 1
        return Publication(self, number, codec.encode(kind(uid=self.uid, namespace=self.name, number=number, **fields), self.limits))

    def begin_to_send(self, publication: Publication | None) -> None:
        """Let ``publication`` leave before whatever the application says meanwhile."""
        self._unsent = publication

    def send_now(self, number: int, payload: bytes) -> None:
        """Publish what is numbered."""
        self._number = number
        self._said_at = trio.current_time()
        self._cluster.publish(self, payload)

    def respond(self, uid: str, kind: type[messages.Message], **fields: Any) -> bool:
        """Answer the adapter ``uid``; tell whether that can be encoded: if not, that is one line in the log."""
        try:
            payload = codec.encode(kind(uid=self.uid, namespace=self.name, **fields), self.limits)
        except EncodeError as error:
            logger.warning("An answer to another server cannot be sent: %s", error)
            return False
        self._cluster.respond(self, uid, payload)
        return True

    # In.

    def take(self, payload: bytes) -> None:
        """Take what has come over the bus.

        Raises:
          BusMessageError: if it is no message.
        """
        self.receive(codec.decode(payload, self.limits))

    def receive(self, message: messages.Message) -> None:
        """Take a message.

        Raises:
          EncodeError: if it is an event that cannot be sent to the clients of this server.
          DecodeError: if it is something that cannot be done here.
        """
        uid = message.uid
        if uid == self.uid or message.namespace != self.name:
            return
        if isinstance(message, _FOR_RECOVERY):
            self._recover(message)
            return
        if isinstance(message, _ANSWERS):
            # It may have overtaken a goodbye, or be overtaken: only what is published to all says that a server is there.
            if uid in self.peers:
                self.peers.heard(uid)
            self._take_answer(uid, message)
            return
        if uid != messages.EMITTER:
            if self.peers.heard(uid):
                logger.info("Namespace %.80r has found server %.80r.", self.name, uid)
                self._newcomers.unpark_all()
            if message.number is not None and not self._is_next(uid, message.number):
                return
        match message:
            case messages.Broadcast(request_id=None):
                self.deliver(message.event, message.options, (uid, message.number))
            case messages.Broadcast(request_id=str(number)):
                self.ask_clients(uid, number, message.event, message.options, partial(self.respond, uid))
            case messages.InitialHeartbeat():
                self._publish(messages.Heartbeat)
            case messages.Heartbeat():
                pass
            case messages.AdapterClose():
                self._lose(uid, is_dead=False)
            case messages.ServerSideEmit():
                reply = None if message.request_id is None else partial(self._answer, uid, message.request_id)
                self._namespace.server_side_event(str(message.event[0]), message.event[1:], reply)
            case messages.FetchSockets():
                self.respond(uid, messages.FetchSocketsResponse, request_id=message.request_id, sockets=self.described(message.options))
            case messages.SocketsJoin() | messages.SocketsLeave() | messages.DisconnectSockets():
                self._obey(message)
            case _:
                self._cluster.bad_messages["unknown"] += 1

    # Clients that come back to another server; see recovery.py.

    @property
    def requests(self) -> Requests:
        """What is asked of others here."""
        return self._requests

    def knowledge(self) -> Knowledge:
        """Return what has been heard here until now, and published."""
        heard = self.peers.heard_of_all()
        heard[self.uid] = self._number
        return Knowledge(heard=heard, gone=self.peers.heard_of_the_gone())

    async def news(self) -> None:
        """Wait until something else has come from others."""
        await self._listeners.park()

    def _recover(self, message: messages.Message) -> None:
        match message, self._shared:
            case _, None:
                pass
            case messages.FindSession(), shared:
                shared.asked(message)
            case messages.FoundSession(), shared:
                shared.arrived(message)
            case messages.HandOver(), shared:
                shared.offered(message)
            case messages.Taken(), shared:
                shared.taken(message)
            case messages.OpenNamespace(), shared:
                shared.invited(message)

    def open(self, name: str) -> bool:
        """Let a namespace of this server be as if a client came to it; tell whether it could."""
        return self._namespace.open_as_for_a_client(name)

    def invitations(self) -> list[Callable[[], object]]:
        """Return what lets each other server begin to use this namespace, where not all do; who came last is first."""
        return [partial(other.respond, uid, messages.OpenNamespace, name=self.name) for other, uid in self._cluster.beyond(self.peers)]

    async def hand_over(self) -> None:
        """See `Cluster.hand_over`."""
        if self._shared is not None:
            await self._shared.hand_over()

    def _is_next(self, uid: str, number: int) -> bool:
        missing = self.peers.numbered(uid, number)
        if self._listeners:
            self._listeners.unpark_all()
        if missing > 0:
            if self._shared is not None:
                self._shared.log.has_missed()
            self._cluster.has_gap(f"{missing} messages of server {uid:.80} for namespace {self.name:.80} are lost.")
        elif missing < 0:
            self._cluster.bad_messages["duplicate"] += 1
        return missing >= 0

    def _answer(self, uid: str, number: str, values: tuple[object, ...]) -> None:
        self.respond(uid, messages.ServerSideEmitResponse, request_id=number, value=answer_of(values))

    def _obey(self, message: messages.SocketsJoin | messages.SocketsLeave | messages.DisconnectSockets) -> None:
        target = target_of(message.options)
        match message:
            case messages.SocketsLeave():
                self.leave_members(target, tuple(message.rooms))
            case messages.SocketsJoin():
                self.join_as_told(message.options, message.rooms)
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
            case _:
                self._cluster.bad_messages["late"] += 1
                logger.debug("An answer of server %.80r comes too late, or nobody has asked: %.200r", uid, message)

"""One namespace on a Redis that it shares with Node's ``@socket.io/redis-adapter``, version 8 and before, and with ours.

Theory of operation
===================

What one server publishes on the channels of a namespace (see `channels`), all hear, also itself: it knows its own by the uid in
front. An event goes to the local clients first and to Redis then, and nobody waits for it. Who asks something asks Redis how many
servers listen and waits for so many answers; these do not say whose they are, so of those who are missing only the number is known.

In three things this is not as Node's adapter: local sockets join, leave and are disconnected at once, whether Redis is there or not;
a question that not all have answered ends with what came; and of a client that is gone before it answers the others are told, which
Node's servers ignore.
https://github.com/socketio/socket.io-redis-adapter/blob/main/lib/index.ts
"""

from __future__ import annotations

import secrets
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from ...errors import BusMessageError, BusUnavailable, DecodeError, EncodeError
from ...log import get_logger
from ...namespaces.adapter import FoundSockets, InMemoryAdapter, Target
from ...protocol import notepack
from .. import messages
from ..fields import SocketDetails
from ..relay import Relays
from ..requests import Collected, EmittedToClients, EmittedToServers, Requests
from ..translation import answer_of, broadcast_from, options_of, target_of
from . import codec, requests
from .channels import Channels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...namespaces.adapter import Broadcast, BroadcastAnswers, Namespace
    from .cluster import RedisCluster

__all__ = ["ClassicAdapter"]

logger = get_logger("trio_sio.cluster")

# What a relay says, as it is written here.
_ANSWERS: Final[dict[type[messages.Message], type[requests.Response]]] = {
    messages.BroadcastClientCount: requests.BroadcastClientCount,
    messages.BroadcastAck: requests.BroadcastAck,
    messages.AnswerLost: requests.AnswerLost,
}


class ClassicAdapter(InMemoryAdapter):
    """One namespace of one server.

    Args:
      namespace: The namespace.
      cluster: Whose Redis it is.

    Attributes:
      uid: What it calls itself.
    """

    def __init__(self, namespace: Namespace, cluster: RedisCluster) -> None:
        super().__init__(namespace)
        self.uid = secrets.token_hex(16)
        self._name = namespace.name
        self._limits = namespace.config.limits
        self._cluster = cluster
        self._pubsub = cluster.pubsub
        self._channels = channels = Channels(cluster.key, namespace.name)
        self._own = b"\x93" + notepack.dumps(self.uid)  # how its broadcasts begin
        self._others = 0
        self._requests = Requests()
        self._relays = Relays()
        self._pubsub.psubscribe(channels.pattern, self._take_broadcast)
        self._pubsub.subscribe(channels.requests, self._take_request)
        self._pubsub.subscribe(channels.responses, self._take_response)
        self._pubsub.subscribe(channels.responses_to(self.uid), self._take_response)

    # Its life.

    def close(self) -> None:
        """See `Adapter.close`."""
        self._relays.close()
        self._cluster.detach(self)
        channels = self._channels
        self._pubsub.punsubscribe(channels.pattern)
        for channel in (channels.requests, channels.responses, channels.responses_to(self.uid)):
            self._pubsub.unsubscribe(channel)

    def tick(self) -> None:
        """Forget questions that nobody waits for any more."""
        self._relays.expire()

    async def settled(self) -> None:
        """See `Adapter.settled`: ask Redis how many servers listen."""
        try:
            self._others = await self._cluster.listeners(self._channels.requests) - 1
        except BusUnavailable as error:
            logger.debug("Nobody else is asked: %s", error)
            self._others = 0

    @property
    def _peers(self) -> Sequence[str]:
        return [f"server {number + 1} of {self._others}" for number in range(self._others)]

    # Out.

    def broadcast(self, broadcast: Broadcast) -> None:
        """See `Adapter.broadcast`."""
        target = broadcast.target
        if target.local:
            self._namespace.deliver(broadcast)
            return
        channel = self._channels.room(*target.rooms) if len(target.rooms) == 1 else self._channels.broadcasts
        payload = codec.encode_broadcast(
            requests.Broadcast(
                uid=self.uid, namespace=self._name, event=tuple(broadcast.event), options=options_of(target, broadcast.flags)
            ),
            self._limits,
        )
        self._namespace.deliver(broadcast, partial(self._pubsub.publish_nowait, channel, payload))

    def broadcast_with_ack(self, broadcast: Broadcast, answers: BroadcastAnswers) -> None:
        """See `Adapter.broadcast_with_ack`."""
        if broadcast.target.local:
            super().broadcast_with_ack(broadcast, answers)
            return
        options = options_of(broadcast.target, broadcast.flags)
        number = self._wait_for(EmittedToClients(self._peers, answers), answers)
        ask = self._prepare(
            requests.BroadcastRequest, request_id=number, namespace=self._name, event=tuple(broadcast.event), options=options
        )
        answers.wait_for(self._namespace.ask(broadcast, answers, ask))

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """See `Adapter.server_side_emit`."""
        number = None if answers is None else self._wait_for(EmittedToServers(self._peers, answers), answers)
        self._prepare(requests.ServerSideEmit, request_id=number, event=tuple(event))()

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
        for one in details:
            try:
                found.append(self._namespace.remote_socket(one.id, one.handshake, one.rooms, one.data))
            except DecodeError as error:
                self._cluster.bad_messages.drop("schema", error)
        return found

    async def count_sockets(self, target: Target) -> int:
        """See `Adapter.count_sockets`."""
        count = await super().count_sockets(target)
        return count if target.local else count + len((await self._fetch(target))[0])

    async def _fetch(self, target: Target) -> tuple[list[SocketDetails], tuple[str, ...]]:
        await self.settled()
        if not self._others:
            return [], ()
        request = Collected[tuple[SocketDetails, ...]](self._peers)
        number = self._requests.open(request)
        try:
            self._prepare(requests.Fetch, request_id=number, options=options_of(target))()
            await request.wait(self._cluster.request_timeout)
        finally:
            self._requests.close(number)
        if request.missing:
            logger.warning("%d servers of namespace %.80r did not say which sockets they have.", len(request.missing), self._name)
        return [socket for sockets in request.answers for socket in sockets], tuple(request.missing)

    async def add_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.add_sockets`."""
        await super().add_sockets(target, rooms)
        self._command(target, requests.Join, rooms=frozenset(rooms))

    async def remove_sockets(self, target: Target, rooms: Sequence[str]) -> None:
        """See `Adapter.remove_sockets`."""
        await super().remove_sockets(target, rooms)
        self._command(target, requests.Leave, rooms=frozenset(rooms))

    async def disconnect_sockets(self, target: Target, *, close: bool, reason: str | None) -> None:
        """See `Adapter.disconnect_sockets`."""
        await super().disconnect_sockets(target, close=close, reason=reason)
        self._command(target, requests.Disconnect, close=close)

    def _command(self, target: Target, kind: type[requests.Request], **fields: Any) -> None:
        if not target.local:
            self._prepare(kind, options=options_of(target), **fields)()

    def _prepare(self, kind: type[requests.Request], **fields: Any) -> Callable[[], object]:
        """Encode a request; return what publishes it.

        Raises:
          EncodeError: if it cannot be encoded.
        """
        payload = codec.encode_request(kind(uid=self.uid, **fields), self._limits)
        return partial(self._pubsub.publish_nowait, self._channels.requests, payload)

    def _respond(self, uid: str | None, kind: type[requests.Response], **fields: Any) -> None:
        try:
            payload = codec.encode_response(kind(**fields), self._limits)
        except EncodeError:
            logger.exception("An answer to another server cannot be sent.")
            return
        channel = self._channels.responses
        if uid is not None and self._cluster.specific_response_channel and kind is not requests.ServerSideEmitResponse:
            channel = self._channels.responses_to(uid)
        self._pubsub.publish_nowait(channel, payload)

    # In.

    def _take_broadcast(self, channel: str, payload: bytes) -> None:
        if payload.startswith(self._own):
            return
        room = self._channels.room_of(channel)
        if room is None or (room and not self._is_wanted(room)):
            return
        self._take(self._deliver, codec.decode_broadcast, payload)

    def _is_wanted(self, room: str) -> bool:
        """Tell whether somebody here might hear what is for ``room``: a member, one who is away, or a task."""
        namespace = self._namespace
        return bool(room in self._members or room in namespace.connected or namespace.taps or self.recovery is not None)

    def _deliver(self, broadcast: requests.Broadcast) -> None:
        if broadcast.uid != self.uid and broadcast.namespace == self._name:
            self._namespace.deliver(broadcast_from(broadcast.event, broadcast.options))

    def _take_request(self, channel: str, payload: bytes) -> None:
        self._take(self._do, codec.decode_request, payload)

    def _take_response(self, channel: str, payload: bytes) -> None:
        self._take(self._settle, codec.decode_response, payload)

    def _take(self, act: Callable[[Any], None], decode: Callable[..., object], payload: bytes) -> None:
        try:
            act(decode(payload, self._limits))
        except BusMessageError as error:
            self._cluster.bad_messages.drop(error.kind, error)
        except (DecodeError, EncodeError) as error:
            self._cluster.bad_messages.drop("undeliverable", error)
        except Exception:
            logger.exception("A message of another server failed; it is dropped.")
            self._cluster.bad_messages["failed"] += 1

    def _do(self, request: requests.Request) -> None:
        uid, number = request.uid, request.request_id
        if uid == self.uid:
            return
        match request:
            case requests.BroadcastRequest():
                if request.namespace == self._name:
                    self._ask(request)
            case requests.ServerSideEmit():
                reply = None if number is None else partial(self._answer, uid, number)
                self._namespace.server_side_event(str(request.event[0]), request.event[1:], reply)
            case requests.Fetch():
                sockets = [SocketDetails(**self._namespace.describe(one)) for one in self.members(target_of(request.options))]
                self._respond(uid, requests.SocketsResponse, request_id=number, sockets=tuple(sockets))
            case requests.SocketIds():
                members = self.members(Target(rooms=request.rooms, local=True))
                self._respond(uid, requests.SocketsResponse, request_id=number, ids=tuple(socket.id for socket in members))
            case requests.AllRooms():
                rooms = frozenset((*self._members, *self._namespace.connected))
                self._respond(uid, requests.RoomsResponse, request_id=number, rooms=rooms)
            case requests.UnknownRequest():
                self._cluster.bad_messages["unknown"] += 1
            case requests.Join() | requests.Disconnect():
                self._obey(request)

    def _obey(self, request: requests.Join | requests.Disconnect) -> None:
        target = target_of(request.options)
        if request.sid is not None and request.sid not in self._namespace.connected:
            return  # of one socket; its server obeys, and says so
        match request:
            case requests.Leave():
                self.leave_members(target, tuple(request.rooms))
            case requests.Join():
                self.join_members(target, tuple(request.rooms))
            case _:
                self.disconnect_members(target, close=request.close, reason=None)
        if request.sid is not None and request.request_id is not None:
            self._respond(request.uid, requests.Done, request_id=request.request_id)

    def _ask(self, request: requests.BroadcastRequest) -> None:
        uid, number = request.uid or "", request.request_id
        if number is None or self._relays.knows(uid, number):
            return
        timeout = request.options.flags.timeout
        if timeout is None:
            timeout = self._namespace.config.ack_timeout
        relay = self._relays.open(uid, number, partial(self._relay, request.uid), timeout)
        if relay is None:
            self._cluster.has_gap("Other servers ask more than can be remembered; some answers will be missing.")
            self._respond(request.uid, requests.BroadcastClientCount, request_id=number, count=0)
        else:
            relay.questions = self._namespace.ask(broadcast_from(request.event, request.options), relay)

    def _relay(self, uid: str | None, kind: type[messages.Message], *, number: int | None = None, **fields: Any) -> None:
        self._respond(uid, _ANSWERS[kind], **fields)

    def _answer(self, uid: str | None, number: str, values: tuple[object, ...]) -> None:
        self._respond(uid, requests.ServerSideEmitResponse, request_id=number, value=answer_of(values))

    def _settle(self, response: requests.Response) -> None:
        request = self._requests.get(response.request_id)
        match response, request:
            case requests.SocketsResponse(), Collected() if request.missing:
                request.arrive(request.missing[0], response.sockets)
            case requests.ServerSideEmitResponse(), EmittedToServers() if request.missing:
                request.arrive(request.missing[0], response.value)
            case requests.BroadcastClientCount(), EmittedToClients() if request.uncounted:
                request.count(request.uncounted[0], response.count)
            case requests.BroadcastAck(), EmittedToClients() if request.indebted:
                request.arrive(request.indebted[0], response.value, None)
            case requests.AnswerLost(), EmittedToClients() if request.indebted:
                request.lose_client(request.indebted[0], None)
            case requests.UnknownResponse(), _:
                self._cluster.bad_messages["unknown"] += 1
            case _:
                # Every server hears what others have asked, unless they have channels of their own for the answers.
                pass

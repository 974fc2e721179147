"""One namespace on a Redis that it shares with Node's ``@socket.io/redis-adapter``, version 8 and before, and with ours.

Theory of operation
===================

What one server publishes on the channels of a namespace (see `channels`), all hear, also itself: it knows its own by the uid in
front. An event goes to the local clients first and to Redis then, and nobody waits for it. Who asks something asks Redis on the way
how many servers listen, and waits for so many answers. These do not say whose they are, so of those who are missing only the number
is known; and where Redis does not tell, only that there may be some.

In three things this is not as Node's adapter: local sockets join, leave and are disconnected at once, whether Redis is there or not;
a question that not all have answered ends with what came; and of a client that is gone before it answers the others are told, which
Node's servers ignore.
https://github.com/socketio/socket.io-redis-adapter/blob/main/lib/index.ts
"""

from __future__ import annotations

from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Any, Final

import trio

from ...errors import EncodeError
from ...log import get_logger
from ...namespaces.adapter import Target
from ...protocol import notepack
from .. import messages
from ..asking import AskingAdapter
from ..requests import Asked, Collected, EmittedToClients, EmittedToServers
from ..translation import answer_of, options_of, target_of
from . import codec, requests
from .channels import Channels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from ...namespaces.adapter import Broadcast, BroadcastAnswers, Namespace
    from .cluster import RedisCluster

__all__ = ["ClassicAdapter"]

logger = get_logger("trio_sio.cluster")

SETTLING: Final = 0.25  # seconds that an adapter which is new waits until it hears the others

# What a relay says, as it is written here.
_ANSWERS: Final[dict[type[messages.Message], type[requests.Response]]] = {
    messages.BroadcastClientCount: requests.BroadcastClientCount,
    messages.BroadcastAck: requests.BroadcastAck,
    messages.AnswerLost: requests.AnswerLost,
}


class ClassicAdapter(AskingAdapter):
    """One namespace of one server.

    Args:
      namespace: The namespace.
      cluster: Whose Redis it is.

    Attributes:
      uid: What it calls itself.
    """

    def __init__(self, namespace: Namespace, cluster: RedisCluster) -> None:
        super().__init__(namespace, cluster)
        self._cluster = cluster
        self._pubsub = cluster.pubsub
        self._channels = channels = Channels(cluster.key, namespace.name)
        self._own = b"\x93" + notepack.dumps(self.uid)  # how its broadcasts begin
        self._unknown = f"servers that share Redis at {cluster.address}"  # as long as it does not say how many there are
        self._strangers = count()
        self._has_settled = False
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
        """See `Adapter.settled`; what is asked needs no wait, as Redis keeps the order."""
        if self._has_settled or not self._pubsub.connected:
            await trio.lowlevel.checkpoint()
            return
        with trio.move_on_after(SETTLING):
            await self._pubsub.wait_ready()
        self._has_settled = True

    # Whom it asks.

    def others(self) -> Sequence[str]:
        """See `AskingAdapter.others`: as long as Redis does not say how many there are."""
        return [self._unknown]

    def asking(self, request: Asked) -> bool:
        """See `AskingAdapter.asking`: let ``request`` know how many are asked, if there is a Redis that can tell."""

        def answer(listeners: object) -> None:
            match listeners:
                case [_, int(number)]:
                    others = number - 1
                    request.ask(f"server {index + 1} of {others}" for index in range(others))
                    request.lose(self._unknown, is_dead=False)
                case _:
                    logger.debug("Redis does not tell how many servers are asked: %s", listeners)

        return self._pubsub.ask_nowait(answer, "PUBSUB", "NUMSUB", self._channels.requests)

    def _one_of(self, request: Asked, peers: Sequence[str]) -> str:
        """Return one of ``peers`` to whom an answer counts that might be anybody's."""
        if peers[0] != self._unknown:
            return peers[0]
        # How many there are is not known, so there may be more.
        stranger = f"server {next(self._strangers)} that was not counted"
        request.ask([stranger])
        return stranger

    # Out.

    def broadcast(self, broadcast: Broadcast) -> None:
        """See `Adapter.broadcast`."""
        target = broadcast.target
        if target.local:
            self._namespace.deliver(broadcast)
            return
        channel = self._channels.room(*target.rooms) if len(target.rooms) == 1 else self._channels.broadcasts
        options = self.options_of(broadcast)
        try:
            message = requests.Broadcast(uid=self.uid, namespace=self.name, event=tuple(broadcast.event), options=options)
            payload = codec.encode_broadcast(message, self.limits)
            self._namespace.deliver(broadcast, partial(self._pubsub.publish_nowait, channel, payload))
        except BaseException as error:
            self.failed(broadcast, error)
            raise

    def broadcast_with_ack(self, broadcast: Broadcast, answers: BroadcastAnswers) -> None:
        """See `Adapter.broadcast_with_ack`."""
        if broadcast.target.local:
            super().broadcast_with_ack(broadcast, answers)
            return
        options = self.options_of(broadcast)
        number = self.wait_for(EmittedToClients(self.others(), answers), answers)
        ask = self._prepare(
            requests.BroadcastRequest, request_id=number, namespace=self.name, event=tuple(broadcast.event), options=options
        )
        answers.wait_for(self._namespace.ask(broadcast, answers, ask))

    def server_side_emit(self, event: Sequence[object], answers: BroadcastAnswers | None) -> None:
        """See `Adapter.server_side_emit`."""
        number = None if answers is None else self.wait_for(EmittedToServers(self.others(), answers), answers)
        self._prepare(requests.ServerSideEmit, request_id=number, event=tuple(event))()

    def ask_for_sockets(self, target: Target, number: str) -> None:
        """See `AskingAdapter.ask_for_sockets`."""
        self._prepare(requests.Fetch, request_id=number, options=options_of(target))()

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
        payload = codec.encode_request(kind(uid=self.uid, **fields), self.limits)
        return partial(self._pubsub.publish_nowait, self._channels.requests, payload)

    def _respond(self, uid: str | None, kind: type[requests.Response], **fields: Any) -> bool:
        """Answer the server ``uid``; tell whether that can be encoded: if not, that is one line in the log."""
        try:
            payload = codec.encode_response(kind(**fields), self.limits)
        except EncodeError as error:
            logger.warning("An answer to another server cannot be sent: %s", error)
            return False
        channel = self._channels.responses
        if uid is not None and self._cluster.specific_response_channel and kind is not requests.ServerSideEmitResponse:
            channel = self._channels.responses_to(uid)
        self._pubsub.publish_nowait(channel, payload)
        return True

    # In.

    def _take_broadcast(self, channel: str, payload: bytes) -> None:
        if payload.startswith(self._own):
            return
        room = self._channels.room_of(channel)
        if room is None or (room and not self._is_wanted(room)):
            return
        self._cluster.take(self._deliver, payload)

    def _is_wanted(self, room: str) -> bool:
        """Tell whether somebody here might hear what is for ``room``: a member, one who is away, or a task."""
        namespace = self._namespace
        return bool(room in self._members or room in namespace.connected or namespace.is_tapped or self.recovery is not None)

    def _deliver(self, payload: bytes) -> None:
        broadcast = codec.decode_broadcast(payload, self.limits)
        if broadcast.uid != self.uid and broadcast.namespace == self.name:
            self.deliver(broadcast.event, broadcast.options)

    def _take_request(self, channel: str, payload: bytes) -> None:
        self._cluster.take(self._do, payload)

    def _take_response(self, channel: str, payload: bytes) -> None:
        self._cluster.take(self._settle, payload)

    def _do(self, payload: bytes) -> None:
        request = codec.decode_request(payload, self.limits)
        uid, number = request.uid, request.request_id
        if uid == self.uid:
            return
        match request:
            case requests.BroadcastRequest():
                if request.namespace == self.name and number is not None:
                    self.ask_clients(uid or "", number, request.event, request.options, partial(self._relay, uid))
            case requests.ServerSideEmit():
                reply = None if number is None else partial(self._answer, uid, number)
                self._namespace.server_side_event(str(request.event[0]), request.event[1:], reply)
            case requests.Fetch():
                self._respond(uid, requests.SocketsResponse, request_id=number, sockets=self.described(request.options))
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
                self.join_as_told(request.options, request.rooms)
            case _:
                self.disconnect_members(target, close=request.close, reason=None)
        if request.sid is not None and request.request_id is not None:
            self._respond(request.uid, requests.Done, request_id=request.request_id)

    def _relay(self, uid: str | None, kind: type[messages.Message], *, number: int | None = None, **fields: Any) -> bool:
        return self._respond(uid, _ANSWERS[kind], **fields)

    def _answer(self, uid: str | None, number: str, values: tuple[object, ...]) -> None:
        self._respond(uid, requests.ServerSideEmitResponse, request_id=number, value=answer_of(values))

    def _settle(self, payload: bytes) -> None:
        response = codec.decode_response(payload, self.limits)
        request = self._requests.get(response.request_id)
        match response, request:
            case requests.SocketsResponse(), Collected() if request.missing:
                request.arrive(self._one_of(request, request.missing), response.sockets)
            case requests.ServerSideEmitResponse(), EmittedToServers() if request.missing:
                request.arrive(self._one_of(request, request.missing), response.value)
            case requests.BroadcastClientCount(), EmittedToClients() if request.uncounted:
                request.count(self._one_of(request, request.uncounted), response.count)
            case requests.BroadcastAck(), EmittedToClients() if request.indebted:
                request.arrive(request.indebted[0], response.value, None)
            case requests.AnswerLost(), EmittedToClients() if request.indebted:
                request.lose_client(request.indebted[0], None)
            case requests.UnknownResponse(), _:
                self._cluster.bad_messages["unknown"] += 1
            case _:
                # Every server hears what others have asked, unless they have channels of their own for the answers.
                pass

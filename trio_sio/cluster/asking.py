"""What clusters and their adapters share that ask other servers something and are asked, whatever their messages look like."""

from __future__ import annotations

import secrets
from abc import abstractmethod
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from ..errors import BusMessageError, DecodeError, EncodeError
from ..log import get_logger
from ..namespaces.adapter import Broadcast, BusStatistics, Cluster, FoundSockets, InMemoryAdapter, Target
from . import messages
from .bad import BadMessages
from .fields import Options, SocketDetails
from .relay import Relays, Respond
from .requests import Asked, Collected, EmittedToClients, EmittedToServers, Requests
from .translation import broadcast_from, options_of, target_of, without_dates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from ..namespaces.adapter import BroadcastAnswers, Namespace, Origin

__all__ = ["AskingAdapter", "AskingCluster"]

logger = get_logger("trio_sio.cluster")

T = TypeVar("T")


class AskingCluster(Cluster):
    """A cluster whose servers ask each other.

    Args:
      request_timeout: Seconds that `fetch_sockets` and its like wait for the others.

    Attributes:
      request_timeout: As given.
      bad_messages: How many messages were dropped, by what was wrong with them.
    """

    def __init__(self, request_timeout: float) -> None:
        super().__init__()
        self.request_timeout = request_timeout
        self.bad_messages = BadMessages()

    def statistics(self) -> BusStatistics:
        """See `Cluster.statistics`."""
        return BusStatistics(gaps=self.gaps, lost={}, bad_messages=dict(self.bad_messages))

    def take(self, act: Callable[..., None], *message: object) -> None:
        """Call ``act(*message)``, which takes what has come over the bus; whatever is wrong with that costs this one message."""
        try:
            act(*message)
        except BusMessageError as error:
            self.bad_messages.drop(error.kind, error)
        except (DecodeError, EncodeError) as error:
            self.bad_messages.drop("undeliverable", error)
        except Exception:
            logger.exception("A message of another server failed; it is dropped.")
            self.bad_messages["failed"] += 1


class AskingAdapter(InMemoryAdapter):
    """One namespace of one server among others.

    Args:
      namespace: The namespace.
      cluster: Whose it is.

    Attributes:
      name: The namespace's name.
      uid: What it calls itself on the bus.
      limits: What is accepted of others.
    """

    def __init__(self, namespace: Namespace, cluster: AskingCluster) -> None:
        super().__init__(namespace)
        self.name = namespace.name
        self.uid = secrets.token_hex(16)
        self.limits = namespace.config.limits
        self._cluster_asked = cluster
        self._requests = Requests()
        self._relays = Relays()

    # What is asked of others.

    @abstractmethod
    def others(self) -> Iterable[str]:
        """Return the other servers, by names that are good for nothing but to tell them apart."""

    @abstractmethod
    def ask_for_sockets(self, target: Target, number: str) -> None:
        """Ask all others which sockets they have; the answers carry ``number``."""

    def options_of(self, broadcast: Broadcast) -> Options:
        """Return whom ``broadcast`` is for, as it is written on the bus, with what instruments let travel with it."""
        options = options_of(broadcast.target, broadcast.flags)
        if (instrument := self._namespace.instrument) is None:
            return options
        return msgspec.structs.replace(options, carried=instrument.inject(self.name, str(broadcast.event[0])))

    def failed(self, broadcast: Broadcast, error: BaseException) -> None:
        """Tell instruments that ``broadcast``, which `options_of` has let them know of, is not emitted."""
        if (instrument := self._namespace.instrument) is not None:
            instrument.broadcast_failed(self.name, str(broadcast.event[0]), error)

    def asking(self, request: Asked) -> bool:
        """Learn that ``request`` is sent next; tell whether there is anybody to ask."""
        return True

    def wait_for(self, request: EmittedToClients | EmittedToServers, answers: BroadcastAnswers) -> str:
        """Let ``answers`` wait for ``request``, too; return the number that answers carry."""
        number = self._requests.open(request)
        request.on_close = partial(self._requests.close, number)
        answers.wait_for(request)
        self.asking(request)
        return number

    async def fetch_sockets(self, target: Target, timeout: float | None = None) -> FoundSockets:
        """See `Adapter.fetch_sockets`."""
        found = await super().fetch_sockets(target, timeout)
        if target.local:
            return found
        details, found.missing = await self._fetch(target, timeout)
        for one in details:
            try:
                found.append(self._namespace.remote_socket(one.id, one.handshake, one.rooms, one.data))
            except DecodeError as error:
                self._cluster_asked.bad_messages.drop("schema", error)
        return found

    async def count_sockets(self, target: Target, timeout: float | None = None) -> int:
        """See `Adapter.count_sockets`."""
        count = await super().count_sockets(target, timeout)
        return count if target.local else count + len((await self._fetch(target, timeout))[0])

    async def _fetch(self, target: Target, timeout: float | None) -> tuple[list[SocketDetails], tuple[str, ...]]:
        request = Collected[tuple[SocketDetails, ...]](self.others())
        number = self._requests.open(request)
        try:
            if self.asking(request):
                self.ask_for_sockets(target, number)
                await request.wait(self._cluster_asked.request_timeout if timeout is None else timeout)
        finally:
            self._requests.close(number)
        if request.missing:
            missing = ", ".join(request.missing)
            logger.warning("Not all servers have said which sockets of namespace %.80r they have: %.200s.", self.name, missing)
        return [socket for sockets in request.answers for socket in sockets], tuple(request.missing)

    # What others ask and emit.

    def described(self, options: Options) -> tuple[SocketDetails, ...]:
        """Return what others are told of the sockets here that are meant."""
        return tuple(SocketDetails(**self._namespace.describe(socket)) for socket in self.members(target_of(options)))

    def deliver(self, event: tuple[Any, ...], options: Options, origin: Origin | None = None) -> None:
        """Send an event of another server to the sockets here that are meant.

        Args:
          event: The event.
          options: Whom it is for.
          origin: Which server that is, as of `Namespace.deliver`.

        Raises:
          EncodeError: if their parser cannot say it.
        """
        self._observed(event, options, partial(self._namespace.deliver, origin=origin))

    def _observed(self, event: tuple[Any, ...], options: Options, send: Callable[[Broadcast], T]) -> T:
        if (instrument := self._namespace.instrument) is None:
            return self._for_clients(event, options, send)
        with instrument.delivering(self.name, str(event[0]), options.carried or {}):
            return self._for_clients(event, options, send)

    def _for_clients(self, event: tuple[Any, ...], options: Options, send: Callable[[Broadcast], T]) -> T:
        broadcast = broadcast_from(event, options)
        try:
            return send(broadcast)
        except EncodeError:
            plain = without_dates(broadcast.event)
            if plain is broadcast.event:
                raise
            return send(replace(broadcast, event=plain))

    def ask_clients(self, uid: str, number: str, event: tuple[Any, ...], options: Options, respond: Respond) -> None:
        """Ask the sockets here that are meant, for the server ``uid``, whose question has that ``number``.

        Raises:
          EncodeError: as `deliver`.
        """
        cluster = self._cluster_asked
        timeout = self._namespace.config.ack_timeout if options.flags.timeout is None else options.flags.timeout
        if self._relays.knows(uid, number):
            cluster.bad_messages["duplicate"] += 1
            return
        relay = self._relays.open(uid, number, respond, timeout)
        if relay is None:
            cluster.has_gap("Other servers ask more than can be remembered; some answers will be missing.")
            respond(messages.BroadcastClientCount, request_id=number, count=0)
            return
        try:
            relay.questions = self._observed(event, options, partial(self._namespace.ask, sink=relay))
        except BaseException:
            # Nobody here was asked.
            self._relays.forget(uid, number)
            respond(messages.BroadcastClientCount, request_id=number, count=0)
            raise

    def join_as_told(self, options: Options, rooms: Iterable[str]) -> None:
        """Let the sockets here that are meant join ``rooms``.

        Raises:
          DecodeError: if one of them is somebody's private room.
        """
        try:
            self.join_members(target_of(options), tuple(rooms))
        except ValueError as error:
            raise DecodeError(f"Sockets cannot join what another server says: {error}") from error

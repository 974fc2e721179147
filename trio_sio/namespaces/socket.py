"""One client in one namespace: what applications hold (Node: ``Socket``)."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import trio

from ..errors import Disconnected
from ..log import get_logger
from .acks import Answer
from .broadcast import Broadcaster, BroadcastOperator
from .lifecycle import SocketLifecycle, State
from .target import Target

if TYPE_CHECKING:
    from .client import Client
    from .handshake import Handshake
    from .namespace import Namespace

__all__ = ["Socket"]

logger = get_logger("trio_sio.namespaces")


class Socket(SocketLifecycle, Broadcaster):
    """One client in one namespace (Node: ``Socket``).

    Everything that runs for it, its handlers and what they start, runs in one task with one nursery (`run`), one
    handler at a time, in the order of arrival. When the client goes *abruptly*, all of that is cancelled at once; when
    it says goodbye, what it sent before is still handled, within `cleanup_timeout`. Then the disconnection hooks run.

    Attributes:
      id: Its public id, also the name of a room that only it is in.
      namespace: Where it is connected.
      handshake: How it connected.
      params: The named groups of the pattern that its namespace matched.
      data: Whatever the application wants to remember about it.
      recovered: Whether it is the continuation of an earlier connection (`Config.connection_state_recovery`): then it has
        its ``id``, ``data`` and rooms, and its client gets all that it has missed.
      client: The connection that carries it, shared with the other namespaces of the same client.
      outbox: Where what leaves is queued: the connection's.
    """

    __slots__ = ("data", "handshake", "params")

    def __init__(self, client: Client, namespace: Namespace, handshake: Handshake, params: Mapping[str, str]) -> None:
        super().__init__(client, namespace)
        self.handshake = handshake
        self.params = params
        self.data: dict[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Socket {self.id} {self.namespace.name!r} {self._state.value}>"

    # What it is.

    @property
    def server(self) -> Any:
        """The server."""
        return self.namespace.server

    # Sending.

    async def emit(self, event: str, *args: object) -> None:
        """Emit to this client, waiting for room if its outbox is full. Dropped once it has gone.

        Raises:
          EncodeError: if the name is reserved or an argument cannot be encoded; nothing is queued then.
        """
        namespace = self.namespace
        if (recovery := namespace.adapter.recovery) is not None:
            args = (*args, recovery.next_offset)
        await self._send(namespace.parser.encode_event(namespace.name, (event, *args)), recorded=True)

    def emit_nowait(self, event: str, *args: object) -> None:
        """Emit to this client.

        Raises:
          trio.WouldBlock: if its outbox is full.
          EncodeError: as `emit`.
        """
        namespace = self.namespace
        recovery = namespace.adapter.recovery
        if recovery is not None:
            args = (*args, recovery.next_offset)
        packet = namespace.parser.encode_event(namespace.name, (event, *args))
        packet.compress = True
        if self._state is State.CONNECTED:
            self.outbox.send_nowait(packet)
            if recovery is not None and self._session is not None:
                recovery.record(packet, self._session.private)
        else:
            self._send_early_or_late(packet, recorded=True)

    async def send(self, *args: object) -> None:
        """Emit the event ``message`` (Node: ``send``)."""
        await self.emit("message", *args)

    async def emit_with_ack(self, event: str, *args: object, timeout: float | None = None) -> object:
        """Emit, and return what the client answers: the one value, a tuple of several, ``None`` for none.

        Args:
          event: The event.
          args: Its arguments.
          timeout: Seconds to wait; ``None``: `Config.ack_timeout`.

        Raises:
          trio.TooSlowError: if no answer came in time.
          Disconnected: if the client is gone, or goes meanwhile.
          EncodeError: as `emit`.
        """
        namespace, client = self.namespace, self.client
        number = namespace.next_ack_id()
        packet = namespace.parser.encode_event(namespace.name, (event, *args), number)
        if self._state is not State.CONNECTED:
            await trio.lowlevel.checkpoint()
            raise Disconnected("The socket is not connected, so nobody can answer.")
        answer = Answer()
        answers = self._answers = {} if self._answers is None else self._answers
        answers[number] = answer
        client.awaiting(1)
        try:
            with trio.fail_after(namespace.config.ack_timeout if timeout is None else timeout):
                await self._send(packet)
                values = await answer.wait()
        finally:
            client.awaiting(-1)
            answers.pop(number, None)
        return values[0] if len(values) == 1 else tuple(values) or None

    async def once(self, event: str) -> tuple[Any, ...]:
        """Wait for the next ``event`` of this client and return its arguments; it takes no handler's turn.

        Raises:
          Disconnected: if the client is gone, or goes meanwhile.
        """
        if self._state is State.DISCONNECTED:
            await trio.lowlevel.checkpoint()
            raise Disconnected("The socket is disconnected, so no event can come.")
        answer = Answer()
        waiters = self._once = {} if self._once is None else self._once
        queue = waiters.setdefault(event, deque())
        queue.append(answer)
        self.client.awaiting(1)
        try:
            return tuple(await answer.wait())
        finally:
            self.client.awaiting(-1)
            if answer in queue:
                queue.remove(answer)
            if not queue:
                waiters.pop(event, None)

    @property
    def broadcast(self) -> BroadcastOperator:
        """Address everybody in the namespace but this client."""
        return self._operator()

    def volatile(self, key: str | None = None) -> BroadcastOperator:
        """Send this client packets that may be lost; see `NamespaceBroadcaster.volatile`."""
        return self._alone().as_volatile(key)

    def compress(self, value: bool) -> BroadcastOperator:  # as in Node
        """Send this client packets that are compressed, if it can do it, or are not; like every operator, without waiting for room.

        What `emit` sends is compressed from `PerMessageDeflate.threshold` on, where `Config.per_message_deflate` is on.
        """
        return self._alone().as_compressed(value)

    def _alone(self) -> BroadcastOperator:
        return BroadcastOperator(self.namespace, Target(rooms=frozenset((self.id,))))

    def _operator(self) -> BroadcastOperator:
        return BroadcastOperator(self.namespace, Target(excluded=frozenset((self.id,))))

    # Rooms.

    async def join(self, *rooms: str) -> None:
        """Join ``rooms``. Does nothing once the client has gone.

        Raises:
          ValueError: if there are too many (`Limits.rooms_per_socket`), or one is named by another socket's id.
        """
        await trio.lowlevel.checkpoint()
        self.join_nowait(*rooms)

    def join_nowait(self, *rooms: str) -> None:
        """`join`, for code that is not async."""
        if self._state is State.DISCONNECTED:
            return
        joined = self._joined_rooms()
        for room in rooms:
            if not isinstance(room, str):
                raise TypeError(f"Room {room!r} is not a string; to join several rooms write join('a', 'b').")
            if room != self.id and room in self.namespace.sockets:
                raise ValueError(f"Room {room!r} is the id of another socket: its private room cannot be joined.")
        new = {room for room in rooms if room != self.id}.difference(joined)
        most = self.namespace.config.limits.rooms_per_socket
        if len(joined) + len(new) > most:
            raise ValueError(f"The socket would be in more than {most} rooms (Limits.rooms_per_socket).")
        if new:
            self._join_rooms(new)

    async def leave(self, *rooms: str) -> None:
        """Leave ``rooms``."""
        await trio.lowlevel.checkpoint()
        self.leave_nowait(*rooms)

    def leave_nowait(self, *rooms: str) -> None:
        """`leave`, for code that is not async."""
        self._leave_rooms(rooms)

    # Ending.

    async def disconnect(self, close: bool = False) -> None:  # as in Node
        """Disconnect this client from the namespace, or with ``close`` from everything.

        This requests it and returns: a handler that waited for its own end would wait for ever. Afterwards the handlers
        of this socket are cancelled wherever they next wait, this one too.
        """
        self.disconnect_nowait(close=close)
        await trio.lowlevel.cancel_shielded_checkpoint()

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: object) -> None:
        """Run ``function(*args)`` as a task that dies with this socket.

        An exception in it is logged and disconnects this socket, nobody else.

        Raises:
          Disconnected: if the socket is gone.
        """
        if self._state is State.DISCONNECTED or self._nursery is None:
            raise Disconnected("The socket is disconnected, so nothing can be started for it.")
        self._nursery.start_soon(self._run_child, function, args, name=function)

    async def _run_child(self, function: Callable[..., Awaitable[object]], args: tuple[object, ...]) -> None:
        try:
            await function(*args)
        except Exception:
            logger.exception("A task of socket %s failed, so it is disconnected.", self.id)
            self.disconnect_nowait()

"""`LocalCluster`: the servers of one machine, each linked with each other one by a pair of Unix sockets.

Theory of operation
===================

Whoever starts the processes makes a socket pair for each two of them; nobody is in the middle. What one server publishes is one frame
that is put into the queue of each link, and a task of each link sends what has gathered: events that came together are told together,
so that the other process, too, writes once to each of its clients. Stream sockets: only two processes share a link,
so packets would keep nothing apart; and one system call carries many messages, or a part of one that is larger than a packet may be.

A link is one of two things: *up*, or *behind*. It is behind when its queue was full: then what waits is dropped, and so is all that comes,
until the other side has taken what is half sent, or, if nothing is, the task of the link gets its turn. So a process that does not read
costs a bounded amount of memory, nobody waits for it, and when it reads again it hears of what is published then; that something is
missing is told on both sides. When a process has ended, its links say so, and nothing is awaited of it any more.
"""

from __future__ import annotations

import socket
import struct
from collections import deque
from typing import TYPE_CHECKING, Final, NamedTuple

import trio

from ..concurrency.streams import RECEIVE_SIZE, SECONDS_PER_TURN, TURN_BYTES
from ..concurrency.wakeup import Wakeup
from ..errors import BusMessageError
from ..log import get_logger
from . import messages, payload
from .node import NodeCluster
from .node_adapter import NodeAdapter

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from ..namespaces.adapter import Config

__all__ = ["LocalCluster"]

logger = get_logger("trio_sio.cluster")

MOST_MESSAGES: Final = 10_000
MOST_BYTES: Final = 16 * 1024 * 1024
"""How much may wait for one other server."""

SECONDS_POSTPONED: Final = 0.001
"""How long what is published waits at most for what is published right after it."""

_HEAD: Final = struct.Struct("=IHH")  # bytes that follow, of which the namespace takes so many, and the uid so many
_LARGEST: Final = payload.MAX_BYTES + 2 * 0xFFFF


class _Frame(NamedTuple):
    namespace: str
    uid: str
    message: bytes


def _pack(namespace: str, uid: str, message: bytes) -> bytes:
    name, sender = namespace.encode("utf-8", "surrogatepass"), uid.encode()
    return b"%b%b%b%b" % (_HEAD.pack(len(name) + len(sender) + len(message), len(name), len(sender)), name, sender, message)


class _Reader:
    """Bytes to frames."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[_Frame]:
        """Take ``data``; return the frames that are whole with it.

        Raises:
          BusMessageError: if it is none, or too large.
        """
        buffer = self._buffer
        buffer += data
        at = 0
        try:
            while len(buffer) - at >= _HEAD.size:
                size, name, sender = _HEAD.unpack_from(buffer, at)
                if size > _LARGEST or name + sender > size:
                    raise BusMessageError("size", f"What another process has sent is no message, or one of {size} bytes.")
                start = at + _HEAD.size
                if len(buffer) < start + size:
                    return
                middle, end = start + name + sender, start + size
                at = end
                try:
                    namespace = buffer[start : start + name].decode("utf-8", "surrogatepass")
                    uid = buffer[start + name : middle].decode()
                except UnicodeDecodeError as error:
                    raise BusMessageError("format", "What another process has sent is no message.") from error
                yield _Frame(namespace, uid, bytes(buffer[middle:end]))
        finally:
            del buffer[:at]


class _Link:
    """One other process.

    Args:
      sock: One end of a pair; owned from now on.

    Attributes:
      socket: The same for Trio.
      uids: What the adapters there call themselves, by namespace.
      lost: How many messages were dropped since it is behind; 0: it is not.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self.socket = trio.socket.from_stdlib_socket(sock)
        self.uids: dict[str, str] = {}
        self.lost = 0
        self._queue: deque[bytes] = deque()
        self._queued = 0  # bytes
        self._sending = memoryview(b"")  # what of the last batch is not out yet
        self._work = Wakeup()

    def put(self, frame: bytes) -> bool:
        """Queue ``frame``; tell whether the link has fallen behind with it."""
        if self.lost:
            self.lost += 1
            return False
        if len(self._queue) >= MOST_MESSAGES or self._queued + len(frame) > MOST_BYTES:
            self.lost = len(self._queue) + 1
            self._queue.clear()
            self._queued = 0
            self._work.wake()
            return True
        self._queue.append(frame)
        self._queued += len(frame)
        self._work.wake()
        return False

    async def flush(self) -> None:
        """Send what waits.

        Raises:
          OSError: if the other process has ended.
        """
        while self._sending or self._queue:
            if not self._sending:
                self._sending = memoryview(b"".join(self._batch()))
            self._sending = self._sending[await self.socket.send(self._sending) :]
        # Behind, it has an empty queue. Nothing may have been half sent at all, if too much was put in one turn.
        if self.lost:
            logger.warning("Another process is no longer behind; %d messages for it are lost.", self.lost)
            self.lost = 0

    def _batch(self) -> Iterator[bytes]:
        size = 0
        while self._queue and size < TURN_BYTES:
            frame = self._queue.popleft()
            size += len(frame)
            self._queued -= len(frame)
            yield frame

    async def write(self) -> None:
        """Send what is put, until cancelled; raises as `flush`."""
        while True:
            await self._work.wait()
            # What is put in the same turn leaves with it.
            await trio.lowlevel.checkpoint()
            waiting, end = 1, trio.current_time() + SECONDS_POSTPONED
            while len(self._queue) > waiting and trio.current_time() < end:
                waiting = len(self._queue)
                await trio.lowlevel.checkpoint()
                # In which order tasks take their turn is left to chance: only after two of its own has everybody had one.
                await trio.lowlevel.checkpoint()
            await self.flush()


class LocalCluster(NodeCluster):
    """Servers in processes of one machine, such as the workers of `trio_sio.workers`, which link it; alone it is a cluster of one.

    Args:
      heartbeat_interval: Seconds of silence after which a server says that it lives.
      heartbeat_timeout: Seconds of silence after which it counts as dead; that a process has ended is noticed at once.
      request_timeout: Seconds that `fetch_sockets` and its like wait for the others.

    Attributes:
      bad_messages: How many messages were dropped, by what was wrong with them.
    """

    def __init__(self, *, heartbeat_interval: float = 5.0, heartbeat_timeout: float = 10.0, request_timeout: float = 5.0) -> None:
        super().__init__(heartbeat_interval=heartbeat_interval, heartbeat_timeout=heartbeat_timeout, request_timeout=request_timeout)
        self._links: set[_Link] = set()
        self._links_of: dict[str, _Link] = {}  # by uid
        self._nursery: trio.Nursery | None = None

    def link(self, sock: socket.socket) -> None:
        """Reach one more server through ``sock``, one end of a `socket.socketpair`, whose other end its `LocalCluster` gets.

        Before it runs, or while it does; from now on it owns the socket.
        """
        link = _Link(sock)
        self._links.add(link)
        if self._nursery is not None:
            self._nursery.start_soon(self._run_link, link)

    @property
    def linked(self) -> int:
        """How many others it reaches."""
        return len(self._links)

    # What `NodeCluster` calls.

    async def carry(self, config: Config, task_status: trio.TaskStatus[None]) -> None:
        """See `NodeCluster.carry`."""
        try:
            async with trio.open_nursery() as nursery:
                self._nursery = nursery
                for link in self._links:
                    nursery.start_soon(self._run_link, link)
                task_status.started()
                await trio.sleep_forever()
        finally:
            self._nursery = None
            with trio.move_on_after(config.cleanup_timeout, shield=True):
                async with trio.open_nursery() as last_words:
                    for link in self._links:
                        last_words.start_soon(_flush, link)
            for link in self._links:
                link.socket.close()
            self._links.clear()
            self._links_of.clear()

    def publish(self, adapter: NodeAdapter, payload: bytes) -> None:
        """See `NodeCluster.publish`."""
        if self._links:
            self._put(self._links, _pack(adapter.name, adapter.uid, payload))

    def respond(self, adapter: NodeAdapter, uid: str, payload: bytes) -> None:
        """See `NodeCluster.respond`."""
        link = self._links_of.get(uid)
        if link is not None:  # or it is gone, and waits for nothing
            self._put((link,), _pack(adapter.name, adapter.uid, payload))

    def closed(self, adapter: NodeAdapter) -> None:
        """See `NodeCluster.closed`."""
        for link in self._links:
            if (uid := link.uids.pop(adapter.name, None)) is not None:
                self._links_of.pop(uid, None)

    # Its links.

    def _put(self, links: Iterable[_Link], frame: bytes) -> None:
        lost = 0
        for link in links:
            if link.put(frame):
                lost += link.lost
        if lost:
            # Once all have it, as the application may emit when it is told.
            self.has_gap(
                f"Another process does not read as fast as is published; {lost} messages for it are dropped, and more until it does."
            )

    async def _run_link(self, link: _Link) -> None:
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(link.write)
                await self._read(link)
                nursery.cancel_scope.cancel()
        except* OSError as group:
            logger.debug("The link to another process broke: %r", group.exceptions[0])
        except* BusMessageError as group:
            self.has_gap(f"The link to another process is given up. {group.exceptions[0]}")
        # Cancelled, it stays for the last words.
        self._links.discard(link)
        link.socket.close()
        logger.info("Another process of this machine has ended.")
        for namespace, uid in link.uids.items():
            self._links_of.pop(uid, None)
            if (adapter := self._adapters.get(namespace)) is not None and uid in adapter.peers:
                adapter.receive(messages.AdapterClose(uid=uid, namespace=namespace))

    async def _read(self, link: _Link) -> None:
        """Take what comes, until the other process has ended."""
        reader = _Reader()
        while data := await link.socket.recv(RECEIVE_SIZE):
            end = trio.current_time() + SECONDS_PER_TURN
            for frame in reader.feed(data):
                self._take(link, frame)
                if trio.current_time() > end:
                    await trio.lowlevel.checkpoint()
                    end = trio.current_time() + SECONDS_PER_TURN

    def _take(self, link: _Link, frame: _Frame) -> None:
        namespace, uid = frame.namespace, frame.uid
        if namespace not in self._adapters:
            return
        if link.uids.get(namespace) != uid:
            self._links_of.pop(link.uids.get(namespace, ""), None)
            link.uids[namespace] = uid
            self._links_of[uid] = link
        self.received(namespace, frame.message)


async def _flush(link: _Link) -> None:
    try:
        await link.flush()
    except OSError as error:
        logger.debug("What was left for another process did not get there: %r", error)

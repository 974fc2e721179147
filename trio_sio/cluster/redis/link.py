"""One connection to Redis, from the moment it is open until it is lost: it answers in order, and what nobody asked for comes between.

A nursery of three: a reader, a writer, which sends what waits in as few pieces as possible, and a watch, which asks for a sign of
life. Whatever ends one of them is a `LinkLost`; the caller connects again, or does not.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from typing import Any, Final, NoReturn

import trio

from ...concurrency.streams import SECONDS_PER_TURN
from ...concurrency.wakeup import Wakeup
from .resp import ErrorReply, Push, RespError, RespReader, pack

__all__ = ["Link", "LinkLost", "NotLetIn", "Outgoing", "refusal"]

_CHUNK: Final = 16 * 1024  # bytes received at once: what is in them is handled without letting others run
_BATCH: Final = 64 * 1024  # bytes sent at once
_WINDOW: Final = 4_096  # publishes that Redis has not answered; behind that, more wait in `Outgoing`, which has bounds
_PATIENCE: Final = 6  # times the answer time-out, as long as something else comes: an answer stands behind all that was said before
_CLOSED: Final = frozenset({"NOAUTH", "NOPROTO", "WRONGPASS"})
_NEEDED: Final = "HELLO, PING, PUBLISH, PUBSUB, and SUBSCRIBE, UNSUBSCRIBE, PSUBSCRIBE and PUNSUBSCRIBE with all channels (&*)"
_ELSEWHERE: Final = frozenset({"READONLY", "LOADING", "MOVED", "MASTERDOWN", "CLUSTERDOWN"})


class LinkLost(Exception):
    """The connection is of no use any more, says the text."""


class NotLetIn(LinkLost):
    """Redis does not let us in, or not do what we need."""


class Outgoing:
    """Commands that publish, and wait to be sent, whether there is a connection or not.

    Args:
      max_messages: How many may wait.
      max_bytes: How many bytes they may have.
    """

    __slots__ = ("_bytes", "_commands", "_max_bytes", "_max_messages", "wakeup")

    def __init__(self, max_messages: int, max_bytes: int) -> None:
        self._max_messages = max_messages
        self._max_bytes = max_bytes
        self._commands: deque[bytes] = deque()
        self._bytes = 0
        self.wakeup = Wakeup()

    def __len__(self) -> int:
        return len(self._commands)

    def offer(self, command: bytes) -> bool:
        """Take ``command``, if there is room."""
        size = len(command)
        if len(self._commands) >= self._max_messages or self._bytes + size > self._max_bytes:
            return False
        self._commands.append(command)
        self._bytes += size
        self.wakeup.wake()
        return True

    def take(self, most: int) -> list[bytes]:
        """Return what is to be sent next: about `_BATCH` bytes, and at most so many commands."""
        taken: list[bytes] = []
        size = 0
        commands = self._commands
        while commands and size < _BATCH and len(taken) < most:
            command = commands.popleft()
            size += len(command)
            taken.append(command)
        self._bytes -= size
        return taken

    def clear(self) -> int:
        """Drop everything; return how much that was."""
        dropped = len(self._commands)
        self._commands.clear()
        self._bytes = 0
        return dropped


class Link:
    """One connection.

    Args:
      wire: The open stream.
      outgoing: What is published is taken from here, once `let_in`.
      on_push: Gets what comes unasked.
      on_refused: Gets the answer when something was not published.
      max_bytes: How large a string may be that comes in.
      ping_interval: Seconds without a word after which one is asked for.
      answer_timeout: Seconds that an answer may take; while something else comes, six times as long.

    Attributes:
      let_in: Whether Redis has said that we may go on.
    """

    def __init__(
        self,
        wire: trio.abc.Stream,
        outgoing: Outgoing,
        *,
        on_push: Callable[[Push], object],
        on_refused: Callable[[ErrorReply], object],
        max_bytes: int,
        ping_interval: float,
        answer_timeout: float,
    ) -> None:
        self.let_in = False
        self._wire = wire
        self._outgoing = outgoing
        self._on_push = on_push
        self._on_refused = on_refused
        self._reader = RespReader(max_bytes)
        self._ping_interval = ping_interval
        self._answer_timeout = answer_timeout
        self._commands: deque[bytes] = deque()
        # Who gets the next answers, in order; ``None``: what was published.
        self._answers: deque[Callable[[Any], object] | None] = deque()
        self._asked: deque[Callable[[Any], object]] = deque()  # of these, whose command is not sent yet
        self._heard = trio.current_time()  # something
        self._waiting_since = self._heard  # for the next answer
        self._lost = False
        self._idle = trio.Event()

    @property
    def unanswered(self) -> int:
        """How much was published, and not answered."""
        return sum(answer is None for answer in self._answers)

    def ask(self, command: bytes, answer: Callable[[Any], object]) -> None:
        """Send a command, and call ``answer`` with what Redis answers: also an `ErrorReply`, or `LinkLost`."""
        self._commands.append(command)
        self._asked.append(answer)
        self._outgoing.wakeup.wake()

    def tell(self, command: bytes) -> None:
        """Send a command that is not answered, as those that subscribe; if Redis refuses it, who asks next gets that answer."""
        self._commands.append(command)
        self._outgoing.wakeup.wake()

    def hello(self, username: str | None, password: str | None) -> None:
        """Say who we are; before anything else."""
        words = [b"HELLO", b"3"]
        if username is not None or password is not None:
            words += [b"AUTH", (username or "default").encode(), (password or "").encode()]
        self.ask(pack(*words), self._welcome)

    async def run(self) -> NoReturn:
        """Keep the connection going.

        Raises:
          LinkLost: once it is lost. The stream is closed then.
        """
        lost = LinkLost("It was closed.")
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._read)
                nursery.start_soon(self._write)
                nursery.start_soon(self._watch)
        except* (LinkLost, RespError, OSError, trio.BrokenResourceError, trio.ClosedResourceError) as group:
            lost = _reason(group)
        finally:
            self._lost = True
            self._idle.set()
            for answer in (*self._answers, *self._asked):
                if answer is not None:
                    answer(lost)
            await trio.aclose_forcefully(self._wire)
        raise lost from None

    async def wait_idle(self) -> None:
        """Wait until everything is sent and answered, or the connection is lost."""
        while not self._is_idle():
            self._idle = trio.Event()
            await self._idle.wait()

    def _is_idle(self) -> bool:
        return self._lost or not (self._answers or self._commands or self._outgoing)

    async def _read(self) -> None:
        clock = trio.lowlevel.current_clock().current_time
        while data := await self._wire.receive_some(_CHUNK):
            self._heard = clock()
            end = self._heard + SECONDS_PER_TURN
            for value in self._reader.feed(bytes(data)):
                if type(value) is not Push:
                    self._answered(value)
                    continue
                self._on_push(value)
                # A piece may have hundreds of messages in it, and each may be for thousands of clients.
                if clock() >= end:
                    await trio.lowlevel.checkpoint()
                    end = clock() + SECONDS_PER_TURN
        raise LinkLost("It has closed the connection.")

    async def _write(self) -> None:
        outgoing = self._outgoing
        while True:
            if not self._answers:
                self._waiting_since = trio.current_time()
            batch = [*self._commands]
            self._commands.clear()
            self._answers.extend(self._asked)
            self._asked.clear()
            if self.let_in and (window := _WINDOW - len(self._answers)) > 0:
                published = outgoing.take(window)
                self._answers.extend([None] * len(published))
                batch += published
            if batch:
                await self._wire.send_all(b"".join(batch))
            else:
                await outgoing.wakeup.wait()

    async def _watch(self) -> None:
        while True:
            now = trio.current_time()
            if self._answers:
                # Who says something else is alive, though what we say may get lost on the way.
                timeout = self._answer_timeout
                limit = min(max(self._waiting_since, self._heard) + timeout, self._waiting_since + _PATIENCE * timeout)
                if now >= limit:
                    raise LinkLost(f"It has not answered within {now - self._waiting_since:.1f} seconds.")
                await trio.sleep_until(limit)
            elif now >= self._heard + self._ping_interval:
                self._heard = now
                self.ask(pack(b"PING"), _ignore)
            else:
                # Something may be asked meanwhile, and then has less time.
                await trio.sleep(min(self._heard + self._ping_interval - now, self._answer_timeout))

    def _answered(self, value: object) -> None:
        if isinstance(value, ErrorReply) and (value.code in _CLOSED | _ELSEWHERE or not self.let_in):
            raise refusal(value)
        if not self._answers:
            raise RespError("An answer came that nobody has asked for.")
        answer = self._answers.popleft()
        self._waiting_since = self._heard
        if answer is not None:
            answer(value)
        elif isinstance(value, ErrorReply):
            self._on_refused(value)
        if not self._answers or len(self._answers) == _WINDOW // 2:
            self._outgoing.wakeup.wake()
            self._idle.set()

    def _welcome(self, value: object) -> None:
        if not isinstance(value, LinkLost):
            self.let_in = True
            self._outgoing.wakeup.wake()


def _ignore(value: object) -> None:
    """Do nothing with an answer: that it has come is enough."""


def refusal(reply: ErrorReply) -> LinkLost:
    """Return what it means that Redis does not do what we need."""
    if reply.code in _ELSEWHERE:
        return LinkLost(f"It is not, or not yet, what we look for: {reply.text:.200}.")
    if reply.code in {"NOAUTH", "WRONGPASS"}:
        return NotLetIn(f"It does not accept the name or the password in the URL: {reply.text:.200}.")
    if reply.code == "NOPERM":
        return NotLetIn(f"Its access rules forbid what servers need, {_NEEDED}: {reply.text:.200}.")
    if "unknown command" in reply.text and "hello" not in reply.text.lower():
        return NotLetIn(f"It lacks one of the commands that servers need, {_NEEDED}: {reply.text:.200}.")
    if reply.code == "NOPROTO" or "unknown command" in reply.text:
        return NotLetIn(f"It does not know HELLO 3; Redis 6 or later is needed: {reply.text:.200}.")
    return LinkLost(f"It does not let us in: {reply.text:.200}.")


def _reason(group: BaseExceptionGroup[BaseException]) -> LinkLost:
    first = group.exceptions[0]
    if isinstance(first, BaseExceptionGroup):
        return _reason(first)
    return first if isinstance(first, LinkLost) else LinkLost(f"It broke: {str(first) or type(first).__name__}.")

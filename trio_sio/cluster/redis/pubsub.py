"""Publishing and hearing through one Redis: a connection that comes back when it was lost, and says what got lost meanwhile.

One task connects, keeps a `Link` as long as it lasts, waits, and connects again. What is published waits in a queue with bounds;
who publishes never waits, and what gets lost is counted and announced.

The pub/sub of coredis is not used here. It reads as fast as it can into queues without bound (of a flood of 300,000 messages it
had nearly all in memory), forgets after coming back what was subscribed with, and tells nobody that it was away.
"""

from __future__ import annotations

import math
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal, NoReturn

import trio

from ...concurrency.callbacks import Callbacks
from ...concurrency.unwrapping import unwrapping
from ...concurrency.wakeup import Wakeup
from ...errors import BusUnavailable, ConfigurationError
from ...log import get_logger
from .. import payload
from .address import RedisAddress
from .link import Link, LinkLost, NotLetIn, Outgoing, refusal
from .resp import ErrorReply, Push, pack, pack_publish

__all__ = ["Gap", "PubSub", "PubSubSettings"]

logger = get_logger("trio_sio.cluster")

Gap = Literal["full", "stale", "unanswered", "refused", "interrupted", "oversized"]
"""What got lost.

* ``"full"``: what was to be published, as too much waited.
* ``"stale"``: what was to be published, as there was no connection for too long.
* ``"unanswered"``: what was published when the connection broke; perhaps it was heard.
* ``"refused"``: what was published, as Redis did not want it.
* ``"interrupted"``: what others published while there was no connection; nobody knows how much, so it counts as one.
* ``"oversized"``: what others published, as it was too large.
"""

_NAMES: Final = 500  # in one command that subscribes
_BETWEEN_REPORTS: Final = 1.0  # seconds

Receiver = Callable[[str, bytes], object]


@dataclass(frozen=True, kw_only=True, slots=True)
class PubSubSettings:
    """How patient one is with Redis, and how much may wait.

    Attributes:
      connect_timeout: Seconds to connect and to be let in.
      ping_interval: Seconds without a word from Redis after which it is asked for one.
      answer_timeout: Seconds that Redis may take for an answer; while it says something else, six times as long.
      delay: Seconds before it is tried again; each time in a row twice as long.
      delay_max: Seconds that this never exceeds.
      keep: Seconds without a connection after which what waits is lost, and so is what comes behind it.
      queue_messages: Messages that may wait to be sent.
      queue_bytes: Bytes that they may have.
      max_bytes: Bytes of a message that comes in; a larger one is lost.
      close_timeout: Seconds to send what waits in the end.
    """

    connect_timeout: float = 5
    ping_interval: float = 10
    answer_timeout: float = 5
    delay: float = 0.1
    delay_max: float = 5
    keep: float = 10
    queue_messages: int = 10_000
    queue_bytes: int = 16 * 1024 * 1024
    max_bytes: int = payload.MAX_BYTES
    close_timeout: float = 2


_SETTINGS: Final = PubSubSettings()


class PubSub:
    """What publishes and hears, within ``async with pubsub.open()``; before that one subscribes, and adds callbacks.

    Args:
      address: Where Redis is.
      settings: How patient one is with it, and how much may wait.
      trial: A channel, to publish something empty on each time, and so to know whether Redis lets us; ``None``: do not try.

    Attributes:
      ready: Whether there is a connection, and all that was subscribed is heard.
      lost: How much got lost so far, by kind of gap.
      trouble: Why there is no connection: a sentence; ``""``: there is one, or there was no try yet.
      on_ready: Gets ``ready`` whenever it changes.
      on_connected: Gets `connected` whenever that changes.
      on_gap: Gets the kind of a gap and how much got lost: soon, and at most once a second.
    """

    def __init__(self, address: RedisAddress, settings: PubSubSettings = _SETTINGS, *, trial: str | None = None) -> None:
        self.ready = False
        self.trouble = ""
        self.lost: dict[Gap, int] = {}
        self.on_ready: Callbacks[[bool]] = Callbacks("on_ready")
        self.on_connected: Callbacks[[bool]] = Callbacks("on_connected")
        self.on_gap: Callbacks[[Gap, int]] = Callbacks("on_gap")
        self._address = address
        self._settings = settings
        self._trial = trial
        self._channels: dict[bytes, Receiver] = {}
        self._patterns: dict[bytes, Receiver] = {}
        self._outgoing = Outgoing(settings.queue_messages, settings.queue_bytes)
        self._link: Link | None = None
        self._fences = 0  # behind commands that subscribe: once Redis answers them, it has done these
        self._away_since = -math.inf  # if there is no link
        self._has_been_ready = False  # on this link
        self._interrupted = False
        self._refusal = ""  # that was logged
        self._unreported: dict[Gap, int] = {}
        self._report = Wakeup()

    def publish_nowait(self, channel: str, message: bytes) -> bool:
        """Publish ``message``; never waits. ``False``: there was no room for it."""
        if not self.ready and self._is_stale():
            self._lose("stale")
            return False
        if self._outgoing.offer(pack_publish(channel.encode(errors="replace"), message)):
            return True
        self._lose("full")
        return False

    def subscribe(self, channel: str, receiver: Receiver) -> None:
        """Call ``receiver(channel, message)`` with what is published on ``channel``, from the next moment on that `ready`.

        It is not async, and does not block. What it raises is logged.
        """
        self._listen(b"SUBSCRIBE", self._channels, channel, receiver)

    def psubscribe(self, pattern: str, receiver: Receiver) -> None:
        """`subscribe`, to every channel that fits ``pattern``."""
        self._listen(b"PSUBSCRIBE", self._patterns, pattern, receiver)

    def unsubscribe(self, channel: str) -> None:
        """Hear ``channel`` no more."""
        self._ignore(b"UNSUBSCRIBE", self._channels, channel)

    def punsubscribe(self, pattern: str) -> None:
        """Hear what fits ``pattern`` no more."""
        self._ignore(b"PUNSUBSCRIBE", self._patterns, pattern)

    async def wait_ready(self) -> None:
        """Wait until `ready`."""
        await trio.lowlevel.checkpoint()
        came = trio.Event()
        tell = self.on_ready(lambda ready: came.set() if ready else None)
        try:
            if not self.ready:
                await came.wait()
        finally:
            self.on_ready.remove(tell)

    def ask_nowait(self, answer: Callable[[object], object], *words: str) -> bool:
        """Send a command such as ``PUBSUB NUMSUB``, before what is published from now on; ``False``: there is no connection.

        Args:
          answer: Gets what Redis answers, also an `ErrorReply`; or a `LinkLost`.
          words: The command.
        """
        if self._link is None:
            return False
        self._link.ask(pack(*(word.encode() for word in words)), answer)
        return True

    async def command(self, *words: str) -> Any:
        """Return what Redis answers to a command, such as ``PUBSUB NUMSUB``.

        Raises:
          BusUnavailable: if there is no connection, or it is lost, or Redis answers late, or with an error.
        """
        await trio.lowlevel.checkpoint()
        came = trio.Event()
        answers: list[object] = []

        def answer(value: object) -> None:
            answers.append(value)
            came.set()

        if not self.ask_nowait(answer, *words):
            raise BusUnavailable(f"There is no connection to Redis at {self._address}, so it cannot be asked anything.")
        with trio.move_on_after(self._settings.answer_timeout):
            await came.wait()
        if not answers:
            raise BusUnavailable(f"Redis at {self._address} has not answered within {self._settings.answer_timeout:g} seconds.")
        (value,) = answers
        if isinstance(value, LinkLost):
            raise BusUnavailable(f"The connection to Redis at {self._address} was lost: {value}")
        if isinstance(value, ErrorReply):
            raise BusUnavailable(f"Redis at {self._address} does not do {words[0]}: {value.text:.200}.")
        return value

    @asynccontextmanager
    async def open(self, *, fail_fast: bool = True) -> AsyncIterator[None]:
        """Keep a connection while the block runs; in the end what waits is sent, within ``close_timeout``.

        Args:
          fail_fast: Whether Redis must be there in the beginning; otherwise it is tried again and again.

        Raises:
          BusUnavailable: with ``fail_fast``, if there is no connection.
          ConfigurationError: with ``fail_fast``, if Redis is there, and does not let us in.
        """
        first = trio.Event()
        failures: list[LinkLost] = []

        def outcome(lost: LinkLost | None) -> None:
            if lost is not None and not first.is_set():
                failures.append(lost)
            first.set()

        self._away_since = trio.current_time()
        with unwrapping() as body:
            async with trio.open_nursery() as nursery:
                with body:
                    nursery.start_soon(self._run, outcome)
                    nursery.start_soon(self._report_gaps)
                    try:
                        if fail_fast:
                            await first.wait()
                            _require_none(failures, self._address)
                        yield
                        if self._link is not None:
                            with trio.move_on_after(self._settings.close_timeout):
                                await self._link.wait_idle()
                    finally:
                        nursery.cancel_scope.cancel()

    async def _run(self, outcome: Callable[[LinkLost | None], None]) -> NoReturn:
        """Keep a connection, until cancelled; ``outcome`` gets ``None`` when there is one, and why when there is none."""
        attempts = 0
        try:
            while True:
                try:
                    await self._keep_link(lambda: outcome(None))
                except LinkLost as exc:
                    lost = exc
                attempts = 1 if self._has_been_ready else attempts + 1
                self.trouble = str(lost)
                self._has_lost_link()
                outcome(lost)
                self._log(lost, attempts)
                await self._pause(attempts)
        finally:
            self._has_lost_link()

    async def _report_gaps(self) -> NoReturn:
        while True:
            await self._report.wait()
            unreported, self._unreported = self._unreported, {}
            for kind, count in unreported.items():
                self.on_gap.fire(kind, count)
            await trio.sleep(_BETWEEN_REPORTS)

    async def _keep_link(self, is_open: Callable[[], None]) -> NoReturn:
        settings = self._settings
        wire: trio.abc.Stream | None = None
        with trio.move_on_after(settings.connect_timeout):
            try:
                wire = await self._address.open()
            except (OSError, trio.BrokenResourceError) as exc:
                raise LinkLost(f"It cannot be reached: {exc}.") from None
        if wire is None:
            raise LinkLost(f"It cannot be reached within {settings.connect_timeout:g} seconds.")
        link = Link(
            wire,
            self._outgoing,
            on_push=self._receive,
            on_refused=self._refused,
            max_bytes=settings.max_bytes,
            ping_interval=settings.ping_interval,
            answer_timeout=settings.answer_timeout,
        )
        link.hello(self._address.username, self._address.password)
        self._link, self._fences = link, 0
        for command, receivers in ((b"SUBSCRIBE", self._channels), (b"PSUBSCRIBE", self._patterns)):
            names = list(receivers)
            for start in range(0, len(names), _NAMES):
                link.tell(pack(command, *names[start : start + _NAMES]))
        if self._trial is not None:
            trial = self._trial.encode(errors="replace")
            link.ask(pack(b"PUBSUB", b"NUMSUB", trial), _require_done)
            link.ask(pack_publish(trial, b""), _require_done)
        self._set_fence(is_open)
        await link.run()

    def _set_fence(self, passed: Callable[[], None] | None = None) -> None:
        """Be ready again once Redis has done all that it was told."""
        link = self._link
        assert link is not None
        self._fences += 1
        self._become_ready(False)

        def answer(value: object) -> None:
            if self._link is not link or isinstance(value, LinkLost):
                return
            # What subscribes is answered only when it fails, and then this is that answer.
            if isinstance(value, ErrorReply):
                raise refusal(value)
            if value != b"PONG":
                raise LinkLost(f"It answers PING with {value!r:.200}.")
            self._fences -= 1
            self._become_ready(not self._fences)
            if passed is not None:
                passed()

        link.ask(pack(b"PING"), answer)

    def _become_ready(self, ready: bool) -> None:
        if ready == self.ready:
            return
        self.ready = ready
        if ready:
            self.trouble = self._refusal = ""
            if not self._has_been_ready:
                self._has_been_ready = True
                self.on_connected.fire(True)
            if self._interrupted:
                self._interrupted = False
                self._lose("interrupted")
        self.on_ready.fire(ready)

    def _has_lost_link(self) -> None:
        """Note that there is no link any more, if there was one."""
        link, self._link = self._link, None
        if self._has_been_ready:
            self._has_been_ready = False
            self._away_since = trio.current_time()
            self._interrupted = bool(self._channels or self._patterns)
            self.on_connected.fire(False)
        if link is not None and (unanswered := link.unanswered):
            self._lose("unanswered", unanswered)
        self._become_ready(False)

    @property
    def connected(self) -> bool:
        """Whether there is a connection that was ready, though something may just be subscribed."""
        return self._has_been_ready

    def _log(self, lost: LinkLost, attempts: int) -> None:
        if isinstance(lost, NotLetIn):
            # Somebody has to do something; to say so once is enough.
            if str(lost) != self._refusal:
                logger.error("Redis at %s: %s It is tried again.", self._address, lost)
            self._refusal = str(lost)
        else:
            level = logger.warning if attempts == 1 else logger.debug
            level("There is no connection to Redis at %s: %s It is tried again.", self._address, lost)

    async def _pause(self, attempts: int) -> None:
        settings = self._settings
        longest = min(settings.delay * 2.0 ** min(attempts - 1, 32), settings.delay_max)
        # Servers that have lost it together do not come back together.
        end = trio.current_time() + longest * (0.5 + secrets.SystemRandom().random() / 2)
        await trio.sleep_until(min(end, max(self._away_since + settings.keep, trio.current_time())))
        if self._is_stale() and (dropped := self._outgoing.clear()):
            self._lose("stale", dropped)
        await trio.sleep_until(end)

    def _is_stale(self) -> bool:
        if self._away_since == -math.inf:
            return True  # it was never there, as before Trio runs
        return (self._link is None or not self._link.let_in) and trio.current_time() >= self._away_since + self._settings.keep

    def _listen(self, command: bytes, receivers: dict[bytes, Receiver], name: str, receiver: Receiver) -> None:
        key = name.encode(errors="replace")
        new = key not in receivers
        receivers[key] = receiver
        if new and self._link is not None:
            self._link.tell(pack(command, key))
            self._set_fence()

    def _ignore(self, command: bytes, receivers: dict[bytes, Receiver], name: str) -> None:
        key = name.encode(errors="replace")
        if receivers.pop(key, None) is not None and self._link is not None:
            self._link.tell(pack(command, key))

    def _receive(self, push: Push) -> None:
        match push:
            case [b"message", channel, message]:
                receiver = self._channels.get(channel)
            case [b"pmessage", pattern, channel, message]:
                receiver = self._patterns.get(pattern)
            case _:
                return  # that something is subscribed, which the fence says as well
        if receiver is None:
            return
        if message is None:
            self._lose("oversized")
            return
        try:
            receiver(channel.decode(errors="replace"), message)
        except Exception:
            logger.exception("What receives messages on %.80r failed.", channel)

    def _refused(self, reply: ErrorReply) -> None:
        self._lose("refused")
        if reply.text != self._refusal:
            self._refusal = reply.text
            logger.error("Redis at %s does not publish: %.200s.", self._address, reply.text)

    def _lose(self, kind: Gap, count: int = 1) -> None:
        if self._away_since == -math.inf and not self.lost:
            logger.warning(
                "What is emitted reaches no other server, as the server that it is emitted by does not run: enter it first, as in "
                "`async with server:`. A program that is no server emits with trio_sio.cluster.redis.Emitter, or SyncEmitter."
            )
        self.lost[kind] = self.lost.get(kind, 0) + count
        self._unreported[kind] = self._unreported.get(kind, 0) + count
        self._report.wake()


def _require_done(value: object) -> None:
    """Raise `LinkLost` if that is no answer but an error."""
    if isinstance(value, ErrorReply):
        raise refusal(value)


def _require_none(failures: Sequence[LinkLost], address: RedisAddress) -> None:
    for failure in failures:
        if isinstance(failure, NotLetIn):
            raise ConfigurationError(f"Redis at {address}: {failure}")
        raise BusUnavailable(f"There is no connection to Redis at {address}: {failure}")

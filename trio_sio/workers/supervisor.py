"""The process above the workers: it starts them, starts them again, and ends them; it is in nobody's data path.

Theory of operation
===================

For each worker there is a *slot*, and a task that keeps a process in it: it starts one, waits for its end, and starts the next one. The
listening sockets, the mailboxes and the board are here from the beginning to the end, and every process gets them when it starts. So
nothing is lost with a process but what it has accepted: who comes meanwhile waits in the kernel, or is accepted by another one.

A process is *asked* to end (`Workers.restart`, `Workers.drain`), or ends on its own, which is a crash. After a crash the next process
starts at once; after several in a row later and later; and then the whole ends, with the reason.

What a worker hears of the end of this process: its channel is closed, so it drains; and it has the other end of a pipe, on which a thread
of its own waits that ends it when nothing else does.
"""

from __future__ import annotations

import math
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from ..errors import ConfigurationError, TrioSioError
from ..log import get_logger
from .board import State, make_board, now
from .channel import Channel, close_all, make_pair
from .figures import Questions
from .slot import Slot, how_it_ended, kill

if TYPE_CHECKING:
    from ..doors.native.certificate import Certificate
    from ..doors.native.listener import Listener
    from .channel import Message
    from .figures import WorkersStatistics

__all__ = ["Workers", "WorkersFailed"]

logger = get_logger("trio_sio.workers")

MOST_CRASHES: Final = 5  # in a row
STABLE: Final = 10.0  # seconds after which a worker that has begun to serve is no failure
_DELAY: Final = 0.5  # seconds before the second start in a row, then twice as many, and so on
# By what a service manager is told how a service is, which is one process to it: this one.
_NOT_INHERITED: Final = frozenset({"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"})
_REAPING: Final = 5.0  # seconds that the kernel may take to end a process that was killed
_WATCH: Final = 0.25  # seconds between two looks at a worker's beat
SHORTEST_TIMEOUT: Final = 1.0
"""Seconds; within less a worker that is only busy may have had no turn to beat (`trio_sio.workers.worker.BEAT`)."""

_UNTOLD: Final = (
    "What it needs cannot be sent to it: the kernel's limit for a packet (net.core.wmem_max) is too low, "
    "or that of open files, of which no more than that may be on their way."
)
_UNLINKED: Final = "Workers %d and %d do not hear each other, as %d does not take the link; restart it."


class WorkersFailed(TrioSioError):
    """The workers do not start, or end again and again; the message says why the last one did."""


class Workers:
    """The processes behind one port, as `serve` gives them to whoever started it.

    Attributes:
      listeners: Where they listen, each with its ``sockname``.
    """

    def __init__(
        self, listeners: Sequence[Listener], setup: Message, count: int, worker_timeout: float | None, certificate: Certificate | None
    ) -> None:
        self.listeners = list(listeners)
        self._certificate = certificate
        files = None if certificate is None else [certificate.certfile, certificate.keyfile]
        self._setup = setup | {"count": count, "certificate": files}
        self._worker_timeout = worker_timeout
        self._slots = [Slot(number) for number in range(count)]
        self._stopping = trio.Event()
        self._questions = Questions()
        with ExitStack() as owned:
            self._board = make_board(count)
            owned.callback(os.close, self._board.descriptor)
            owned.callback(self._board.close)
            self._mailboxes = list[tuple[socket.socket, socket.socket]]()
            for _ in range(count):
                self._mailboxes.append(pair := make_pair())
                for sock in pair:
                    owned.callback(sock.close)
            # The end to which nobody writes: that it is closed is the message.
            self._lifeline, here = os.pipe()
            owned.callback(os.close, self._lifeline)
            owned.callback(os.close, here)
            self._owned = owned.pop_all()

    # What operators do.

    @property
    def about(self) -> Message:
        """What the first worker has said of its server: ``path``, ``transports``, ``routes``, ``drain_timeout``."""
        return self._slots[0].said

    async def drain(self) -> None:
        """Let all workers say goodbye, at once, within `Config.drain_timeout`; `serve` returns then. Who does not end is killed."""
        self._stopping.set()
        for slot in self._slots:
            if slot.process is not None:
                self._board.enter(slot.number, State.DRAINING)
        async with trio.open_nursery() as nursery:
            for slot in self._slots:
                nursery.start_soon(slot.stop)

    async def restart(self) -> None:
        """Let one worker after the other say goodbye, and another process take its place; the others accept meanwhile.

        It returns at once when all of them end: `serve` tells why.

        Raises:
          ConfigurationError: if the certificate cannot be loaded any more, so none would start: then all stay.
        """
        if self._certificate is not None:
            self._certificate.load()
        for slot in self._slots:
            if self._stopping.is_set():
                return
            ready = slot.renew()
            await slot.stop()
            await ready.wait()

    async def statistics(self) -> WorkersStatistics:
        """Return the figures of all workers; of one that does not answer within two seconds there are none."""
        return await self._questions.ask(self._slots)

    # Their life.

    async def run(self, task_status: trio.TaskStatus[Workers]) -> None:
        """Keep them until `drain`.

        Raises:
          ConfigurationError: if the first ones do not start, with a sentence that says what to do about it.
          WorkersFailed: if they do not start, or end again and again.
        """
        with self._owned:
            try:
                async with trio.open_nursery() as nursery:
                    for slot in self._slots:
                        nursery.start_soon(self._keep, slot)
                    for slot in self._slots:
                        await slot.ready.wait()
                    task_status.started(self)
            finally:
                self._stopping.set()
                for slot in self._slots:
                    slot.ready.set()  # whoever waits for another process waits for nothing

    async def _keep(self, slot: Slot) -> None:
        """Keep a process in ``slot``."""
        crashes = 0
        has_served = False
        while not self._stopping.is_set():
            began = trio.current_time()
            try:
                why = await self._run_process(slot)
            except OSError as error:
                why = f"It cannot be started: {error}."
            has_served = has_served or bool(slot.said)
            if slot.asked:
                crashes = 0
                continue
            if not has_served and slot.refused:
                raise ConfigurationError(why)
            if not has_served:
                raise WorkersFailed(f"Worker {slot.number} does not start: {why}")
            crashes = 1 if slot.said and trio.current_time() - began >= STABLE else crashes + 1
            if crashes > MOST_CRASHES:
                raise WorkersFailed(f"Worker {slot.number} has ended {crashes} times in a row, at last so: {why}")
            delay = 0.0 if crashes == 1 else _DELAY * 2 ** (crashes - 2)
            logger.error("Worker %d has ended: %s It is started again%s.", slot.number, why, f" in {delay:g} seconds" if delay else "")
            with trio.move_on_after(delay):
                await self._stopping.wait()

    async def _run_process(self, slot: Slot) -> str:
        """Run one process to its end; return why that came, as a sentence."""
        slot.renew()
        slot.asked, slot.said, slot.refused = self._stopping.is_set(), {}, ""
        here, there = make_pair()
        slot.channel = channel = Channel(here)
        process = None
        try:
            with there:
                self._board.enter(slot.number, State.STARTING)
                command = [sys.executable, "-m", "trio_sio.workers", str(there.fileno())]
                environment = {name: value for name, value in os.environ.items() if name not in _NOT_INHERITED}
                # In a group of its own: what is typed at the terminal is for the supervisor.
                options: dict[str, Any] = {
                    "stdin": subprocess.DEVNULL,
                    "pass_fds": [there.fileno()],
                    "process_group": 0,
                    "env": environment,
                }
                slot.process = process = await trio.lowlevel.open_process(command, **options)
            if self._stopping.is_set():
                process.terminate()
            self._introduce(slot, process, channel)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, slot, process, channel)
                if self._worker_timeout is not None:
                    nursery.start_soon(self._watch, slot, process, self._worker_timeout)
                code = await process.wait()
                nursery.cancel_scope.cancel()
            with suppress(ValueError):  # it has ended already
                while (received := channel.receive_nowait()) is not None:
                    self._hear(slot, *received)
            return slot.refused or how_it_ended(code)
        finally:
            self._board.enter(slot.number, State.GONE)
            slot.process = slot.channel = None
            channel.close()
            if process is not None:
                process.kill()
                with trio.move_on_after(_REAPING, shield=True):
                    await process.wait()

    def _introduce(self, slot: Slot, process: trio.Process, channel: Channel) -> None:
        """Give a new process what it needs, and link it with the others."""
        setup = self._setup | {"number": slot.number}
        descriptors = [self._lifeline, self._board.descriptor, self._mailboxes[slot.number][0].fileno()]
        descriptors += [postbox.fileno() for _, postbox in self._mailboxes]
        descriptors += [listener.socket.fileno() for listener in self.listeners]
        if not channel.send(setup, descriptors):
            slot.refused = _UNTOLD
            process.kill()
            return
        for other in self._slots:
            if other is not slot and other.channel is not None and other.process is not None:
                ends = socket.socketpair()
                for end, to, taker in zip(ends, (channel, other.channel), (slot, other), strict=True):
                    with end:
                        if not to.send({"do": "link"}, [end.fileno()]):
                            logger.error(_UNLINKED, other.number, slot.number, taker.number)

    async def _listen(self, slot: Slot, process: trio.Process, channel: Channel) -> None:
        try:
            while (received := await channel.receive()) is not None:
                self._hear(slot, *received)
        except ValueError as error:
            # Somebody in that process writes where we do; whatever else it does, this process lives.
            logger.warning("Worker %d says what is no message, and is killed: %s", slot.number, error)
            await kill(process)

    def _hear(self, slot: Slot, message: Message, descriptors: list[int]) -> None:
        """Take what a worker says.

        Raises:
          ValueError: if it is nothing that one says.
        """
        close_all(descriptors)
        try:
            match message["is"]:
                case "ready":
                    limit = message["drain_timeout"]  # JSON has no infinity
                    slot.said = message | {"drain_timeout": math.inf if limit is None else float(limit)}
                    slot.ready.set()
                case "refused":
                    slot.refused = message["why"]
                case "statistics":
                    self._questions.answered(slot.number, message)
        except (KeyError, TypeError, msgspec.ValidationError) as error:
            raise ValueError(f"{message!r:.200}: {error!r:.80}") from error

    async def _watch(self, slot: Slot, process: trio.Process, timeout: float) -> None:
        """Kill the worker once its event loop has not turned for ``timeout`` seconds."""
        await slot.ready.wait()
        while True:
            await trio.sleep(_WATCH)
            # A drain has a time limit of its own.
            if not slot.asked and (silent := (now() - self._board.beat(slot.number)) / 1000) > timeout:
                logger.error("The event loop of worker %d has not turned for %.1f seconds; it is killed.", slot.number, silent)
                await kill(process)
                return

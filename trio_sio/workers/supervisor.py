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

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import msgspec
import trio

from ..concurrency.groups import leaves_of
from ..doors.native.listener import Listener, listen_on, open_listeners
from ..errors import ConfigurationError, TrioSioError
from ..log import get_logger
from ..statistics import Statistics, add_up
from .board import MOST_WORKERS, State, make_board, now
from .channel import Channel, make_pair
from .factory import describe
from .worker import GRACE

if TYPE_CHECKING:
    from pathlib import Path

    from .channel import Message
    from .factory import Factory

__all__ = ["Workers", "WorkersFailed", "WorkersStatistics", "serve", "serve_listeners"]

logger = get_logger("trio_sio.workers")

MOST_CRASHES: Final = 5  # in a row
STABLE: Final = 10.0  # seconds after which a worker that has begun to serve is no failure
_DELAY: Final = 0.5  # seconds before the second start in a row, then twice as many, and so on
_FIGURES: Final = 2.0  # seconds within which a worker tells its figures
_WATCH: Final = 0.25  # the longest time between two looks at a worker's beat
_LAST_WORDS: Final = 1.0  # seconds for a stack


class WorkersFailed(TrioSioError):
    """The workers do not start, or end again and again; the message says why the last one did."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WorkersStatistics:
    """The figures of all workers, at about one moment; those "since the start" are since that of each process.

    Attributes:
      total: Those of all that have answered, added up.
      workers: Those of each; ``None``: it does not run now, or has not answered.
    """

    total: Statistics
    workers: Sequence[Statistics | None]


class _Slot:
    """One worker, whichever process that is.

    Attributes:
      number: Which.
      process: What runs, if anything does.
      channel: To that.
      ready: Whether it has begun to serve; another event for each process.
      asked: Whether it was asked to end.
      said: What it has told when it was ready.
      refused: Why it does not start, if it has said so.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self.process: trio.Process | None = None
        self.channel: Channel | None = None
        self.ready = trio.Event()
        self.asked = False
        self.said: Message = {}
        self.refused = ""

    def renew(self) -> trio.Event:
        """Return what tells that the next process has begun to serve."""
        if self.ready.is_set():
            self.ready = trio.Event()
        return self.ready

    @property
    def patience(self) -> float:
        """How long its end may take."""
        drain_timeout: float = self.said.get("drain_timeout", 0.0)
        return drain_timeout + GRACE


class Workers:
    """The processes behind one port, as `serve` gives them to whoever started it.

    Attributes:
      listeners: Where they listen, each with its ``sockname``.
    """

    def __init__(self, listeners: Sequence[Listener], setup: Message, count: int, worker_timeout: float | None) -> None:
        self.listeners = list(listeners)
        self._setup = setup
        self._worker_timeout = worker_timeout
        self._slots = [_Slot(number) for number in range(count)]
        self._stopping = trio.Event()
        self._owned = ExitStack()
        self._board = make_board(count)
        self._owned.callback(os.close, self._board.descriptor)
        self._owned.callback(self._board.close)
        self._mailboxes = [make_pair() for _ in range(count)]
        for sock in (one for pair in self._mailboxes for one in pair):
            self._owned.callback(sock.close)
        # The end to which nobody writes: that it is closed is the message.
        self._lifeline, here = os.pipe()
        self._owned.callback(os.close, self._lifeline)
        self._owned.callback(os.close, here)
        self._questions: dict[int, tuple[dict[int, Statistics | None], trio.Event]] = {}
        self._asked = 0

    # What operators do.

    @property
    def about(self) -> Message:
        """What the first worker has said of its server: ``path``, ``transports``, ``routes``, ``drain_timeout``."""
        return self._slots[0].said

    async def drain(self) -> None:
        """Let all workers say goodbye, at once, within `Config.drain_timeout`; `serve` returns then. Who does not end is killed."""
        self._stopping.set()
        for slot in self._slots:
            self._board.enter(slot.number, State.DRAINING)
        async with trio.open_nursery() as nursery:
            for slot in self._slots:
                nursery.start_soon(self._stop, slot)

    async def restart(self) -> None:
        """Let one worker after the other say goodbye, and another process take its place; the others accept meanwhile."""
        for slot in self._slots:
            if self._stopping.is_set():
                return
            ready = slot.renew()
            await self._stop(slot)
            await ready.wait()

    async def statistics(self) -> WorkersStatistics:
        """Return the figures of all workers; of one that does not answer within two seconds there are none."""
        self._asked += 1
        number, answers, complete = self._asked, dict[int, Statistics | None](), trio.Event()
        asked = [slot for slot in self._slots if slot.channel is not None and slot.channel.send({"do": "statistics", "number": number})]
        self._questions[number] = answers, complete
        try:
            with trio.move_on_after(_FIGURES):
                while len(answers) < len(asked):
                    await complete.wait()
                    complete = trio.Event()
                    self._questions[number] = answers, complete
        finally:
            del self._questions[number]
        workers = [answers.get(slot.number) for slot in self._slots]
        return WorkersStatistics(total=add_up([one for one in workers if one is not None]), workers=workers)

    async def _stop(self, slot: _Slot) -> None:
        process = slot.process
        if process is None:
            await trio.lowlevel.checkpoint()
            return
        slot.asked = True
        if not slot.said:
            process.terminate()  # it has nobody to say goodbye to yet
        elif slot.channel is not None:
            slot.channel.send({"do": "stop"})
        with trio.move_on_after(slot.patience):
            await process.wait()
            return
        logger.error("Worker %d has not ended within %g seconds and is killed.", slot.number, slot.patience)
        await self._kill(process)

    async def _kill(self, process: trio.Process) -> None:
        # With its stack in the log, for which the worker has `faulthandler`; where that is stuck, without.
        process.send_signal(signal.SIGABRT)
        with trio.move_on_after(_LAST_WORDS):
            await process.wait()
            return
        process.kill()

    # Their life.

    async def run(self, task_status: trio.TaskStatus[Workers]) -> None:
        """Keep them until `drain`.

        Raises:
          ConfigurationError: if the first ones do not start, with a sentence that says what to do about it.
          WorkersFailed: if they do not start, or end again and again.
        """
        with self._owned:
            async with trio.open_nursery() as nursery:
                for slot in self._slots:
                    nursery.start_soon(self._keep, slot)
                for slot in self._slots:
                    await slot.ready.wait()
                task_status.started(self)

    async def _keep(self, slot: _Slot) -> None:
        """Keep a process in ``slot``."""
        crashes = 0
        has_served = False
        while not self._stopping.is_set():
            began = trio.current_time()
            why = await self._run_process(slot)
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
        slot.ready.set()  # whoever waits for another process waits for nothing

    async def _run_process(self, slot: _Slot) -> str:
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
                # In a group of its own: what is typed at the terminal is for the supervisor.
                options: dict[str, Any] = {"stdin": subprocess.DEVNULL, "pass_fds": [there.fileno()], "process_group": 0}
                slot.process = process = await trio.lowlevel.open_process(command, **options)
            if self._stopping.is_set():
                process.terminate()
            self._introduce(slot, channel)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._listen, slot, channel)
                if self._worker_timeout is not None:
                    nursery.start_soon(self._watch, slot, process, self._worker_timeout)
                code = await process.wait()
                nursery.cancel_scope.cancel()
            while (received := channel.receive_nowait()) is not None:
                self._hear(slot, received[0])
            return slot.refused or _how_it_ended(code)
        finally:
            self._board.enter(slot.number, State.GONE)
            slot.process = slot.channel = None
            channel.close()
            if process is not None:
                process.kill()
                with trio.CancelScope(shield=True):
                    await process.wait()

    def _introduce(self, slot: _Slot, channel: Channel) -> None:
        """Give a new process what it needs, and link it with the others."""
        setup = self._setup | {"number": slot.number, "count": len(self._slots)}
        descriptors = [self._lifeline, self._board.descriptor, self._mailboxes[slot.number][0].fileno()]
        descriptors += [postbox.fileno() for _, postbox in self._mailboxes]
        descriptors += [listener.socket.fileno() for listener in self.listeners]
        channel.send(setup, descriptors)
        for other in self._slots:
            if other is not slot and other.channel is not None and other.process is not None:
                ends = socket.socketpair()
                for end, to in zip(ends, (channel, other.channel), strict=True):
                    with end:
                        to.send({"do": "link"}, [end.fileno()])

    async def _listen(self, slot: _Slot, channel: Channel) -> None:
        while (received := await channel.receive()) is not None:
            self._hear(slot, received[0])

    def _hear(self, slot: _Slot, message: Message) -> None:
        match message["is"]:
            case "ready":
                slot.said = message
                slot.ready.set()
            case "refused":
                slot.refused = message["why"]
            case "statistics":
                answers, complete = self._questions.get(message["number"], ({}, trio.Event()))
                figures = message["figures"]
                answers[slot.number] = None if figures is None else msgspec.convert(figures, Statistics, strict=False)
                complete.set()

    async def _watch(self, slot: _Slot, process: trio.Process, timeout: float) -> None:
        """Kill the worker once its event loop has not turned for ``timeout`` seconds."""
        await slot.ready.wait()
        pause = min(timeout / 4, _WATCH)
        while True:
            await trio.sleep(pause)
            # A drain has a time limit of its own.
            if not slot.asked and (silent := (now() - self._board.beat(slot.number)) / 1000) > timeout:
                logger.error("The event loop of worker %d has not turned for %.1f seconds; it is killed.", slot.number, silent)
                await self._kill(process)
                return


def _how_it_ended(code: int) -> str:
    if code < 0:
        try:
            return f"{signal.Signals(-code).name} ended it."
        except ValueError:
            return f"Signal {-code} ended it."
    return f"Its exit code is {code}."


async def serve(
    factory: Factory,
    host: str | None,
    port: int,
    *,
    workers: int,
    static: Path | str | None = None,
    health_path: str | None = None,
    worker_timeout: float | None = None,
    task_status: trio.TaskStatus[Workers] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Listen on a port and serve in several processes until `Workers.drain`; cancelling it kills them.

    Clients may use all transports, and nothing in front has to know about the processes: a request that comes to another one than has its
    session is handed over there.

    Args:
      factory: Returns the `Server`, or the `RoutingTable`, of a worker, or is an async context manager function that yields one. It is a
        function at the top of a module, and is called in each process. A server needs a cluster, such as
        `trio_sio.cluster.local.LocalCluster`.
      host: The name or address to listen on; ``None``: every interface.
      port: The port; 0: the kernel chooses.
      workers: How many processes.
      static: A directory to serve on every path that is not the engine's.
      health_path: Where load balancers are told whether new clients may come: as long as one worker takes any.
      worker_timeout: Seconds after which a worker whose event loop does not turn is killed, its stack in the log; ``None``: never.
      task_status: ``nursery.start`` returns the `Workers`, once all of them serve.

    Raises:
      ConfigurationError: if an argument, or the server that ``factory`` makes, is of no use here.
      WorkersFailed: if the workers do not start, or end again and again.
      OSError: if the address cannot be used.
    """
    described = _check(factory, workers, worker_timeout)
    listeners = await open_listeners(host, port)
    await _run(listeners, described, (), workers, static, health_path, worker_timeout, task_status)


async def serve_listeners(
    factory: Factory,
    sockets: Iterable[socket.socket],
    *,
    workers: int,
    arguments: Sequence[object] = (),
    static: Path | str | None = None,
    health_path: str | None = None,
    worker_timeout: float | None = None,
    task_status: trio.TaskStatus[Workers] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve on sockets that are there already: Unix sockets, inherited ones; otherwise as `serve`.

    Args:
      factory: As of `serve`.
      sockets: As of `Server.serve_listeners`.
      workers: As of `serve`.
      arguments: What ``factory`` is called with: strings, numbers, lists and dicts of these.
      static: As of `serve`.
      health_path: As of `serve`.
      worker_timeout: As of `serve`.
      task_status: As of `serve`.

    Raises:
      ValueError: if there is no socket, or one of them is no stream socket, or not bound.
      ConfigurationError, WorkersFailed, OSError: as `serve`.
    """
    with ExitStack() as owned:
        for sock in (given := list(sockets)):
            owned.callback(sock.close)
        if not given:
            raise ValueError("serve_listeners() got no socket, so nothing would listen; give it at least one.")
        described = _check(factory, workers, worker_timeout)
        listeners = [listen_on(sock) for sock in given]
        await _run(listeners, described, arguments, workers, static, health_path, worker_timeout, task_status)


def _check(factory: Factory, workers: int, worker_timeout: float | None) -> dict[str, str | None]:
    if sys.platform != "linux":
        raise ConfigurationError("Several workers need Linux; serve in one process here.")
    if type(workers) is not int or not 1 <= workers <= MOST_WORKERS:
        raise ConfigurationError(f"workers={workers!r:.80} is no number of workers; write one from 1 to {MOST_WORKERS}.")
    if worker_timeout is not None and not worker_timeout > 0:
        raise ConfigurationError(f"worker_timeout={worker_timeout!r:.80} is no time; write seconds, or None for no limit.")
    return describe(factory)


async def _run(
    listeners: Sequence[Listener],
    factory: dict[str, str | None],
    arguments: Sequence[object],
    count: int,
    static: Path | str | None,
    health_path: str | None,
    worker_timeout: float | None,
    task_status: trio.TaskStatus[Workers],
) -> None:
    setup: Message = {
        "factory": factory,
        "arguments": list(arguments),
        "path": sys.path,
        "static": None if static is None else str(static),
        "health_path": health_path,
    }
    try:
        await Workers(listeners, setup, count, worker_timeout).run(task_status)
    except ExceptionGroup as group:
        # Where several workers have failed, they have the same reason.
        error = next(leaves_of(group))
        if not isinstance(error, TrioSioError):
            raise
        raise error from error.__cause__
    finally:
        for listener in listeners:
            listener.close()

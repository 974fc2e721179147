"""Somebody types events: ``trio-sio connect`` without ``--emit`` and ``--expect``."""

from __future__ import annotations

import os
import select
from typing import Final

import trio

from .conversation import Conversation, ExitCode
from .interrupts import until_interrupted
from .notation import Written, parse_event
from .output import complain

__all__ = ["HELP", "type_events"]

HELP: Final = """\
event {"json": 1} [2]   emit an event: a name, and JSON values with blanks between them
event? "text"           the same; the acknowledgement is awaited and printed with its latency
"an event" 1            a name with blanks in it, or one that begins with / or ends with ?, is put in quotes
/state                  print the state of the connection
/help                   print this
/quit                   leave, as Ctrl-C does; Ctrl-D, the end of the input, first waits for acknowledgements"""

_LINE_BYTES: Final = 16 * 1024 * 1024  # as large as what the client takes from a server
_READ_BYTES: Final = 64 * 1024
_QUESTIONS: Final = 64  # that may be unanswered; then the next line has to wait


class _Lines:
    """Reads lines from a file descriptor.

    A thread does it, because the input may be a file as well as a terminal or a pipe, and only of the latter the kernel
    tells when there is something to read. Non-blocking reading would do it to every program that shares the terminal.
    The thread that is left behind in the end waits in ``read(2)`` or ``select(2)``, without a lock of the interpreter's
    (which it would hold in `sys.stdin`), and goes with the process.
    """

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._buffer = bytearray()
        self._ended = False

    async def next(self) -> bytes | None:
        """Return the next line; ``None`` at the end of the input.

        Raises:
          ValueError: if it is too long; the message is a sentence.
          OSError: if it cannot be read.
        """
        await trio.lowlevel.checkpoint()
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0 and not self._ended:
            searched = len(self._buffer)
            if searched > _LINE_BYTES:
                raise ValueError(f"A line has more than {_LINE_BYTES} bytes; no server takes that much by default.")
            data = await trio.to_thread.run_sync(_read, self._fd, abandon_on_cancel=True)
            self._buffer += data
            self._ended = not data
        if not self._buffer:
            return None
        if end < 0:
            end = len(self._buffer)
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line


def _read(fd: int) -> bytes:
    while True:
        try:
            return os.read(fd, _READ_BYTES)
        except BlockingIOError:  # somebody who shares it has made it so
            select.select([fd], [], [])


async def type_events(conversation: Conversation, fd: int, encoding: str, *, ack: bool) -> ExitCode:
    """Emit what is typed until the end of the input, ``/quit`` or Ctrl-C; return the exit code.

    Args:
      conversation: With whom.
      fd: Where it is typed.
      encoding: How.
      ack: Whether every event is to be acknowledged.
    """

    async def obey() -> ExitCode:
        async with trio.open_nursery() as questions:
            code = await _Console(conversation, encoding, questions, ack=ack).obey(_Lines(fd))
        return code  # noqa: RET504  # a nursery may swallow an exception, as far as mypy knows

    return await until_interrupted(obey, ExitCode.OK)


class _Console:
    """Does what the lines say.

    Args:
      conversation: With whom.
      encoding: Of the lines.
      questions: Where acknowledgements are awaited.
      ack: Whether every event is to be acknowledged.
    """

    def __init__(self, conversation: Conversation, encoding: str, questions: trio.Nursery, *, ack: bool) -> None:
        self._conversation = conversation
        self._encoding = encoding
        self._questions = questions
        self._ack = ack
        self._room = trio.Semaphore(_QUESTIONS)

    async def obey(self, lines: _Lines) -> ExitCode:
        """Do what ``lines`` say until there are no more, or one says ``/quit``; return the exit code."""
        while True:
            try:
                line = await lines.next()
            except ValueError as error:
                complain(str(error))
                return ExitCode.USAGE
            except OSError as error:
                complain(f"The standard input cannot be read: {error.strerror}.")
                return ExitCode.FAILED
            if line is None:
                return ExitCode.OK
            match line.decode(self._encoding, "backslashreplace").strip():
                case "":
                    pass
                case "/quit":
                    self._questions.cancel_scope.cancel()
                    return ExitCode.OK
                case "/state":
                    await self._conversation.output.state(await self._conversation.state())
                case "/help":
                    await self._conversation.output.text(HELP)
                case text if text.startswith("/"):
                    complain(
                        f"There is no {text!r:.60}; /help tells what there is, and an event whose name begins with / is put in quotes."
                    )
                case text:
                    await self._emit(text)

    async def _emit(self, text: str) -> None:
        try:
            written = parse_event(text)
        except ValueError as error:
            complain(str(error))
            return
        if self._ack or written.wants_ack:
            await self._room.acquire()
            await self._questions.start(self._ask, written._replace(wants_ack=True))
        else:
            await self._conversation.emit(written)

    async def _ask(self, written: Written, *, task_status: trio.TaskStatus[None]) -> None:
        try:
            await self._conversation.emit(written, task_status=task_status)
        finally:
            self._room.release()

"""What ``trio-sio connect`` prints: one line for each thing that happens."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import select
import sys

import trio

from ..client import Connected, Connecting, Ended, Event, Lost, State, Upgraded, Waiting
from .notation import MACHINE, TERMINAL, format_event, printable

__all__ = ["Output", "complain", "print_error"]


def complain(text: str) -> None:
    """Print a sentence on the standard error stream; it may quote the server."""
    print_error(f"trio-sio: {printable(text)}")


def print_error(line: str) -> None:
    """Print a line on the standard error stream, if there is one, and somebody wants to know."""
    if sys.stderr is not None:  # instead of that `print` would take the standard output
        with contextlib.suppress(OSError):
            print(line, file=sys.stderr, flush=True)


class Output:
    """Lines on a file descriptor.

    They are written by a thread: whoever reads them may take his time (``| less``), and meanwhile pings have to be
    answered. It writes past `sys.stdout`, because a thread that is left behind must not hold a lock of the interpreter.

    Args:
      fd: Where to.
      encoding: How; what it cannot express is escaped.
      as_json: Whether each line is a JSON object.

    Attributes:
      scope: Cancelled when nothing can be printed any more.
      fault: Why that is; `BrokenPipeError` if nobody reads any more.
    """

    def __init__(self, fd: int, encoding: str, *, as_json: bool) -> None:
        self.scope = trio.CancelScope()
        self.fault: OSError | None = None
        self._fd = fd
        self._encoding = encoding
        self._as_json = as_json
        self._turn = trio.StrictFIFOLock()

    async def event(self, event: Event) -> None:
        """Print an event of the server."""
        if self._as_json:
            await self._object("event", event=event.name, args=event.args)
        else:
            await self._line(f"<- {format_event(event.name, event.args)}")

    async def ack(self, event: str, latency: float, values: tuple[object, ...]) -> None:
        """Print an acknowledgement.

        Args:
          event: Of what.
          latency: After how many seconds.
          values: What was acknowledged.
        """
        if self._as_json:
            await self._object("ack", event=event, latency=latency, args=values)
        else:
            await self._line(" ".join([f"<- ack {format_event(event)} ({latency * 1000:.1f} ms)", *map(TERMINAL.write, values)]))

    async def state(self, state: State) -> None:
        """Print what becomes of the socket."""
        if self._as_json:
            fields = {field.name: getattr(state, field.name) for field in dataclasses.fields(state)}
            await self._object("state", state=type(state).__name__.lower(), **fields)
        else:
            await self._line(f"-- {printable(_describe(state))}")

    async def text(self, text: str) -> None:
        """Print text of ours."""
        if self._as_json:
            await self._object("text", text=text)
        else:
            await self._line(text)

    async def _object(self, type: str, **fields: object) -> None:
        known = {name: str(value) if isinstance(value, Exception) else value for name, value in fields.items()}
        await self._line(MACHINE.write({"type": type, **known}))

    async def _line(self, text: str) -> None:
        data = f"{text}\n".encode(self._encoding, "backslashreplace")
        async with self._turn:
            try:
                await trio.to_thread.run_sync(_write_all, self._fd, data, abandon_on_cancel=True)
            except OSError as error:
                self.fault = error
                self.scope.cancel()


def _write_all(fd: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:  # somebody who shares it has made it so
            select.select([], [fd], [])


def _describe(state: State) -> str:
    match state:
        case Connected():
            return f"connected id={format_event(state.id)} transport={state.transport}{' recovered' if state.recovered else ''}"
        case Upgraded():
            return f"upgraded transport={state.transport}"
        case Lost():
            return f"lost: {state.reason} ({state.detail})"
        case Waiting():
            return f"again in {state.delay:.1f} s"
        case Connecting():
            return "connecting"
        case Ended():
            return f"ended: {state.reason}"

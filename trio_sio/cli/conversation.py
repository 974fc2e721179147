"""What ``trio-sio connect`` does while it is connected: it prints what comes, next to whoever talks."""

from __future__ import annotations

import enum
from collections.abc import Awaitable, Callable

import trio

from ..client import ClientSocket, Ended, Event, State
from ..client.states import StateStream
from ..errors import ConnectFailed, ConnectionRefused, Disconnected, EncodeError
from .notation import MACHINE, Written
from .output import Output, complain, print_error

__all__ = ["Conversation", "ExitCode", "explain"]


class ExitCode(enum.IntEnum):
    """How ``trio-sio connect`` ends."""

    OK = 0
    FAILED = 1
    USAGE = 2
    NO_CONNECTION = 3
    REFUSED = 4


def explain(error: Exception | None) -> ExitCode:
    """Say on the standard error stream why the connection is not there, and return the exit code for it."""
    match error:
        case ConnectionRefused():
            print_error(MACHINE.write({"message": error.message, "data": error.data}))
            return ExitCode.REFUSED
        case ConnectFailed():
            complain(str(error))
            return ExitCode.NO_CONNECTION
        case None:
            complain("The server has disconnected this client.")
        case _:
            complain(str(error))
    return ExitCode.FAILED


class Conversation:
    """One socket, and what is printed about it.

    Args:
      socket: The socket.
      output: Where it is printed.
      timeout: Seconds that it may take until an event is taken, or acknowledged.

    Attributes:
      socket, output: As given.
      on_event: Called with each event of the server once it was printed.
    """

    def __init__(self, socket: ClientSocket, output: Output, timeout: float) -> None:
        self.socket = socket
        self.output = output
        self._timeout = timeout
        self.on_event: Callable[[Event], None] = lambda _event: None

    async def run(self, talk: Callable[[], Awaitable[ExitCode]]) -> ExitCode:
        """Print what comes until ``talk`` returns, or the socket is over; return the exit code."""
        code = ExitCode.OK
        async with self.socket.states() as states, trio.open_nursery() as nursery:
            # Before the events, which may have come already.
            await self._print_state(await anext(states))
            nursery.start_soon(self._print_states, states)

            @nursery.start_soon
            async def listen() -> None:
                nonlocal code
                ended = await self._print_events()
                code = explain(ended.error)
                nursery.cancel_scope.cancel()

            code = await talk()
            nursery.cancel_scope.cancel()
        return code

    async def _print_states(self, states: StateStream) -> None:
        async for state in states:
            await self._print_state(state)

    async def _print_state(self, state: State) -> None:
        if not isinstance(state, Ended):  # that comes behind the last event
            await self.output.state(state)

    async def _print_events(self) -> Ended:
        async for event in self.socket:
            await self.output.event(event)
            self.on_event(event)
        ended = await self.socket.closed()
        await self.output.state(ended)
        return ended

    async def state(self) -> State:
        """Return what has become of the socket."""
        async with self.socket.states() as states:
            return await anext(states)

    async def emit(self, written: Written, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> ExitCode:
        """Emit an event; print the acknowledgement if it is wanted, and say what went wrong.

        Args:
          written: The event.
          task_status: Started when the event is on its way and only the acknowledgement is missing.
        """
        event, args = written.event, written.args
        try:
            if written.wants_ack:
                asked_at = trio.current_time()
                # It is emitted before anything else runs, so what is emitted after `nursery.start` comes behind it.
                task_status.started()
                answer = await self.socket.emit_with_ack(event, *args, timeout=self._timeout)
                latency = trio.current_time() - asked_at
                await self.output.ack(event, latency, answer if isinstance(answer, tuple) else (answer,))
            else:
                with trio.fail_after(self._timeout):
                    await self.socket.emit(event, *args)
        except EncodeError as error:
            complain(str(error))
            return ExitCode.USAGE
        except trio.TooSlowError:
            missing = "acknowledged" if written.wants_ack else "taken"
            complain(f"{written.text!r} was not {missing} within {self._timeout:g} seconds.")
            return ExitCode.FAILED
        except Disconnected as error:
            if isinstance(await self.state(), Ended):
                # `run` prints what has arrived before, and why it is over.
                await trio.sleep_forever()
            complain(str(error))
            return ExitCode.FAILED
        return ExitCode.OK

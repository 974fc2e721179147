"""The metrics of all workers, whichever of them is asked: it asks the others.

A question is one end of a pair of sockets, in the mailbox of who is asked. That one writes what it has and closes it. So there is no
number to match and no size to agree on, and a worker that hangs is missed by nobody but who waits for it.
"""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Final

import trio

from ..log import get_logger
from .board import State

if TYPE_CHECKING:
    from .board import Board
    from .handover import PostBox

__all__ = ["QUESTION", "Scrapes"]

logger = get_logger("trio_sio.workers")

QUESTION: Final = "?"
"""Stands where a connection has its peer's host: who asks is no client."""

_PATIENCE: Final = 2.0  # seconds within which a worker tells its own
_LARGEST: Final = 64 * 1024 * 1024  # bytes, of one worker


class Scrapes:
    """Asks the other workers, and answers them.

    Args:
      number: Which worker this is.
      board: What all of them know.
      postboxes: Where questions go, by worker.
      tell: Returns the metrics of this one, as text.
    """

    def __init__(self, number: int, board: Board, postboxes: Sequence[PostBox], tell: Callable[[], Awaitable[bytes]]) -> None:
        self._number = number
        self._board = board
        self._postboxes = postboxes
        self._tell = tell

    async def ask_all(self) -> Mapping[int, str]:
        """Return what the others tell, by number, without those that do not within two seconds."""
        told: dict[int, str] = {}

        async def ask(number: int) -> None:
            text = await self._ask(self._postboxes[number])
            if text is not None:
                told[number] = text

        with trio.move_on_after(_PATIENCE):
            async with trio.open_nursery() as nursery:
                for number in range(self._board.count):
                    if number != self._number and self._board.state(number) in (State.SERVING, State.DRAINING):
                        nursery.start_soon(ask, number)
        return told

    async def _ask(self, postbox: PostBox) -> str | None:
        try:
            here, there = socket.socketpair()
        except OSError as error:  # without descriptors one still tells of oneself
            logger.warning("Another worker cannot be asked for its metrics: %s", error)
            return None
        async with trio.SocketStream(trio.socket.from_stdlib_socket(here)) as stream:
            with there:
                if not await postbox.put(there, QUESTION, b""):
                    return None
            data = bytearray()
            try:
                async for received in stream:
                    data += received
                    if len(data) > _LARGEST:
                        return None
            except trio.BrokenResourceError:
                return None
        # Whoever has ended in the middle of it has not said so.
        return data.decode() if data.endswith(b"\n# EOF\n") else None

    def answer_soon(self, nursery: trio.Nursery, sock: socket.socket) -> None:
        """Tell who has asked at the other end of ``sock``, in a task of its own; they do not wait for long."""
        nursery.start_soon(self._answer, sock)

    async def _answer(self, sock: socket.socket) -> None:
        async with trio.SocketStream(trio.socket.from_stdlib_socket(sock)) as stream:
            with trio.move_on_after(_PATIENCE):
                try:
                    await stream.send_all(await self._tell() + b"# EOF\n")
                except trio.BrokenResourceError:
                    logger.debug("Another worker waits no longer for the metrics of this one.")
                except Exception:
                    # What the registry has may be the application's; a scrape is no reason for the end of a worker.
                    logger.exception("The metrics of this worker cannot be told, so it is missing where another one is scraped.")

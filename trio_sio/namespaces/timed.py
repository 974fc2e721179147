"""One client with a time to wait: what `timeout` of a socket returns, as Node's ``socket.timeout(5000)``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar, overload

from .answers import require_patience

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from ..signatures.events import ServerEvent

__all__ = ["TimedSocket"]

P = ParamSpec("P")
R = TypeVar("R")


class TimedSocket:
    """A socket whose `emit_with_ack` waits for so long. Immutable, so it may be kept and used again.

    Args:
      ask: The `emit_with_ack` of the socket.
      seconds: How long that is.

    Raises:
      ValueError: if it is negative, or not a number.
    """

    __slots__ = ("_ask", "_seconds")

    def __init__(self, ask: Callable[..., Awaitable[Any]], seconds: float) -> None:
        require_patience(seconds)
        self._ask = ask
        self._seconds = seconds

    @overload
    async def emit_with_ack(self, event: str, *args: object) -> object: ...
    @overload
    async def emit_with_ack(self, event: ServerEvent[P, R], *args: P.args, **named: P.kwargs) -> R: ...

    async def emit_with_ack(self, event: Any, *args: Any, **named: Any) -> Any:
        """Emit, and return what the client answers: that of the socket, with ``timeout=``."""
        return await self._ask(event, *args, timeout=self._seconds, **named)

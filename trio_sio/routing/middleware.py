"""What surrounds a handler: `Context`, one delivery, and `Chain`, the onion of middleware around it."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from types import CoroutineType
from typing import TYPE_CHECKING, Any

from ..concurrency.functions import name_of, not_awaitable
from ..errors import RouteError
from ..log import get_logger
from ..namespaces.acks import Ack

if TYPE_CHECKING:
    from ..namespaces.acks import Asker
    from ..namespaces.running_server import RunningServer
    from ..namespaces.socket import Socket

__all__ = ["Chain", "Context", "ExceptionHandler", "ExceptionHandlers", "Middleware", "Next", "layers_of"]

logger = get_logger("trio_sio.routing")


class Context:
    """One delivery: a message on its way to its handler, or a client that connects. Never shared between two.

    Attributes:
      socket: Whose message it is.
      event: The event's name; ``None`` while connecting and disconnecting.
      args: What came with the event. Middleware may replace it; the handler gets what is there when it is called.
    """

    __slots__ = ("_ack", "_ack_id", "_asker", "_state", "args", "event", "socket")

    def __init__(
        self,
        socket: Socket,
        event: str | None = None,
        args: Sequence[Any] = (),
        ack_id: int | None = None,
        asker: Asker | None = None,
    ) -> None:
        self.socket = socket
        self.event = event
        self.args = args
        self._ack_id = ack_id
        self._asker = asker
        self._ack: Ack | None = None
        self._state: dict[str, Any] | None = None

    @property
    def wants_ack(self) -> bool:
        """Whether the client waits for an answer."""
        return self._ack_id is not None

    @property
    def state(self) -> dict[str, Any]:
        """Room for what middleware wants to hand on, for as long as this delivery lasts."""
        if self._state is None:
            self._state = {}
        return self._state

    @property
    def server(self) -> RunningServer:
        """`Socket.server`; a parameter of a handler that is annotated `Server` is the same, with all its methods."""
        return self.socket.server

    def _take_ack(self) -> Ack:
        """Return the ack as an object, which from now on is the only way to answer."""
        if self._ack is None:
            self._ack = Ack(self._asker, self._ack_id)
        return self._ack

    def __repr__(self) -> str:
        return f"<Context event={self.event!r} socket={self.socket.id!r}>"


Next = Callable[[], Awaitable[object]]
"""What middleware calls to go on: returns what the rest of the onion returned."""

Middleware = Callable[[Context, Next], Awaitable[object]]
"""``async def timing(ctx, call_next): return await call_next()``. What it returns is the reply."""

ExceptionHandler = Callable[[Context, Any], object]
"""``def missing(ctx, exc): return {"status": "error"}``, sync or async. What it returns is the ack, unless ``None``."""

ExceptionHandlers = Mapping[type[Exception], ExceptionHandler]
"""Exception handlers by the type that they are for; subclasses included."""


class Chain:
    """Middleware around a core, outermost first.

    Args:
      layers: The middleware.
      warned: Remembers, by id, which middleware was already said to lose its result; one set per routing table.
    """

    __slots__ = ("layers", "warned")

    def __init__(self, layers: Sequence[Middleware], warned: set[int]) -> None:
        self.layers = tuple(layers)
        self.warned = warned

    async def run(self, ctx: Context, core: Next) -> object:
        """Run every layer around ``core`` and return what the outermost returned."""
        return await _Step(self, 0, ctx, core)()


class _Step:
    """The ``call_next`` of one layer, for one delivery."""

    __slots__ = ("_called", "_chain", "_core", "_ctx", "_index", "_value")

    def __init__(self, chain: Chain, index: int, ctx: Context, core: Next) -> None:
        self._chain = chain
        self._index = index
        self._ctx = ctx
        self._core = core
        self._called = False
        self._value: object = None

    async def __call__(self) -> object:
        layers, index = self._chain.layers, self._index
        if self._called:
            raise RuntimeError(f"call_next() was called twice by {name_of(layers[index - 1])}; call it once and keep the result.")
        self._called = True
        if index == len(layers):
            self._value = await self._core()
            return self._value
        inner = _Step(self._chain, index + 1, self._ctx, self._core)
        result = layers[index](self._ctx, inner)
        if type(result) is not CoroutineType and not inspect.isawaitable(result):
            not_awaitable(layers[index], result)
        self._value = await result
        if self._value is None and inner._value is not None:
            self._warn(layers[index])
        return self._value

    def _warn(self, layer: Middleware) -> None:
        if id(layer) in self._chain.warned:
            return
        self._chain.warned.add(id(layer))
        logger.warning(
            "Middleware %s received a result from call_next() and returned None, so the result is lost; "
            "write `return await call_next()`, or return something else on purpose.",
            name_of(layer),
        )


def layers_of(middleware: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """Return ``middleware`` as a tuple, or say that one function is no list."""
    if callable(middleware):
        raise RouteError(f"middleware={name_of(middleware)} is one function; write middleware=[{name_of(middleware)}].")
    if not isinstance(middleware, Iterable):
        raise RouteError(f"middleware={middleware!r:.80} is no list; write middleware=[...], or leave it out.")
    return tuple(middleware)

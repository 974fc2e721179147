"""What happens when a handler raises: exception handlers, the answer that the client gets, and the log."""

from __future__ import annotations

import inspect
from functools import partial
from typing import Final, NoReturn

from ..concurrency.functions import name_of
from ..concurrency.groups import leaves_of, raise_rest, unwrap
from ..errors import BadMessage, ConnectionRefused, NoAck, Refused
from ..log import get_logger
from ..namespaces.failures import error_object, log_bad_message, log_failure_of, log_refusal, quote
from .middleware import Context, ExceptionHandler, ExceptionHandlers

__all__ = ["UNANSWERED", "ExceptionHandling", "find_refusal", "log_failure", "propagate"]

logger = get_logger("trio_sio.routing")

UNANSWERED: Final = object()
"""What `ExceptionHandling.handle` returns when the client shall get no ack."""


class ExceptionHandling:
    """The exception handlers that apply to one handler.

    Args:
      layers: Those of the event, the route and the table: the closest first.
    """

    __slots__ = ("_layers",)

    def __init__(self, *layers: ExceptionHandlers | None) -> None:
        self._layers = tuple(layer for layer in layers if layer)

    def find(self, exc: Exception) -> tuple[ExceptionHandler, Exception] | None:
        """Return the handler for ``exc`` and what to give it.

        A group goes to the handler that is right for every exception in it: the first of them, or the whole group if
        that is what the handler is for.
        """
        if not isinstance(exc, ExceptionGroup):
            return None if (found := self._lookup(exc)) is None else (found[1], exc)
        leaves = list(leaves_of(exc))
        found = self._lookup(leaves[0])
        if any(self._lookup(leaf) != found for leaf in leaves[1:]):
            found = self._lookup(exc)
        if found is None:
            return None
        kind, handler = found
        return handler, exc if isinstance(exc, kind) else leaves[0]

    def _lookup(self, exc: Exception) -> tuple[type[Exception], ExceptionHandler] | None:
        for layer in self._layers:
            for kind in type(exc).__mro__:
                if kind in layer:
                    return kind, layer[kind]
        return None

    async def handle(self, ctx: Context, exc: Exception, where: str) -> object:
        """Let an exception handler decide about ``exc``, or log it.

        Args:
          ctx: The delivery that failed.
          exc: What the handler, or middleware around it, raised.
          where: The handler's name.

        Returns:
          What the client's ack is, or `UNANSWERED`.
        """
        exc = unwrap(exc)
        if isinstance(exc, NoAck):
            return UNANSWERED
        if (found := self.find(exc)) is not None:
            handler, exc = found
            try:
                value = handler(ctx, exc)
                if inspect.isawaitable(value):
                    value = await value
            except NoAck:
                return UNANSWERED
            except Exception as second:
                log_failure(f"The exception handler {name_of(handler)} of {where}", ctx, second)
            else:
                # `None` is what a handler returns that only writes a log; it must not look like success.
                if value is not None:
                    return value
        elif isinstance(exc, BadMessage) and ctx.event is not None:
            log_bad_message(where, ctx.event, ctx.socket, exc, logger)
        elif isinstance(exc, Refused) and ctx.event is not None:
            log_refusal(where, ctx.event, ctx.socket, exc, logger)
        else:
            log_failure(where, ctx, exc)
        return error_object(exc) if ctx.socket.namespace.config.error_acks else UNANSWERED


def log_failure(where: str, ctx: Context, exc: BaseException) -> None:
    """Log an exception that nothing handles, as `log_failure_of` does."""
    what = "while connecting or disconnecting" if ctx.event is None else f"on event {quote(ctx.event)}"
    log_failure_of(where, what, ctx.socket, exc, logger)


def propagate(group: BaseExceptionGroup[BaseException], ctx: Context, where: str) -> NoReturn:
    """Log the part of ``group`` that is somebody's error, and raise the rest: a cancellation, or the end of the program."""
    raise_rest(group, partial(log_failure, where, ctx))


def find_refusal(exc: Exception) -> Exception:
    """Return the `ConnectionRefused` that ``exc`` is or consists of, else ``exc``."""
    unwrapped = unwrap(exc)
    return unwrapped if isinstance(unwrapped, ConnectionRefused) else exc

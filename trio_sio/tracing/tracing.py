"""`Tracing`: an instrument that makes spans."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Protocol
from weakref import WeakKeyDictionary

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, Span, SpanContext, SpanKind, StatusCode

from ..concurrency.groups import unwrap
from ..errors import ConnectionRefused
from ..namespaces.instrument import Instrument
from ..namespaces.labels import Labels, Routed
from . import naming
from .carrying import carry, read
from .naming import about, about_event, bounded

if TYPE_CHECKING:
    from ..namespaces.socket import Socket
    from ..namespaces.socket_instrument import AckOutcome, EventOutcome
    from ..namespaces.target import Target

__all__ = ["Tracing"]

_OUTSIDE: Final = Context()  # where there is no span


class Traced(Routed, Protocol):
    """A server, as far as it is traced; see `Server`."""

    def add_instrument(self, instrument: Instrument, /) -> None:
        """Let it be told what happens."""


@dataclass(slots=True)
class _Sending:
    """What is being emitted, or delivered, and already has its span."""

    namespace: str
    event: str
    span: Span
    is_told: bool = False

    def is_for(self, namespace: str, event: str) -> bool:
        """Tell whether this is what is told now."""
        return not self.is_told and self.event == event and self.namespace == namespace


@dataclass(slots=True)
class _Handling:
    """An event whose turn has come."""

    socket: str
    event: str
    span: Span
    is_over: bool = False

    def is_of(self, socket: Socket, event: str) -> bool:
        """Tell whether this goes on here: in a task of its own, which has been started for what middleware was around."""
        return not self.is_over and self.event == event and self.socket == socket.id

    def end(self) -> None:
        """Let its span be over."""
        self.is_over = True
        self.span.end()


_handling: ContextVar[_Handling | None] = ContextVar("trio_sio.tracing.handling", default=None)
_sending: ContextVar[_Sending | None] = ContextVar("trio_sio.tracing.sending", default=None)


class Tracing(Instrument):
    """Makes spans for OpenTelemetry: ``Tracing(server)``, before the server is entered; docs/operations.md has them all.

    Handlers run within the span of their event, and so does what they start; what they emit and ask is below it. A broadcast is
    continued on other servers that trace. A client's ``traceparent``, of the request that opened its connection, is where the span of
    its connecting belongs to, to which those of its events are linked: a trace that lasts as long as a connection would be of no use.

    Nothing that is sent, and no message of an exception, is in a span.

    Args:
      server: The server.
      tracer_provider: Where the spans go; ``None``: to the global one.

    Raises:
      RuntimeError: if the server was entered already.

    Attributes:
      bad_contexts: How many clients, and messages of other servers, had a ``traceparent`` that is none.
    """

    def __init__(self, server: Traced, tracer_provider: trace.TracerProvider | None = None) -> None:
        self._tracer = trace.get_tracer("trio_sio", tracer_provider=tracer_provider)
        self._names = Labels(server)
        self._connections: WeakKeyDictionary[Socket, SpanContext] = WeakKeyDictionary()
        self._begun: list[_Sending] = []  # broadcasts that are being emitted: the last one because of those before it
        self.bad_contexts = 0
        server.add_instrument(self)

    def _read(self, carried: Mapping[str, str]) -> SpanContext | None:
        try:
            return read(carried)
        except ValueError:
            self.bad_contexts += 1
            return None

    # Connections.

    @contextmanager
    def connecting(self, socket: Socket) -> Iterator[None]:
        """See `Instrument.connecting`."""
        origin = self._read(socket.handshake.headers)
        with self._around_hooks("connect", SpanKind.SERVER, socket, _within(origin)) as span:
            self._connections[socket] = span.get_span_context()
            try:
                yield
            except Exception as error:
                _note(span, error, is_failure=not isinstance(unwrap(error), ConnectionRefused))
                raise

    @contextmanager
    def disconnecting(self, socket: Socket, reason: str) -> Iterator[None]:
        """See `Instrument.disconnecting`."""
        with self._around_hooks("disconnect", SpanKind.INTERNAL, socket, _OUTSIDE) as span:
            span.set_attribute(naming.REASON, reason)
            yield

    @contextmanager
    def _around_hooks(self, operation: str, kind: SpanKind, socket: Socket, context: Context) -> Iterator[Span]:
        name = socket.namespace.name
        attributes = about(operation, name)
        attributes[naming.CLIENT] = socket.id
        name = f"{operation} {self._names.namespace(name)}"
        span = self._tracer.start_span(name, context, kind, attributes, self._links(socket))
        with _current(span):
            yield span

    def _links(self, socket: Socket) -> list[Link]:
        context = self._connections.get(socket)
        return [] if context is None or not context.is_valid else [Link(context)]

    # Events of clients.

    @contextmanager
    def handling(self, socket: Socket, event: str, args: Sequence[Any]) -> Iterator[None]:
        """See `Instrument.handling`."""
        handling = _handling.get()
        if handling is None or not handling.is_of(socket, event):
            handling = _Handling(socket.id, event, self._start_processing(socket, event))
        token = _handling.set(handling)
        try:
            with _current(handling.span, ends=False):
                yield
        finally:
            _handling.reset(token)

    def event_handled(self, socket: Socket, event: str, seconds: float, outcome: EventOutcome, error: BaseException | None) -> None:
        """See `Instrument.event_handled`."""
        handling = _handling.get()
        if handling is None or not handling.is_of(socket, event):
            return
        handling.span.set_attribute(naming.OUTCOME, outcome)
        if error is not None and outcome != "cancelled":
            _note(handling.span, error, is_failure=outcome == "failed")
        handling.end()

    def event_refused(self, socket: Socket, event: str, reason: str) -> None:
        """See `Instrument.event_refused`: if its turn had come, and only the task for it had not."""
        handling = _handling.get()
        if handling is not None and handling.is_of(socket, event):
            handling.span.set_attribute(naming.REASON, bounded(reason))
            handling.end()

    def _start_processing(self, socket: Socket, event: str) -> Span:
        namespace = socket.namespace.name
        attributes = about_event("process", "process", namespace, event)
        attributes[naming.CLIENT] = socket.id
        name = f"process {self._names.event(namespace, event)[1]}"
        return self._tracer.start_span(name, _OUTSIDE, SpanKind.CONSUMER, attributes, self._links(socket))

    # What is emitted.

    def event_emitted(self, socket: Socket, event: str, args: Sequence[object], size: int) -> None:
        """See `Instrument.event_emitted`."""
        namespace = socket.namespace.name
        sending = _sending.get()
        if sending is not None and sending.is_for(namespace, event):
            sending.is_told = True
            sending.span.set_attribute(naming.SIZE, size)
            return
        span = self._start_sending("send", namespace, event)
        span.set_attributes({naming.CLIENT: socket.id, naming.SIZE: size})
        span.end()

    def broadcast_emitted(self, namespace: str, event: str, args: Sequence[object], target: Target, count: int, size: int) -> None:
        """See `Instrument.broadcast_emitted`."""
        sending = _sending.get()
        if sending is not None and sending.is_for(namespace, event):
            sending.is_told = True
            span, ends = sending.span, False
        else:
            # What stays here travels to nobody, so `inject` has not heard of it.
            begun = None if target.local else self._take_begun(namespace, event)
            span = self._start_sending("send", namespace, event) if begun is None else begun
            ends = True
        if span.is_recording():
            span.set_attributes({naming.COUNT: count, naming.SIZE: size, naming.ROOMS: naming.rooms(target.rooms)})
        if ends:
            span.end()

    def broadcast_failed(self, namespace: str, event: str, error: BaseException) -> None:
        """See `Instrument.broadcast_failed`."""
        span = self._take_begun(namespace, event)
        if span is not None:
            _note(span, error, is_failure=True)
            span.end()

    def _take_begun(self, namespace: str, event: str) -> Span | None:
        """Return the span that `inject` has begun, if it has: that of the broadcast which is emitted now."""
        if self._begun and self._begun[-1].is_for(namespace, event):
            return self._begun.pop().span
        return None

    def _start_sending(self, operation: str, namespace: str, event: str) -> Span:
        return self._tracer.start_span(
            f"{operation} {bounded(event)}", kind=SpanKind.PRODUCER, attributes=about_event(operation, "send", namespace, event)
        )

    # What is asked.

    @contextmanager
    def asking(self, namespace: str, event: str, socket: Socket | None) -> Iterator[None]:
        """See `Instrument.asking`."""
        span = self._start_sending("ask", namespace, event)
        if socket is not None:
            span.set_attribute(naming.CLIENT, socket.id)
        with self._telling(_Sending(namespace, event, span)):
            yield

    def ack_settled(self, namespace: str, event: str, socket: Socket | None, seconds: float, outcome: AckOutcome) -> None:
        """See `Instrument.ack_settled`."""
        sending = _sending.get()
        if sending is None:
            return
        sending.span.set_attribute(naming.OUTCOME, outcome)
        if outcome not in ("answered", "cancelled"):
            sending.span.set_attribute(naming.ERROR, outcome)
            sending.span.set_status(StatusCode.ERROR)

    # Other servers.

    def inject(self, namespace: str, event: str) -> Mapping[str, str] | None:
        """See `Instrument.inject`: begin the span of a broadcast, and tell the others of it."""
        sending = _sending.get()
        if sending is None or not sending.is_for(namespace, event):
            sending = _Sending(namespace, event, self._start_sending("send", namespace, event))
            self._begun.append(sending)
        context = sending.span.get_span_context()
        return carry(context) if context.is_valid else None

    @contextmanager
    def delivering(self, namespace: str, event: str, carried: Mapping[str, str]) -> Iterator[None]:
        """See `Instrument.delivering`."""
        origin = self._read(carried)
        span = self._tracer.start_span(
            f"deliver {bounded(event)}",
            _within(origin),
            SpanKind.CONSUMER,
            about_event("deliver", "receive", namespace, event),
            [] if origin is None else [Link(origin)],
        )
        with self._telling(_Sending(namespace, event, span)):
            yield

    @contextmanager
    def _telling(self, sending: _Sending) -> Iterator[None]:
        token = _sending.set(sending)
        try:
            with _current(sending.span):
                yield
        finally:
            _sending.reset(token)


def _within(origin: SpanContext | None) -> Context:
    return _OUTSIDE if origin is None else trace.set_span_in_context(NonRecordingSpan(origin), _OUTSIDE)


def _current(span: Span, *, ends: bool = True) -> AbstractContextManager[Span]:
    return trace.use_span(span, end_on_exit=ends, record_exception=False, set_status_on_exception=False)


def _note(span: Span, error: BaseException, *, is_failure: bool) -> None:
    cause = unwrap(error) if isinstance(error, Exception) else error
    span.set_attribute(naming.ERROR, type(cause).__qualname__)
    if is_failure:
        span.set_status(StatusCode.ERROR)

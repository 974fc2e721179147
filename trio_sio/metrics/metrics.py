"""`Metrics`: an instrument that counts for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import cache
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.registry import Collector

from ..errors import ConfigurationError
from ..namespaces.instrument import Instrument
from ..namespaces.labels import Labels, Routed
from ..namespaces.socket_instrument import AckOutcome, EventOutcome
from .figures import PREFIX, Figures
from .page import metrics_page

if TYPE_CHECKING:
    from ..doors.asgi.messages import ASGIFramework, Receive, Scope, Send
    from ..health import Ready
    from ..namespaces.socket import Socket
    from ..namespaces.target import Target
    from ..statistics import Statistics

__all__ = ["Metrics", "metrics_of"]

# Seconds. Handlers take microseconds to seconds, round trips through the world milliseconds to seconds.
_HANDLING: Final = (0.0001, 0.0005, 0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5)
_WAITING: Final = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)


_EVENT: Final = ("namespace", "event")

Figure = TypeVar("Figure", Counter, Gauge, Histogram)


class Measured(Routed, Protocol):
    """A server, as far as it is measured; see `Server`."""

    @property
    def running(self) -> bool:
        """Whether it has been entered and not left."""

    @property
    def instruments(self) -> Sequence[Instrument]:
        """What is told already."""

    def add_instrument(self, instrument: Instrument, /) -> None:
        """Let it be told what happens."""

    def statistics(self) -> Statistics:
        """Return the figures of this moment."""

    def ready(self) -> Ready:
        """Tell whether the server takes new clients."""


class Metrics(Instrument):
    """Counts what a server does, for Prometheus: ``metrics = Metrics(server)``, before the server is entered.

    All names begin with ``trio_sio_``; docs/operations.md explains them. No label has a value of a client's choosing.

    Args:
      server: The server.
      registry: Where the figures are registered; ``None``: one of their own, with those of the process.

    Raises:
      RuntimeError: if the server was entered already.
      ConfigurationError: if the registry has the figures of another server.

    Attributes:
      registry: As given, or made.
    """

    def __init__(self, server: Measured, registry: CollectorRegistry | None = None) -> None:
        self._server = server
        self._names = Labels(server)
        if registry is None:
            registry = CollectorRegistry()
            ProcessCollector(registry=registry)
        self.registry = registry
        collectors = [Figures(self._statistics, server.ready, self._namespace), *self._make()]
        with ExitStack() as undo:  # a registry of the application's has all of it, or stays as it was
            for collector in collectors:
                try:
                    registry.register(collector)
                except ValueError as error:
                    raise ConfigurationError("This registry has the metrics of another server; give each server one of its own.") from error
                undo.callback(registry.unregister, collector)
            server.add_instrument(self)
            undo.pop_all()

    def asgi(self) -> ASGIFramework:
        """Return an ASGI application that answers scrapes, to mount where a host's door has its pages.

        At our own listener there is ``serve(metrics_path=...)``.
        """
        from ..doors.asgi.messages import read_request, response_messages

        page = metrics_page(self.registry)

        async def application(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] == "websocket":
                await receive()
                await send({"type": "websocket.close"})
                return
            if scope["type"] == "lifespan":
                # Whoever dispatches tells it to all applications, and waits for each.
                for phase in ("startup", "shutdown"):
                    await receive()
                    await send({"type": f"lifespan.{phase}.complete"})
                return
            if scope["type"] != "http":
                raise ConfigurationError(f"The metrics are a page, and know nothing of {scope['type']!r:.80}.")
            for message in response_messages("http", await page(read_request(scope)), scope):
                await send(message)

        return application

    def _make(self) -> list[Collector]:
        """Make what is counted, and return it."""
        made: list[Collector] = []

        def plain(kind: Callable[..., Figure], name: str, documentation: str, **options: Any) -> Figure:
            made.append(one := kind(PREFIX + name, documentation, registry=None, **options))
            return one

        def labelled(kind: Callable[..., Figure], name: str, documentation: str, *labels: str, **options: Any) -> Callable[..., Figure]:
            # What `labels` returns is looked up under a lock of its own, at the price of an event's decoding. There are few, as labels are.
            one: Any = plain(kind, name, documentation, labelnames=labels, **options)
            return cache(one.labels)

        self._moved = plain(Counter, "sessions_moved", "Sessions that have moved from polling to a WebSocket.")
        self._dropped = labelled(Counter, "packets_dropped", "Packets for clients that were not sent.", "reason")
        self._waited = plain(Histogram, "outbox_seconds", "How long packets wait until they are sent, sampled.", buckets=_WAITING)
        self._joined = labelled(Counter, "sockets_joined", "Sockets that were connected.", "namespace")
        self._left = labelled(Counter, "sockets_left", "Sockets that were disconnected.", "namespace", "reason")
        self._refused = labelled(Counter, "sockets_refused", "Clients that were not let into a namespace.", "namespace")
        self._received = labelled(Counter, "events_received", "Events of clients.", "namespace")
        self._received_bytes = labelled(Counter, "received_bytes", "Bytes of payload of events of clients.", "namespace")
        self._handled = labelled(Counter, "events_handled", "Events of clients whose turn has come.", *_EVENT, "outcome")
        self._handling = labelled(Histogram, "handler_seconds", "For how long middleware and handler ran.", *_EVENT, buckets=_HANDLING)
        self._unhandled = labelled(
            Counter, "events_refused", "Events of clients whose turn has not come before these were gone.", "namespace"
        )
        self._slow = labelled(Counter, "slow_handlers", "Handlers that have kept others waiting for over a second.", *_EVENT)
        self._emitted = labelled(Counter, "events_emitted", "Events that were emitted, each broadcast once.", *_EVENT)
        self._deliveries = labelled(Counter, "deliveries", "Sockets that these were for.", *_EVENT)
        self._emitted_bytes = labelled(Counter, "emitted_bytes", "Bytes of payload of these, for each socket.", "namespace")
        self._acks = labelled(Counter, "acks", "Acknowledgements that were asked for, settled.", *_EVENT, "outcome")
        self._asking = labelled(
            Histogram, "ack_seconds", "How long it took until an acknowledgement was settled.", *_EVENT, buckets=_WAITING
        )
        self._round_trip = plain(Histogram, "round_trip_seconds", "From a ping to its pong.", buckets=_WAITING)
        self._lag = plain(Histogram, "loop_lag_seconds", "By how much the event loop is late, sampled each second.", buckets=_WAITING)
        self._blocked = plain(Counter, "loop_blocked", "How often something has kept the event loop from turning for a second.")
        self._draining = plain(Gauge, "draining", "1 while the server drains, else 0.")
        self._bus_up = plain(Gauge, "bus_up", "1 if what is emitted reaches the other servers, else 0; 1 without any.")
        self._bus_up.set(1)
        self._bus_lag = plain(Histogram, "bus_lag_seconds", "How long the bus takes to answer, sampled.", buckets=_WAITING)
        return made

    def _statistics(self) -> Statistics | None:
        return self._server.statistics() if self._server.running else None

    def _namespace(self, name: str) -> str:
        return self._names.namespace(name)

    # What it is told; see `Instrument`.

    def session_moved(self, sid: str, transport: str) -> None:
        self._moved.inc()

    def packets_dropped(self, sid: str, count: int, reason: str) -> None:
        self._dropped(reason).inc(count)

    def socket_joined(self, socket: Socket) -> None:
        self._joined(self._namespace(socket.namespace.name)).inc()

    def socket_left(self, socket: Socket, reason: str) -> None:
        self._left(self._namespace(socket.namespace.name), reason).inc()

    def socket_refused(self, namespace: str, reason: str, socket: Socket | None) -> None:
        self._refused(self._namespace(namespace)).inc()

    def event_received(self, socket: Socket, event: str, args: Sequence[Any], size: int) -> None:
        namespace = self._namespace(socket.namespace.name)
        self._received(namespace).inc()
        self._received_bytes(namespace).inc(size)

    def event_handled(self, socket: Socket, event: str, seconds: float, outcome: EventOutcome, error: BaseException | None) -> None:
        labels = self._names.event(socket.namespace.name, event)
        self._handled(*labels, outcome).inc()
        self._handling(*labels).observe(seconds)

    def event_refused(self, socket: Socket, event: str, reason: str) -> None:
        self._unhandled(self._namespace(socket.namespace.name)).inc()

    def handler_slow(self, socket: Socket, event: str | None, seconds: float) -> None:
        namespace = socket.namespace.name
        labels = (self._namespace(namespace), "(connection)") if event is None else self._names.event(namespace, event)
        self._slow(*labels).inc()

    def event_emitted(self, socket: Socket, event: str, args: Sequence[object], size: int) -> None:
        self._count_emitted(socket.namespace.name, event, 1, size)

    def broadcast_emitted(self, namespace: str, event: str, args: Sequence[object], target: Target, count: int, size: int) -> None:
        self._count_emitted(namespace, event, count, size)

    def _count_emitted(self, namespace: str, event: str, count: int, size: int) -> None:
        labels = self._names.event(namespace, event)
        self._emitted(*labels).inc()
        self._deliveries(*labels).inc(count)
        self._emitted_bytes(labels[0]).inc(count * size)

    def ack_settled(self, namespace: str, event: str, socket: Socket | None, seconds: float, outcome: AckOutcome) -> None:
        labels = self._names.event(namespace, event)
        self._acks(*labels, outcome).inc()
        self._asking(*labels).observe(seconds)

    def pong(self, sid: str, seconds: float) -> None:
        self._round_trip.observe(seconds)

    def outbox_waited(self, sid: str, seconds: float) -> None:
        self._waited.observe(seconds)

    def loop_lag(self, seconds: float) -> None:
        self._lag.observe(seconds)

    def loop_blocked(self, seconds: float, where: str) -> None:
        self._blocked.inc()

    def drain_began(self, sessions: int) -> None:
        self._draining.set(1)

    def drain_ended(self, left: int) -> None:
        self._draining.set(0)

    def bus_up(self) -> None:
        self._bus_up.set(1)

    def bus_down(self, reason: str) -> None:
        self._bus_up.set(0)

    def bus_lag(self, seconds: float) -> None:
        self._bus_lag.observe(seconds)


def metrics_of(server: Measured) -> Metrics:
    """Return the metrics that a server has, made if it has none.

    Raises:
      ConfigurationError: if it has none and was entered already.
    """
    for instrument in server.instruments:
        if isinstance(instrument, Metrics):
            return instrument
    try:
        return Metrics(server)
    except RuntimeError as error:
        raise ConfigurationError("This server was entered without metrics; write Metrics(server) before, from trio_sio.metrics.") from error

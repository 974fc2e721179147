"""What the tests of tracing share: a server that is traced, and its spans."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from trio_sio import RoutingTable, Server
from trio_sio.testing import InMemoryServer, open_test_server
from trio_sio.tracing import Tracing

__all__ = ["Spans", "ids", "links", "open_traced", "server_of"]


class Spans:
    """The spans that are over; ``provider`` makes them, and is given to `Tracing`."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def __iter__(self) -> Any:
        return iter(self._exporter.get_finished_spans())

    def names(self) -> list[str]:
        return [span.name for span in self]

    def all(self, name: str) -> list[ReadableSpan]:
        return [span for span in self if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        found = self.all(name)
        assert len(found) == 1, (name, self.names())
        return found[0]

    def clear(self) -> None:
        self._exporter.clear()


def ids(span: ReadableSpan) -> tuple[int, int]:
    """Return trace and span."""
    context = span.get_span_context()
    assert context is not None
    return context.trace_id, context.span_id


def links(span: ReadableSpan) -> list[tuple[int, int]]:
    return [(link.context.trace_id, link.context.span_id) for link in span.links]


@asynccontextmanager
async def open_traced(routes: RoutingTable, spans: Spans, **keywords: Any) -> AsyncIterator[tuple[InMemoryServer, Tracing]]:
    server = Server(routes, **keywords)
    tracing = Tracing(server, spans.provider)
    async with open_test_server(server) as running:
        yield running, tracing


def server_of(running: InMemoryServer) -> Server:
    assert isinstance(running.server, Server)
    return running.server

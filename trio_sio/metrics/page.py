"""What a scrape gets: the metrics of this process, or of all workers, each with its number."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Final

import trio
from prometheus_client.exposition import choose_encoder, generate_latest
from prometheus_client.metrics_core import Metric
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from ..protocol.http import Response, plain_text

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

    from ..protocol.http import Request

__all__ = ["metrics_page", "metrics_text"]

_WORKER: Final = "worker"
_EXPORTED: Final = "exported_worker"  # Prometheus' name for a label whose own it needs itself
_SCRAPES: Final = 4  # at once; that one is late says nothing about the others


def metrics_page(
    registry: CollectorRegistry, number: int = 0, others: Callable[[], Awaitable[Mapping[int, str]]] | None = None
) -> Callable[[Request], Awaitable[Response]]:
    """Return what answers scrapes.

    Args:
      registry: The metrics of this process.
      number: Which worker it is, if there are any.
      others: Returns what the others tell (`metrics_text`), by number; ``None``: there are none.
    """
    slots = trio.Semaphore(_SCRAPES)

    async def respond(request: Request) -> Response:
        try:
            slots.acquire_nowait()
        except trio.WouldBlock:
            await trio.lowlevel.checkpoint()
            return plain_text(503, "Too many scrapes are under way.", [(b"Retry-After", b"1")])
        try:
            collected: Collector = _Snapshot(registry)
            if others is not None:
                collected = _Workers(number, collected, await others())
            encode, kind = _encoder(request.headers.get("accept", ""))
            # Of thousands of series it takes tens of milliseconds.
            body = await trio.to_thread.run_sync(encode, collected)
        finally:
            slots.release()
        return Response(200, body, [(b"Content-Type", kind.encode()), (b"Cache-Control", b"no-store")])

    return respond


async def metrics_text(registry: CollectorRegistry) -> bytes:
    """Return what a worker tells the one that is asked."""
    return await trio.to_thread.run_sync(generate_latest, _Snapshot(registry))


def _encoder(accept: str) -> tuple[Callable[[Any], bytes], str]:
    try:
        return choose_encoder(accept)
    except (ValueError, TypeError):  # such as a version that is no number
        return choose_encoder("")


class _Snapshot(Collector):
    """The metrics of a registry as they are now: to be made where the event loop is, of which they tell, and read in a thread."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._metrics = list(registry.collect())

    def collect(self) -> Iterator[Metric]:
        """See `prometheus_client.registry.Collector`."""
        for metric in self._metrics:
            family = Metric(metric.name, metric.documentation, metric.type)
            # When a series was made nobody asks, and it is one series more for each.
            family.samples = [sample for sample in metric.samples if not sample.name.endswith("_created")]
            yield family


class _Workers(Collector):
    """The metrics of all workers, each with its number in the label ``worker``."""

    def __init__(self, number: int, here: Collector, others: Mapping[int, str]) -> None:
        self._number = number
        self._here = here
        self._others = others

    def collect(self) -> Iterable[Metric]:
        """See `prometheus_client.registry.Collector`."""
        texts = {**self._others, self._number: generate_latest(self._here).decode()}
        families: dict[str, Metric] = {}
        for number, text in sorted(texts.items()):
            for metric in text_string_to_metric_families(text):
                family = families.setdefault(metric.name, Metric(metric.name, metric.documentation, metric.type))
                for sample in metric.samples:
                    labels = {_EXPORTED if name == _WORKER else name: value for name, value in sample.labels.items()}
                    family.add_sample(sample.name, {_WORKER: str(number), **labels}, sample.value)
        return families.values()

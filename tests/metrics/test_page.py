"""What a scrape gets, whatever it asks for, and from however many workers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import trio
import trio.testing
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import Metric
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as text_format

from trio_sio.metrics.page import metrics_page, metrics_text
from trio_sio.protocol.http import Headers, Request, Response

OPEN_METRICS = "application/openmetrics-text; version=1.0.0"


def scrape(accept: str | None = None) -> Request:
    fields = [] if accept is None else [(b"Accept", accept.encode("latin-1"))]
    return Request(method="GET", path="/metrics", query_string=b"", headers=Headers(fields))


def registry_of(jobs: int) -> CollectorRegistry:
    registry = CollectorRegistry()
    Counter("jobs", "What was done.", ["kind"], registry=registry).labels('a "kind"\n').inc(jobs)
    Gauge("waiting", "What waits.", registry=registry).set(float("inf"))
    Histogram("job_seconds", "How long it took.", buckets=(1, 5), registry=registry).observe(3)
    Info("build", "Which.", registry=registry).info({"commit": "abc"})
    return registry


def samples_of(response: Response) -> set[tuple[str, tuple[tuple[str, str], ...], float]]:
    assert response.status == 200
    return {
        (sample.name, tuple(sorted(sample.labels.items())), sample.value)
        for metric in parse(response.body.decode())
        for sample in metric.samples
    }


def parse(text: str, accept: str | None = None) -> list[Metric]:
    reader: Any = text_format if accept is None else open_metrics
    return list(reader(text))


async def test_a_scrape_gets_text() -> None:
    response = await metrics_page(registry_of(2))(scrape())
    assert dict(response.headers)[b"Content-Type"].startswith(b"text/plain; version=")
    assert dict(response.headers)[b"Cache-Control"] == b"no-store"
    samples = samples_of(response)
    assert ("jobs_total", (("kind", 'a "kind"\n'),), 2) in samples
    assert ("job_seconds_bucket", (("le", "5.0"),), 1) in samples
    assert not [name for name, _, _ in samples if name.endswith("_created")]


async def test_or_what_it_asks_for() -> None:
    response = await metrics_page(registry_of(2))(scrape(accept=OPEN_METRICS))
    assert b"application/openmetrics-text" in dict(response.headers)[b"Content-Type"]
    assert {metric.name for metric in parse(response.body.decode(), OPEN_METRICS)} == {"jobs", "waiting", "job_seconds", "build"}


GARBAGE = ["", "nonsense", "application/openmetrics-text; version=x", "text/plain;version=1.2.3.4.5;q=x", ";" * 99, "\xff"]


@pytest.mark.parametrize("accept", GARBAGE)
async def test_whatever_it_accepts_it_gets_text(accept: str) -> None:
    response = await metrics_page(registry_of(2))(scrape(accept=accept))
    assert ("jobs_total", (("kind", 'a "kind"\n'),), 2) in samples_of(response)


async def test_all_workers_in_one_answer() -> None:
    async def others() -> Mapping[int, str]:
        return {number: (await metrics_text(registry_of(jobs))).decode() for number, jobs in ((0, 10), (2, 30))}

    page = metrics_page(registry_of(20), 1, others)
    for accept in (None, OPEN_METRICS):
        families = parse((await page(scrape(accept=accept))).body.decode(), accept)
        assert len({metric.name for metric in families}) == len(families)  # each of them once
        samples = [sample for metric in families for sample in metric.samples]
        jobs = {sample.labels["worker"]: sample.value for sample in samples if sample.name == "jobs_total"}
        assert jobs == {"0": 10, "1": 20, "2": 30}
        assert {sample.labels["worker"] for sample in samples if sample.name == "job_seconds_bucket"} == {"0", "1", "2"}


async def test_a_label_of_the_applications_called_worker_has_prometheus_name_for_that() -> None:
    """Otherwise all workers would have the same series, of which Prometheus keeps one."""
    registry = CollectorRegistry()
    Gauge("letters", "What waits for one that sends mail.", ["worker"], registry=registry).labels("mail").set(5)

    async def others() -> Mapping[int, str]:
        return {0: (await metrics_text(registry)).decode()}

    (family,) = parse((await metrics_page(registry, 1, others)(scrape())).body.decode())
    assert [sample.labels for sample in family.samples] == [{"worker": number, "exported_worker": "mail"} for number in ("0", "1")]


async def test_scrapes_are_few_at_once() -> None:
    release = trio.Event()

    async def others() -> Mapping[int, str]:
        await release.wait()
        return {}

    page = metrics_page(registry_of(1), 0, others)
    responses: list[Response] = []

    async def one() -> None:
        responses.append(await page(scrape()))

    async with trio.open_nursery() as nursery:
        for _ in range(4):
            nursery.start_soon(one)
        await trio.testing.wait_all_tasks_blocked()
        refused = await page(scrape())
        assert (refused.status, dict(refused.headers)[b"Retry-After"]) == (503, b"1")
        release.set()
    assert [response.status for response in responses] == [200] * 4
    assert (await page(scrape())).status == 200


async def test_a_scrape_that_is_cancelled_gives_its_place_back() -> None:
    hangs = True

    async def others() -> Mapping[int, str]:
        if hangs:
            await trio.sleep_forever()
        return {}

    page = metrics_page(registry_of(1), 0, others)
    for _ in range(8):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(page, scrape())
            await trio.testing.wait_all_tasks_blocked()
            nursery.cancel_scope.cancel()
    hangs = False
    assert (await page(scrape())).status == 200

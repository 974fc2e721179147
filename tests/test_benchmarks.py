"""The benchmarks run, what fails in them concerns nobody else, and docs/performance.md is made of what they measured."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from docs import performance

ROOT = Path(__file__).parent.parent
BENCHMARKS = ROOT / "benchmarks"


@pytest.fixture
def modules(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Return the benchmarks' modules, which are scripts beside each other."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    names = ("cluster", "growth", "harness", "idle", "run", "servers", "workers")
    return SimpleNamespace(**{name: import_module(name) for name in names})


def run_script(name: str, *arguments: str) -> None:
    command = [sys.executable, str(BENCHMARKS / name), "--rounds", "1", "--seconds", "0.05", "--share", "0.01", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_the_page_about_performance_is_what_was_measured() -> None:
    figures = performance.load()

    assert performance.PAGE.read_text(encoding="utf-8") == performance.page(figures), "Run `python -m docs.performance`."
    assert {path.name for path in performance.DOCS.glob("performance-*.svg")} == set(performance.pictures(figures))
    for name, picture in performance.pictures(figures).items():
        assert (performance.DOCS / name).read_text(encoding="utf-8") == picture, "Run `python -m docs.performance`."


def test_what_is_required_is_measured(modules: SimpleNamespace) -> None:
    cells = {"throughput": modules.run.ALL_CELLS, "idle": [""], "cluster": [load.title for load in modules.cluster.LOADS]}
    cells["workers"] = modules.workers.CELLS
    kinds = {point.kind for point in modules.growth.POINTS}

    assert [work for work in performance.WORKS if work.cell not in cells[work.section]] == []
    assert [one for one in performance.PLOTS if one.kind not in kinds] == []


@pytest.mark.slow
@pytest.mark.needs("gcc", "taskset", "openssl")
def test_everything_is_measured_and_makes_a_page(tmp_path: Path, modules: SimpleNamespace) -> None:
    output = tmp_path / "performance.json"
    # No minute is left for what grows, which takes longest even when it is small.
    run_script("bench.py", "trio_sio", "limit.c", "--minutes", "0", "--output", str(output))
    figures = json.loads(output.read_text(encoding="utf-8"))

    cells = figures["throughput"]["cells"]
    assert set(cells["trio_sio"]) == set(modules.run.ALL_CELLS)
    assert set(cells["limit.c"]) == {cell for cell in modules.run.ALL_CELLS if not cell.startswith(("TLS", "binary", "polling", "typed"))}
    assert all(values[0] > 0 for figures in cells["trio_sio"].values() for name, values in figures.items() if name != "kb")
    assert set(figures["idle"]["cells"]["trio_sio"]) == {"100 idle clients"}
    assert {name: section["rounds"] for name, section in figures.items()} == {"throughput": 1, "idle": 1, "growth": 1}
    page = performance.page(figures)
    assert all(f"| {cell} |" in page for cell in modules.run.ALL_CELLS)
    assert f"- trio_sio, {modules.growth.cell(modules.growth.POINTS[0])}: There was no time left for it." in page


@pytest.mark.slow
@pytest.mark.needs("gcc", "taskset")
def test_what_grows_is_measured_and_drawn(modules: SimpleNamespace) -> None:
    growth, results = modules.growth, modules.harness.Results(["trio_sio"])
    modules.harness.build_generator()
    peer = modules.servers.PEERS["trio_sio"]
    for kind in dict.fromkeys(point.kind for point in growth.POINTS):
        point = growth.Point(kind, 1_000)
        results.add("trio_sio", growth.cell(point), growth.Growth(0.1, share=0.02).measure(peer, point))
    figures = {"growth": results.as_json()}

    drawn = performance.pictures(figures)

    assert set(drawn) == {one.name for one in performance.PLOTS}
    assert all(picture.count("<circle") == 1 and "trio_sio" in picture for picture in drawn.values())


@pytest.mark.slow
@pytest.mark.needs("gcc", "taskset", "redis-server")
def test_a_cluster_is_measured(tmp_path: Path, modules: SimpleNamespace) -> None:
    output = tmp_path / "performance.json"
    output.write_text('{"idle": {"kept": true}}', encoding="utf-8")
    # Of ten broadcasts a second none need come in less.
    run_script("cluster.py", "trio_sio", "--seconds", "0.3", "--output", str(output))
    figures = json.loads(output.read_text(encoding="utf-8"))

    assert set(figures["cluster"]["cells"]["trio_sio"]) == {load.title for load in modules.cluster.LOADS}
    assert figures["idle"] == {"kept": True}


@pytest.mark.slow
@pytest.mark.needs("gcc", "taskset", "redis-server")
def test_workers_are_measured(tmp_path: Path, modules: SimpleNamespace) -> None:
    output = tmp_path / "performance.json"
    run_script("workers.py", "--output", str(output))
    figures = json.loads(output.read_text(encoding="utf-8"))

    cells = figures["workers"]["cells"]
    assert set(cells) == {performance.ONE, performance.TWO, performance.TWO_REDIS}
    assert set(cells[performance.TWO]) == set(modules.workers.CELLS)
    assert figures["workers"]["missing"] == {}
    page = performance.page(figures)
    assert "| hand-over | 2 workers | " in page
    assert page.count("≤ 1 worker x 1.1") == 4


@pytest.mark.slow
@pytest.mark.needs("gcc", "taskset")
def test_a_server_that_does_not_start_or_dies_costs_its_own_figures_only(modules: SimpleNamespace) -> None:
    modules.harness.build_generator()
    modules.harness.build_limit()
    broken = "import sys; sys.exit('ValueError: it does not start')"
    peers = {
        "broken": modules.servers.Peer(lambda port, settings: [sys.executable, "-c", broken]),
        "limit.c": modules.servers.PEERS["limit.c"],
    }
    measurement = modules.run.Measurement(0.05, share=0.01)

    results = modules.harness.measure_rounds(peers, 2, modules.harness.Clock(), measurement)

    assert results.rounds == 2
    assert results.cells["broken"] == {}
    assert set(results.missing["broken"]) == set(modules.run.QUICK_CELLS)
    assert "it does not start" in results.missing["broken"]["connects"]
    assert all(len(figures["per_s"]) == 2 for figures in results.cells["limit.c"].values())
    assert set(results.cells["limit.c"]) == set(modules.run.QUICK_CELLS)


def test_what_is_not_installed_is_left_out_with_a_reason(modules: SimpleNamespace, monkeypatch: pytest.MonkeyPatch) -> None:
    absent = modules.servers.Peer(lambda port, settings: [], [ROOT / "node_modules/nobody"])
    monkeypatch.setattr(modules.servers, "PEERS", {"absent": absent})
    results = modules.harness.Results()

    assert modules.servers.choose(["absent"], results) == {}
    assert "node_modules/nobody is missing" in results.missing["absent"][""]


def test_no_round_is_begun_for_which_there_is_no_time(modules: SimpleNamespace) -> None:
    measured: list[str] = []

    def measure(results: Any, name: str, peer: None) -> None:
        measured.append(name)

    results = modules.harness.measure_rounds({"a": None, "b": None}, 5, modules.harness.Clock(0), measure)

    assert (results.rounds, measured) == (1, ["a", "b"])


@pytest.mark.parametrize(
    ("ours", "holds"),
    [([90.0, 130.0, 140.0], "yes"), ([90.0, 129.0, 140.0], "**no**"), ([], "not measured")],
)
def test_the_page_says_whether_what_is_required_holds(ours: list[float], holds: str) -> None:
    cell = "broadcast, 1 in flight"
    cells = {
        name: {cell: {"per_s": values, "cpu_us": values}} for name, values in (("trio_sio", ours), ("Node", [100.0]), ("limit.c", [100.0]))
    }
    row = next(
        line for line in performance.requirements({"throughput": {"cells": cells}}).splitlines() if line.startswith("| broadcast to 500")
    )

    assert row.split(" | ")[3] == holds

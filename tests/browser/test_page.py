"""The demo's page in a real Chromium, against the real command line; drive.cjs has the scenarios."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import threading
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.serving import ROOT, ServerProcess

SCRIPT = Path(__file__).with_name("drive.cjs")
SCENARIOS = re.findall(r'^  async "(.+)"\(', SCRIPT.read_text(), re.MULTILINE)

# Far more than all scenarios take; it only keeps a hanging browser from hanging the tests.
DEADLINE = 300

pytestmark = [pytest.mark.slow, pytest.mark.needs("node", "chromium", "playwright-core", "socket.io-client")]


@dataclass
class Drive:
    """What came out of all scenarios: their errors by name, how the server ended each time, what it logged, and pictures."""

    errors: dict[str, str | None]
    statuses: list[int]
    log: str
    pictures: Path


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Run all scenarios in one browser: they tell one story, and starting Chromium is what takes time."""
    pictures = tmp_path_factory.mktemp("pictures")
    server = ServerProcess(pictures / "server.log", "handlers:routes", "--static", "handlers/web", "--docs-path", "/events")
    chromium = shutil.which("chromium")
    options = {"server": f"http://127.0.0.1:{server.port}", "root": str(ROOT), "shots": str(pictures), "chromium": chromium}
    errors: dict[str, str | None] = {}
    statuses: list[int] = []
    with ExitStack() as stack:
        server.start()
        stack.callback(lambda: statuses.append(server.stop()))
        driver = stack.enter_context(
            subprocess.Popen(["node", str(SCRIPT), json.dumps(options)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        )
        stack.callback(driver.kill)
        timer = threading.Timer(DEADLINE, driver.kill)
        timer.start()
        stack.callback(timer.cancel)
        assert driver.stdin is not None
        assert driver.stdout is not None
        for line in driver.stdout:
            report = json.loads(line)
            if "scenario" in report:
                errors[report["scenario"]] = report["error"]
                continue
            if report["ask"] == "stop":
                statuses.append(server.stop())
            else:
                server.start()
            driver.stdin.write("done\n")
            driver.stdin.flush()
    assert errors.get("start") is None, errors["start"]
    return Drive(errors, statuses, server.log.read_text(), pictures)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_scenario(drive: Drive, scenario: str) -> None:
    assert scenario in drive.errors, "the scenario was not reached"
    error = drive.errors[scenario]
    assert error is None, f"{error}\nPictures are in {drive.pictures}."


def test_the_server_stops_cleanly_with_browsers_connected(drive: Drive) -> None:
    assert drive.statuses == [0, 0]


def test_a_refused_origin_is_one_warning(drive: Drive) -> None:
    lines = [line for line in drive.log.splitlines() if "foreign.example" in line]
    assert len(lines) == 1, drive.log
    assert "WARNING" in lines[0]


def test_the_server_has_nothing_else_to_complain_about(drive: Drive) -> None:
    lines = [line for line in drive.log.splitlines() if re.search("WARNING|ERROR|CRITICAL|Traceback", line)]
    assert len(lines) == 1, drive.log

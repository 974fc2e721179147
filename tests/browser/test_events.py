"""The page about events in a real Chromium, against the real command line; events.cjs has the scenarios."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.browser.serving import ROOT, ServerProcess

SCRIPT = Path(__file__).with_name("events.cjs")
SCENARIOS = re.findall(r'^  async "(.+)"\(', SCRIPT.read_text(), re.MULTILINE)
HOSTILE = {
    "markup is text, and the policy lets none of it run": "D01",
    "of thousands of events the newest are kept": "D02",
    "a refusal is shown, and credentials help": "D02",
    "bytes are base64, or a file": "D02",
    "no other page frames it": "D03",
}

# Far more than all scenarios take; it only keeps a hanging browser from hanging the tests.
DEADLINE = 150

pytestmark = [pytest.mark.slow, pytest.mark.needs("node", "chromium", "playwright-core", "socket.io-client")]


@dataclass
class Drive:
    """What came out of all scenarios: their errors by name, how the server ended, what it logged, and pictures."""

    errors: dict[str, str | None]
    status: int
    log: str
    pictures: Path


@pytest.fixture(scope="module")
def drive(tmp_path_factory: pytest.TempPathFactory) -> Drive:
    """Run all scenarios in one browser: starting it is what takes time."""
    pictures = tmp_path_factory.mktemp("pictures")
    server = ServerProcess(pictures / "server.log", "tests.browser.events_app:routes", "--docs-path", "/events")
    chromium = shutil.which("chromium")
    options = {"server": f"http://127.0.0.1:{server.port}", "root": str(ROOT), "shots": str(pictures), "chromium": chromium}
    server.start()
    try:
        driven = subprocess.run(["node", str(SCRIPT), json.dumps(options)], stdout=subprocess.PIPE, timeout=DEADLINE, check=False)
    finally:
        status = server.stop()
    reports = [json.loads(line) for line in driven.stdout.splitlines()]
    errors = {report["scenario"]: report["error"] for report in reports}
    assert errors.get("start") is None, errors["start"]
    return Drive(errors, status, server.log.read_text(), pictures)


@pytest.mark.parametrize(
    "scenario", [pytest.param(one, marks=pytest.mark.hostile(HOSTILE[one]) if one in HOSTILE else ()) for one in SCENARIOS]
)
def test_scenario(drive: Drive, scenario: str) -> None:
    assert scenario in drive.errors, "the scenario was not reached"
    error = drive.errors[scenario]
    assert error is None, f"{error}\nPictures are in {drive.pictures}."


def test_the_server_has_nothing_to_complain_about(drive: Drive) -> None:
    assert drive.status == 0
    assert not re.search("WARNING|ERROR|CRITICAL|Traceback", drive.log), drive.log

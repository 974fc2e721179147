"""What every test shares: Hypothesis settings, tools that may be missing, and the claims on the hostile catalogue."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Final

import hypothesis
import pytest

ROOT = Path(__file__).parent.parent

SOAK: Final = bool(os.environ.get("TRIO_SIO_SOAK"))  # whether tests that can go on for longer do
LONGEST_TEST: Final = 1_800.0 if SOAK else 90.0  # seconds

# Two busy cores make deadlines lie, and a test that fails for one seed in a thousand does not belong in `make test`.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

_NPM_PACKAGES = frozenset(
    {
        "@asyncapi/parser",
        "@socket.io/admin-ui",
        "@socket.io/redis-adapter",
        "@socket.io/redis-emitter",
        "cookie",
        "playwright-core",
        "pyright",
        "redis",
        "socket.io",
        "socket.io-client",
        "socket.io-msgpack-parser",
        "typescript",
    }
)


@pytest.fixture(scope="session", autouse=True)
def lost_log_lines_fail() -> Iterator[None]:
    """Let a log line that cannot be written fail its test, as pytest wants it; in production it is only reported."""

    def fail(exc: Exception) -> None:
        raise exc

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trio_sio.log._report", fail)
        yield


@pytest.fixture(scope="session", autouse=True)
def programs_hear_ctrl_c() -> None:
    """Let the programs that tests start find SIGINT as a terminal leaves it: under ``nohup`` they would inherit that it is ignored."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="module", autouse=True)
def nothing_is_left_to_the_garbage_collector() -> Iterator[None]:
    """Collect what a module has left, pipes to processes among it, before the next one counts descriptors."""
    yield
    gc.collect()


def pytest_collection_finish() -> None:
    """Let the collector pass over what is there before the first test: to look at all of it again takes longer than most modules."""
    gc.collect()
    gc.freeze()


def _is_installed(tool: str) -> bool:
    if tool in _NPM_PACKAGES:
        return shutil.which("node") is not None and (ROOT / "node_modules" / tool / "package.json").exists()
    return tool_path(tool) is not None


def tool_path(tool: str) -> str | None:
    """Return the path of an installed program; Debian has nginx and haproxy where only root looks."""
    return shutil.which(tool) or shutil.which(tool, path="/usr/sbin:/sbin")


def require_tool(*tools: str) -> None:
    """Skip the test where one of ``tools`` is missing; under ``CI=true`` fail it instead.

    Args:
      tools: Programs, such as ``"node"`` or ``"redis-server"``, and npm packages, such as ``"socket.io-client"``.
    """
    missing = [tool for tool in tools if not _is_installed(tool)]
    if not missing:
        return
    reason = f"needs {', '.join(missing)}: run `make system-deps`, then `make test` again"
    if os.environ.get("CI") == "true":
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Honour ``@pytest.mark.needs("node", ...)``."""
    for marker in item.iter_markers("needs"):
        require_tool(*marker.args)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Generator[None, object, object]:
    """Let a test that would run for ever fail, by its name; by the clock on the wall, whatever its own clock says."""

    def give_up(number: int, frame: object) -> None:
        pytest.fail(f"{item.nodeid} still runs after {LONGEST_TEST:g} seconds")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, LONGEST_TEST)
    try:
        return (yield)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Write which test claims which row of the hostile catalogue, at which door, to the file that test_catalogue.py names."""
    if target := os.environ.get("TRIO_SIO_HOSTILE_CLAIMS"):
        claims = [
            {"row": row, "test": item.nodeid, "door": marker.kwargs.get("door", _door_of(item))}
            for item in items
            for marker in item.iter_markers("hostile")
            for row in marker.args
        ]
        Path(target).write_text(json.dumps(claims))


def _door_of(item: pytest.Item) -> object:
    return item.callspec.params.get("door") if isinstance(item, pytest.Function) and hasattr(item, "callspec") else None

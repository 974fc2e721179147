"""What every test shares: Hypothesis settings, tools that may be missing, and the claims on the hostile catalogue."""

from __future__ import annotations

import functools
import gc
import inspect
import json
import os
import shutil
import signal
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import hypothesis
import pytest
import trio
import trio.testing

ROOT = Path(__file__).parent.parent

LONGEST_TEST: Final = 60.0  # seconds

# Two busy cores make deadlines lie, and a test that fails for one seed in a thousand does not belong in `make test`.
hypothesis.settings.register_profile("repeatable", deadline=None, derandomize=True)
hypothesis.settings.load_profile("repeatable")

_NPM_PACKAGES = frozenset({"cookie", "playwright-core", "socket.io", "socket.io-client", "socket.io-msgpack-parser"})


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


def bounded(test: Callable[..., Awaitable[None]]) -> Callable[..., Awaitable[None]]:
    """Return ``test`` so that it fails, by its name, where it would wait for ever: at once under a clock that jumps, else in a minute."""

    @functools.wraps(test)
    async def run(*args: Any, **kwargs: Any) -> None:
        jumps = isinstance(trio.lowlevel.current_clock(), trio.testing.MockClock)
        with trio.fail_after(1e9 if jumps else LONGEST_TEST):
            await test(*args, **kwargs)

    return run


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Bound every test; write which claims which row of the hostile catalogue, at which door, to the file that test_catalogue.py names."""
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj) and not hasattr(item.obj, "hypothesis"):
            item.obj = bounded(item.obj)
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

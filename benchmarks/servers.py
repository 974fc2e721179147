"""The servers that are measured side by side: how to start each, and what has to be there for that."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Final

from harness import HERE, LIMIT, ROOT, Results, build_limit, running

OURS: Final = "trio_sio"
NODE: Final = "Node"
BUN: Final = "Bun"
PYTHON_SOCKETIO: Final = "python-socketio"
THE_LIMIT: Final = "limit.c"

NODE_PACKAGES: Final = ROOT / "node_modules"
BUN_PACKAGES: Final = HERE / "peers/node_modules"
BENCH_PYTHON: Final = ROOT / ".venv-bench/bin"
UVICORN: Final = BENCH_PYTHON / "uvicorn"


@dataclass(frozen=True)
class Settings:
    """What is different from the defaults.

    Attributes:
      ping_interval: In seconds; ``None``: 25.
      middleware: Whether every message goes through two of them.
      tls: The files with certificate and key.
      redis: The port of one that several servers share.
    """

    ping_interval: float | None = None
    middleware: bool = False
    tls: tuple[Path, Path] | None = None
    redis: int | None = None

    def as_options(self) -> list[str]:
        """Return them as our server, Node's and Bun's take them."""
        options = [] if self.ping_interval is None else ["--ping-interval", str(self.ping_interval)]
        if self.middleware:
            options.append("--middleware")
        if self.tls:
            options += ["--tls", *map(str, self.tls)]
        if self.redis:
            options += ["--redis", str(self.redis)]
        return options


DEFAULTS: Final = Settings()


@dataclass(frozen=True)
class Peer:
    """One server.

    Attributes:
      command: What starts it.
      needs: The files without which it cannot.
      environment: What tells it the settings that its command cannot.
      cannot: Modes and options of the load generator that it has no answer to.
    """

    command: Callable[[int, Settings], list[str]]
    needs: Sequence[Path] = ()
    environment: Callable[[Settings], dict[str, str]] = field(default=lambda settings: {})
    cannot: frozenset[str] = frozenset()

    @contextmanager
    def running(self, settings: Settings = DEFAULTS, core: int | None = None) -> Iterator[tuple[int, int]]:
        """Run it; give its process id and port once it accepts connections."""
        with running(lambda port: self.command(port, settings), self.environment(settings), core) as server:
            yield server


def bun() -> Path:
    """Return where npm puts Bun's binary, without running its scripts."""
    return next(BUN_PACKAGES.glob("@oven/bun-*/bin/bun"), BUN_PACKAGES / "@oven/bun/bin/bun")


def _uvicorn(port: int, settings: Settings) -> list[str]:
    tls = [] if settings.tls is None else ["--ssl-certfile", str(settings.tls[0]), "--ssl-keyfile", str(settings.tls[1])]
    return [
        *(str(UVICORN), "--app-dir", str(HERE / "peers"), "--loop", "uvloop", "--http", "httptools", "--ws", "wsproto"),
        *("--log-level", "error", "--port", str(port), *tls, "python_socketio:app"),
    ]


def _environment(settings: Settings) -> dict[str, str]:
    environment = {"MIDDLEWARE": "1"} if settings.middleware else {}
    return environment | ({"REDIS": f"redis://127.0.0.1:{settings.redis}"} if settings.redis else {})


PEERS: Final[Mapping[str, Peer]] = {
    OURS: Peer(lambda port, settings: [sys.executable, str(HERE / "trio_sio_server.py"), str(port), *settings.as_options()]),
    NODE: Peer(
        lambda port, settings: ["node", str(HERE / "peers/node_server.js"), str(port), *settings.as_options()],
        [NODE_PACKAGES / "socket.io"],
    ),
    BUN: Peer(
        lambda port, settings: [str(bun()), str(HERE / "peers/bun_server.ts"), str(port), *settings.as_options()],
        [NODE_PACKAGES / "socket.io", BUN_PACKAGES / "@socket.io/bun-engine", bun()],
    ),
    PYTHON_SOCKETIO: Peer(_uvicorn, [UVICORN], _environment),
    THE_LIMIT: Peer(lambda port, settings: [str(LIMIT), str(port)], cannot=frozenset({"polling", "typed", "--tls", "--binary"})),
}


def choose(names: Sequence[str], results: Results | None = None) -> dict[str, Peer]:
    """Return the servers of these names; for those that lack something it is taken down, or said, what."""
    chosen = {}
    for name in names:
        missing = [str(path.relative_to(ROOT)) for path in PEERS[name].needs if not path.exists()]
        if not missing:
            chosen[name] = PEERS[name]
            continue
        reason = f"{', '.join(missing)} is missing; run it through `make`, with a network."
        if results is None:
            print(f"{name} is left out: {reason}", file=sys.stderr)
        else:
            results.miss(name, "", reason)
    if THE_LIMIT in chosen:
        build_limit()
    return chosen


def versions() -> dict[str, str]:
    """Return the versions of everything that is measured, as far as it is here."""
    found = {"Python": sys.version.split()[0], **{name: version(name) for name in ("trio", "websockets", "orjson", "msgspec")}}
    commands = {
        "trio_sio": ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"],
        "Node": ["node", "--version"],
        "Bun": [str(bun()), "--version"],
        "Redis": ["redis-server", "--version"],
        "gcc": ["gcc", "-dumpfullversion"],
        "OpenSSL": ["openssl", "version"],
    }
    for name, command in commands.items():
        try:
            said = subprocess.run(command, capture_output=True, text=True, check=True, timeout=20).stdout.strip()
        except (OSError, subprocess.SubprocessError):
            continue
        found[name] = {"Redis": said.partition("v=")[2], "OpenSSL": said.partition(" ")[2]}.get(name, said).split(" ")[0]
    for name, packages in {
        "socket.io": NODE_PACKAGES,
        "ws": NODE_PACKAGES,
        "@socket.io/redis-adapter": NODE_PACKAGES,
        "@socket.io/bun-engine": BUN_PACKAGES,
    }.items():
        path = packages / name / "package.json"
        if path.exists():
            found[name] = json.loads(path.read_text())["version"]
    return found | _bench_versions()


def _bench_versions() -> dict[str, str]:
    names = ("python-socketio", "uvicorn", "uvloop", "wsproto")
    script = f"import importlib.metadata as m, json; print(json.dumps({{n: m.version(n) for n in {names}}}))"
    try:
        said = subprocess.run([str(BENCH_PYTHON / "python"), "-c", script], capture_output=True, text=True, check=True, timeout=20).stdout
    except (OSError, subprocess.SubprocessError):
        return {}
    versions: dict[str, str] = json.loads(said)
    return versions

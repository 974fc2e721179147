"""Measure trio_sio, Node's socket.io, Bun's, python-socketio and the machine's limit side by side; print a table and the ratios.

One server at a time runs on one core, the load generator on another. Rounds are interleaved, so that a machine that
slows down slows down everybody, and the median of each cell counts.
"""

from __future__ import annotations

import subprocess
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from harness import (
    FAILURES,
    Clock,
    Load,
    Results,
    build_generator,
    make_parser,
    measure_idle,
    measure_load,
    measure_rounds,
    raise_file_limit,
)
from servers import DEFAULTS, OURS, PEERS, Peer, Settings, choose

IDLE_CLIENTS: Final = 2_000

CONNECTS: Final = "connects"
HALF: Final = "echo, at half of saturation"
ECHO: Final = "echo, 1 in flight"

# Those that `make bench-quick` measures, then the others.
LOADS: Final = (
    Load(ECHO, "echo", 50, 1),
    Load("echo, 16 in flight", "echo", 50, 16),
    Load("broadcast, 1 in flight", "broadcast", 500, 1),
    Load("broadcast, 4 in flight", "broadcast", 500, 4),
)
MORE_LOADS: Final = (
    Load("broadcast of 10 kB, 1 in flight", "broadcast", 500, 1, 10_000),
    Load("binary broadcast, 1 in flight", "broadcast", 500, 1, options=("--binary",)),
    Load("polling round trip", "polling", 50, 1),
)
HALF_LOAD: Final = Load(HALF, "echo", 50, 64)  # how often is known once it is known how often at most
MIDDLEWARE: Final = Load("typed argument, two middleware, 16 in flight", "typed", 50, 16)
TLS_LOADS: Final = (
    Load("TLS: echo, 16 in flight", "echo", 50, 16, options=("--tls",)),
    Load("TLS: broadcast, 1 in flight", "broadcast", 500, 1, options=("--tls",)),
)
QUICK_CELLS: Final = (*(load.title for load in LOADS), CONNECTS)
ALL_CELLS: Final = (
    *(load.title for load in LOADS),
    HALF,
    *(load.title for load in (*MORE_LOADS, MIDDLEWARE, *TLS_LOADS)),
    CONNECTS,
)


@dataclass(frozen=True)
class Measurement:
    """How one round measures one server.

    Attributes:
      seconds: How long each load lasts.
      certificate: For TLS, certificate and key; ``None``: only what `make bench-quick` measures.
      share: Of the clients there are only so many; for trying it out.
    """

    seconds: float
    certificate: tuple[Path, Path] | None = None
    share: float = 1

    def __call__(self, results: Results, name: str, peer: Peer) -> None:
        """Take down what one server does in one round."""
        with results.guarding(name, CONNECTS), peer.running() as (pid, port):
            idle = measure_idle(pid, port, self.clients(IDLE_CLIENTS))
            results.add(name, CONNECTS, {"per_s": idle.connects_per_s, "cpu_us": idle.connect_cpu_us, "kb": idle.kb})
        if self.certificate is None:
            self._measure(results, name, peer, LOADS)
            return
        self._measure(results, name, peer, [*LOADS, HALF_LOAD, *MORE_LOADS])
        self._measure(results, name, peer, [MIDDLEWARE], Settings(middleware=True))
        self._measure(results, name, peer, TLS_LOADS, Settings(tls=self.certificate))

    def clients(self, count: int) -> int:
        """Return how many there are instead of ``count``."""
        return max(2, int(count * self.share))

    def _measure(self, results: Results, name: str, peer: Peer, loads: Sequence[Load], settings: Settings = DEFAULTS) -> None:
        """Measure what one process does; another one goes on after a load that went wrong."""
        left = deque(load for load in loads if not peer.cannot & {load.mode, *load.options})
        while left:
            cells, count = [load.title for load in left], len(left)
            with results.guarding(name, *cells), peer.running(settings) as (pid, port):
                while left and self._is_measured(results, name, left.popleft(), pid, port):
                    pass
            if len(left) == count:
                return

    def _is_measured(self, results: Results, name: str, load: Load, pid: int, port: int) -> bool:
        try:
            pace = self._pace(results, name) if load is HALF_LOAD else ()
            fewer = load._replace(clients=self.clients(load.clients))
            measured = measure_load(pid, port, fewer, self.seconds, *pace)
        except FAILURES as error:
            results.miss(name, load.title, error)
            return False
        results.add(name, load.title, measured._asdict())
        return True

    def _pace(self, results: Results, name: str) -> tuple[str, ...]:
        measured = results.cells[name].get(ECHO, {}).get("per_s", [])
        if len(measured) < results.rounds:
            raise RuntimeError("It is not known how many it could answer.")
        return "--rate", str(measured[-1] / 2)


@contextmanager
def certificate() -> Iterator[tuple[Path, Path]]:
    """Make a certificate for TLS, and its key; elliptic curves, as everybody has today.

    Raises:
      OSError, subprocess.SubprocessError: if the command `openssl` is not there, or fails.
    """
    with tempfile.TemporaryDirectory() as directory:
        files = Path(directory) / "certificate.pem", Path(directory) / "key.pem"
        command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=localhost", "-out", str(files[0]), "-keyout", str(files[1])]
        subprocess.run(command, check=True, capture_output=True)
        yield files


def measure_all(names: Sequence[str], rounds: int, seconds: float, clock: Clock, share: float = 1) -> Results:
    """Measure these servers in every cell."""
    missing = Results()
    peers = choose(names, missing)
    with certificate() as files:
        results = measure_rounds(peers, rounds, clock, Measurement(seconds, files, share))
    results.missing |= missing.missing
    return results


def table(results: Results, cells: Sequence[str] = QUICK_CELLS) -> str:
    """Return the medians in Markdown, with the processor time for each message, and how much better than each peer we are."""
    names = list(results.cells)
    ratios = [name for name in names if name != OURS and OURS in names]
    lines = [f"| | {' | '.join([*names, *(f'{OURS} : {name}' for name in ratios)])} |", f"|---|{'---|' * (len(names) + len(ratios))}"]
    for cell in cells:
        rates = {name: results.median(name, cell, "per_s") for name in names}
        costs = {name: results.median(name, cell, "cpu_us") for name in names}
        figures = [f"{rate:,.0f}/s, {costs[name]:.1f} µs" if rate else "-" for name, rate in rates.items()]
        ours = rates.get(OURS)
        figures += [f"{ours / rate:.2f}" if ours and (rate := rates[name]) else "-" for name in ratios]
        lines.append(f"| {cell} | {' | '.join(figures)} |")
    memory = {name: results.median(name, CONNECTS, "kb") for name in names}
    figures = [f"{kb:.1f}" if kb else "-" for kb in memory.values()]
    ours = memory.get(OURS)
    figures += [f"{kb / ours:.2f}" if ours and (kb := memory[name]) else "-" for name in ratios]
    return "\n".join([*lines, f"| KB per idle client, of {IDLE_CLIENTS:,} | {' | '.join(figures)} |"])


def main() -> None:
    """Run the benchmark."""
    arguments = make_parser(__doc__, "server", PEERS).parse_args()
    raise_file_limit()
    build_generator()
    print(table(measure_rounds(choose(arguments.names), arguments.rounds, Clock(), Measurement(arguments.seconds))))


if __name__ == "__main__":
    main()

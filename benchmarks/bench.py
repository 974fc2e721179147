"""Measure everything but the cluster, and keep the figures in docs/performance.json, of which docs/performance.py makes a page.

Where servers are compared they take turns, in several rounds; the page shows medians. What would take longer than --minutes
is not begun: fewer rounds, then fewer points of growth; the page says how many there were.
"""

from __future__ import annotations

from typing import Final

import growth
import idle
import run
from harness import Clock, add_keeping, build_generator, make_parser, raise_file_limit
from record import FIGURES, record
from servers import PEERS

# Until when each part may take of all the time.
SHARES: Final = {"throughput": 0.66, "idle": 0.84, "growth": 1.0}
IDLE_INTERVALS: Final = 1


def main() -> None:
    """Run all of it."""
    parser = make_parser(__doc__, "server", PEERS, rounds=5)
    add_keeping(parser, FIGURES)
    arguments = parser.parse_args()
    raise_file_limit()
    build_generator()
    names, rounds, seconds, share, output = arguments.names, arguments.rounds, arguments.seconds, arguments.share, arguments.output
    whole, details = Clock(arguments.minutes * 60), {"seconds": seconds, "share": share}

    results = run.measure_all(names, rounds, seconds, whole.until(SHARES["throughput"]), share)
    print(run.table(results, run.ALL_CELLS))
    record("throughput", results, details, output)

    clients = max(10, int(idle.CLIENTS * share))
    of_idle = [name for name in names if name in idle.NAMES]
    results = idle.measure_idle_clients(of_idle, clients, rounds, whole.until(SHARES["idle"]), IDLE_INTERVALS)
    print(idle.table(results, clients))
    record("idle", results, {**details, "clients": clients}, output)

    of_growth = [name for name in names if name in growth.NAMES]
    results = growth.measure_growth(of_growth, 1, seconds, whole.until(SHARES["growth"]), share)
    print(growth.table(results))
    record("growth", results, details, output)


if __name__ == "__main__":
    main()

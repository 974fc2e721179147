"""Measure the same application at each door of trio_sio; write the table that docs/doors.md shows.

As in run.py, one server at a time runs on one core, the load generator on another, in interleaved rounds. The table
has the medians, and in parentheses what they are as multiples of the native door's. It goes into the page when every
door was measured, else it is only printed.
"""

from __future__ import annotations

import http.client
import json
import re
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from typing import Final

from door_server import DOORS, HOST, HTTP_DOORS
from harness import (
    HERE,
    IDLE_SECONDS,
    LOAD_TIMEOUT,
    WARM_UP_CLIENTS,
    Load,
    Row,
    build_generator,
    interleave,
    make_parser,
    measure_idle,
    measure_load,
    raise_file_limit,
    resident_kb,
    running,
)

PAGE: Final = HERE.parent / "docs" / "doors.md"

IDLE_CLIENTS = 1_000

NATIVE: Final = "native"

LOADS: Final = (
    Load("echo, 50 clients, 1 outstanding each", "echo", 50, 1),
    Load("echo, 50 clients, 16 outstanding each", "echo", 50, 16),
    Load("broadcast to 500 clients, one after the other", "broadcast", 500, 1),
)
PER_SECOND: Final = ": per second"
CPU: Final = ": µs of CPU each"
CONNECTS: Final = "connects/s (WebSocket)"
WEBSOCKET: Final = "KB per idle WebSocket"
COMPRESSED: Final = "KB per idle WebSocket of a client that offers compression"
POLLING: Final = "KB per idle polling session"
LINES: Final = (*(load.title + figure for figure in (PER_SECOND, CPU) for load in LOADS), CONNECTS, WEBSOCKET, COMPRESSED, POLLING)


@contextmanager
def polling(port: int, clients: int) -> Iterator[None]:
    """Keep ``clients`` polling sessions, each with a connection whose poll is not answered until the next ping."""
    with ExitStack() as stack:
        for _ in range(clients):
            connection = http.client.HTTPConnection(HOST, port, timeout=LOAD_TIMEOUT)
            stack.enter_context(closing(connection))
            open_session(connection)
        yield


def open_session(connection: http.client.HTTPConnection) -> None:
    """Open a session, join the main namespace, and leave a poll with the server."""
    target = "/socket.io/?EIO=4&transport=polling"

    def ask(method: str, body: str | None = None) -> bytes:
        connection.request(method, target, body)
        return connection.getresponse().read()

    target += f"&sid={json.loads(ask('GET')[1:])['sid']}"
    if ask("POST", "40") != b"ok" or not ask("GET").startswith(b"40"):
        raise RuntimeError("The server let nobody join.")
    connection.request("GET", target)


def measure_polling(pid: int, port: int) -> float:
    """Return the growth of a server's resident memory by each idle polling session, in KB."""
    with polling(port, WARM_UP_CLIENTS):
        pass
    before = resident_kb(pid)
    with polling(port, IDLE_CLIENTS):
        time.sleep(IDLE_SECONDS / 2)
        return (resident_kb(pid) - before) / IDLE_CLIENTS


def measure(seconds: float, door: str) -> Row:
    """Measure one door once, in a fresh process for each kind of clients."""
    start = partial(running, lambda port: [sys.executable, str(HERE / "door_server.py"), door, str(port)])
    row: Row = {}
    with start() as (pid, port):
        row[CONNECTS], row[WEBSOCKET], _ = measure_idle(pid, port, IDLE_CLIENTS)
    with start() as (pid, port):
        row[COMPRESSED] = measure_idle(pid, port, IDLE_CLIENTS, "deflate").kb
    if door in HTTP_DOORS:
        with start() as (pid, port):
            row[POLLING] = measure_polling(pid, port)
    with start() as (pid, port):
        for load in LOADS:
            measured = measure_load(pid, port, load, seconds)
            row[load.title + PER_SECOND], row[load.title + CPU] = measured.per_s, measured.cpu_us
    return row


def table(medians: Mapping[str, Row]) -> str:
    """Return the medians as a Markdown table, with a column for each door."""
    lines = [f"| | {' | '.join(medians)} |", f"|---|{'---|' * len(medians)}"]
    for line in LINES:
        native = medians.get(NATIVE, {}).get(line)
        lines.append(f"| {line} | {' | '.join(cell(door, row.get(line), native) for door, row in medians.items())} |")
    return "\n".join(lines)


def cell(door: str, value: float | None, native: float | None) -> str:
    """Return one figure, and behind it the multiple of the native door's."""
    if value is None:
        return "no HTTP"
    figure = f"{value:,.0f}" if value >= 100 else f"{value:.1f}"
    return figure if door == NATIVE or not native else f"{figure} ({value / native:.2f})"


def write(measured: str) -> None:
    """Put the table into the page, in the place of the one that is there."""
    before, heading, after = PAGE.read_text(encoding="utf-8").partition("\n## What it costs\n")
    PAGE.write_text(before + heading + re.sub(r"(?m)(^\|.*\n)+", lambda _: f"{measured}\n", after, count=1), encoding="utf-8")


def main() -> None:
    """Run the benchmark."""
    arguments = make_parser(__doc__, "door", DOORS, seconds=2).parse_args()
    raise_file_limit()
    build_generator()
    measured = table(interleave({door: door for door in arguments.names}, arguments.rounds, partial(measure, arguments.seconds)))
    print(measured)
    if set(arguments.names) == set(DOORS):
        write(measured)


if __name__ == "__main__":
    main()

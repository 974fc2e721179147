"""``trio-sio contract MODULE:ATTR``: what a server and its clients say to each other, for the other end."""

from __future__ import annotations

import argparse
import difflib
from pathlib import Path

from ..errors import RouteError
from ..server import Server
from .output import complain
from .target import add_target, resolve
from .usage import UsageError

__all__ = ["add_contract_options", "contract_command"]


def add_contract_options(parser: argparse.ArgumentParser) -> None:
    """Add what `contract_command` takes."""
    add_target(parser)
    parser.add_argument("--format", choices=("typescript", "asyncapi", "jsonschema"), default="typescript", help="what to write")
    parser.add_argument(
        "--check", metavar="FILE", type=Path, help="write nothing, but fail with the difference if FILE has something else in it"
    )


async def contract_command(options: argparse.Namespace) -> int:
    """Print the contract, or compare it; return the exit code."""
    async with resolve(options.target) as found:
        table = found.compile_routes() if isinstance(found, Server) else found
        try:
            text = table.contract().text(options.format)
        except RouteError as exc:
            raise UsageError(str(exc)) from exc
    if options.check is None:
        print(text, end="")
        return 0
    try:
        there = options.check.read_text(encoding="utf-8")  # nothing else runs
    except OSError as exc:
        raise UsageError(f"{options.check} cannot be read: {exc.strerror}.") from None
    lines = [*difflib.unified_diff(there.splitlines(), text.splitlines(), str(options.check), options.target, lineterm="")]
    if there == text:
        return 0
    print("\n".join(lines))
    again = f"trio-sio contract {options.target} --format {options.format} > {options.check}"
    complain(f"{options.check} is not what {options.target} says; run `{again}`.")
    return 1

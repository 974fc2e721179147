"""The command line: ``trio-sio new``, ``trio-sio run``, ``trio-sio routes``, ``trio-sio contract`` and ``trio-sio connect``."""

from __future__ import annotations

import argparse
import re
import signal
import sys
from collections.abc import Sequence
from difflib import get_close_matches
from typing import Final

import trio

from .connect import add_connect_options, connect_command
from .contract import add_contract_options, contract_command
from .new import add_new_options, new_command
from .output import complain
from .routes import routes_command
from .run import add_run_options, run_command
from .target import add_target
from .usage import UsageError

__all__ = ["main"]

USAGE_ERROR: Final = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code.

    Args:
      arguments: Without the program's name; by default those of the process.
    """
    arguments = sys.argv[1:] if arguments is None else arguments
    parser = _parser()
    options, unknown = parser.parse_known_args(arguments)
    if unknown:
        parser.error(f"unrecognized arguments: {' '.join(unknown)}{_nearest(unknown, options.usage())}")
    options.arguments = arguments
    code = 0
    try:
        code = trio.run(options.command, options)
    except* UsageError as group:
        for error in _leaves(group):
            complain(str(error))
        code = USAGE_ERROR
    except* KeyboardInterrupt:
        code = 128 + signal.SIGINT
    return code


def _leaves(group: BaseExceptionGroup[BaseException]) -> list[BaseException]:
    return [leaf for error in group.exceptions for leaf in (_leaves(error) if isinstance(error, BaseExceptionGroup) else [error])]


def _nearest(unknown: Sequence[str], usage: str) -> str:
    """Return which options those that are ``unknown`` may stand for, as the end of a sentence."""
    known = re.findall(r"--[\w-]+", usage)
    found = [near for name in unknown if name.startswith("-") for near in get_close_matches(name.partition("=")[0], known, n=1)]
    return f"; did you mean {', '.join(found)}?" if found else ""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="trio-sio", description="Socket.IO on Trio.", allow_abbrev=False)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    command = commands.add_parser("new", help="write a small project to begin with", allow_abbrev=False)
    command.set_defaults(command=new_command, usage=command.format_usage)
    add_new_options(command)
    command = commands.add_parser("run", help="serve until SIGINT or SIGTERM", allow_abbrev=False)
    command.set_defaults(command=run_command, usage=command.format_usage)
    add_run_options(command)
    command = commands.add_parser("routes", help="print the routing table", allow_abbrev=False)
    command.set_defaults(command=routes_command, usage=command.format_usage)
    add_target(command)
    command = commands.add_parser("contract", help="print the types of all events, for the other end", allow_abbrev=False)
    command.set_defaults(command=contract_command, usage=command.format_usage)
    add_contract_options(command)
    command = commands.add_parser("connect", help="talk to a server", allow_abbrev=False)
    command.set_defaults(command=connect_command, usage=command.format_usage)
    add_connect_options(command)
    return parser

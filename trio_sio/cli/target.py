"""From ``MODULE:ATTR`` to a routing table or a server."""

from __future__ import annotations

import argparse
import importlib
import inspect
import os
import sys
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from difflib import get_close_matches

from ..routing.table import RoutingTable
from ..server import Server
from .usage import UsageError

__all__ = ["add_target", "resolve"]


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add the argument that `resolve` takes, as ``target``."""
    parser.add_argument(
        "target",
        metavar="MODULE:ATTR",
        help="a RoutingTable, a Server, a function that returns one, or an async context manager function that yields one",
    )


@asynccontextmanager
async def resolve(target: str) -> AsyncIterator[RoutingTable | Server]:
    """Load ``target`` and call it, or enter it, if need be.

    Raises:
      UsageError: if it names nothing that can be served.
    """
    found = _load(target)
    if not isinstance(found, RoutingTable | Server) and callable(found) and _needs_no_argument(found):
        found = found()
    if isinstance(found, RoutingTable | Server):
        yield found
    elif isinstance(found, AbstractAsyncContextManager):
        async with found as entered:
            yield _checked(target, entered)
    else:
        _checked(target, found)


def _load(target: str) -> object:
    module_name, colon, attribute = target.partition(":")
    if not (module_name and colon and attribute):
        raise UsageError(f"{target!r} does not name anything; write MODULE:ATTR, as in chat:routes.")
    if "/" in module_name or module_name.startswith("."):
        raise _file(module_name, attribute)
    # As `python -m` does: what is run is usually a module beside which one stands.
    sys.path.insert(0, os.getcwd())
    try:
        found: object = importlib.import_module(module_name)
    except ModuleNotFoundError as exc:
        # A module that the named one imports is missing: then the traceback is what helps.
        if exc.name is None or not f"{module_name}.".startswith(f"{exc.name}."):
            raise
        if module_name.endswith(".py"):
            raise _file(module_name, attribute) from None
        raise UsageError(f"There is no module {module_name!r} here or on sys.path.") from None
    for name in attribute.split("."):
        try:
            found = getattr(found, name)
        except AttributeError:
            nearest = get_close_matches(name, dir(found), n=1, cutoff=0.75)
            hint = f" Perhaps {nearest[0]!r} is meant." if nearest else ""
            raise UsageError(f"Module {module_name!r} has no attribute {attribute!r}.{hint}") from None
    return found


def _file(module_name: str, attribute: str) -> UsageError:
    dotted = module_name.removesuffix(".py").strip("./").replace("/", ".")
    return UsageError(f"{module_name!r} is no module but a path; write {dotted or 'chat'}:{attribute}, in the directory that it is in.")


def _needs_no_argument(function: object) -> bool:
    try:
        inspect.signature(function).bind()  # type: ignore[arg-type]  # the caller knows that it can be called
    except (TypeError, ValueError):  # ValueError: a builtin without a signature
        return False
    return True


def _checked(target: str, found: object) -> RoutingTable | Server:
    if isinstance(found, RoutingTable | Server):
        return found
    if inspect.iscoroutine(found):
        found.close()
    raise UsageError(
        f"{target} is {type(found).__name__!r} in the end; it must be a RoutingTable, a Server, a function without parameters that "
        "returns one, or an async context manager function that yields one."
    )

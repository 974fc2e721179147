"""What makes the server of a worker: a function that is named here, and found again in another process."""

from __future__ import annotations

import importlib
import inspect
import runpy
import sys
import types
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any, Final

from ..errors import ConfigurationError
from ..routing.table import RoutingTable
from ..server import Server

__all__ = ["Factory", "describe", "find", "open_factory"]

Factory = Callable[..., object]

_MAIN: Final = "__trio_sio_main__"  # what the program calls itself in a worker, so that it does not start once more


def describe(factory: object) -> dict[str, str | None]:
    """Return what `find` needs to find ``factory`` in another process.

    Raises:
      ConfigurationError: if it is no function of a module, or not the one of that name, such as a method of an object.
    """
    module, name = getattr(factory, "__module__", None), getattr(factory, "__qualname__", None)
    if (
        not callable(factory)
        or not isinstance(module, str)
        or not isinstance(name, str)
        or _named(sys.modules.get(module), name) != factory
    ):
        raise ConfigurationError(
            f"Each worker is a process of its own and calls {factory!r:.80} there; give a function that is defined at the top of a module."
        )
    path = None
    if module == "__main__":
        main = sys.modules["__main__"]
        spec = getattr(main, "__spec__", None)
        if spec is not None:
            module = spec.name
        elif (file := getattr(main, "__file__", None)) is not None:
            path = str(Path(file).resolve())
        else:
            raise ConfigurationError("Workers cannot find a function that was typed in; put it into a file.")
    return {"module": module, "name": name, "path": path}


def find(description: dict[str, str | None]) -> Factory:
    """Return the function that was described.

    Raises:
      ConfigurationError: if it is not there.
    """
    module_name, name, path = str(description["module"]), str(description["name"]), description["path"]
    if path is None:
        module = importlib.import_module(module_name)
    else:
        # As in `multiprocessing`: what the program defines is in `__main__`, without what it does under `if __name__ == "__main__"`.
        module = types.ModuleType(_MAIN)
        module.__dict__.update(runpy.run_path(path, run_name=_MAIN))
        sys.modules["__main__"] = sys.modules[_MAIN] = module
    found = _named(module, name)
    if not callable(found):
        raise ConfigurationError(f"There is no function {name} in {path or module_name}, so workers cannot make a server.")
    function: Factory = found
    return function


def _named(module: object, name: str) -> Any:
    found = module
    for part in name.split("."):
        found = getattr(found, part, None)
    return found


@asynccontextmanager
async def open_factory(factory: Factory, *arguments: object) -> AsyncIterator[RoutingTable | Server]:
    """Call ``factory``, and enter what it returns, if need be.

    Raises:
      ConfigurationError: if that is no server in the end.
    """
    found = factory(*arguments)
    if isinstance(found, AbstractAsyncContextManager) and not isinstance(found, Server):
        async with found as entered:
            yield _checked(entered)
    else:
        yield _checked(found)


def _checked(found: object) -> RoutingTable | Server:
    if isinstance(found, RoutingTable | Server):
        return found
    if inspect.iscoroutine(found):
        found.close()
    raise ConfigurationError(
        f"Workers need a Server or a RoutingTable, not {type(found).__name__!r}; let the function return one, "
        "or make it an async context manager function that yields one."
    )

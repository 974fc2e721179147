"""Imports point one way; and a few things never appear in the package. Read from the syntax trees, so that nothing has to be importable."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "trio_sio"
FILES = sorted(PACKAGE.rglob("*.py"))

EVERYONE_MAY = {"concurrency", "config", "errors", "groups", "log", "origin"}
UP_TO_ENGINE = {"protocol", "engine"}
UP_TO_ROUTING = UP_TO_ENGINE | {"namespaces", "routing"}

# Part of the package -> what it may import, besides itself and EVERYONE_MAY.
ARROWS: dict[str, set[str]] = {
    "concurrency": set(),
    "config": set(),
    "errors": set(),
    "groups": set(),
    "log": set(),
    "origin": set(),
    "protocol": set(),
    "engine": {"protocol"},
    "namespaces": UP_TO_ENGINE,
    "routing": UP_TO_ENGINE | {"namespaces"},
    "statistics": set(),
    "host": UP_TO_ENGINE | {"statistics"},
    "server": UP_TO_ROUTING | {"host"},
    "engine_server": UP_TO_ENGINE | {"host"},
    "doors": UP_TO_ENGINE,
    "adapters": {"namespaces.adapter", "protocol"},
    "client": {"protocol"},
    "workers": UP_TO_ROUTING | {"server", "doors"},
    "testing": UP_TO_ROUTING | {"server", "engine_server", "doors", "client"},
    "cli": UP_TO_ROUTING | {"server", "workers", "client"},
    "__init__": UP_TO_ROUTING | {"server", "engine_server", "client", "statistics"},
    "__main__": {"cli"},
}
# Doors and adapters are heavy or optional: the server takes them in when one of its methods needs them.
ARROWS_INSIDE_FUNCTIONS: dict[str, set[str]] = {"host": {"doors"}, "server": {"adapters"}, "cli": {"doors", "adapters"}}

NO_IO = {
    "asyncio",
    "http",
    "io",
    "os",
    "pathlib",
    "select",
    "selectors",
    "socket",
    "socketserver",
    "ssl",
    "subprocess",
    "threading",
    "trio",
}


class Import(NamedTuple):
    """One imported module, with where and how it is imported."""

    module: str
    line: int
    in_function: bool
    for_types_only: bool


def _is_type_checking(test: ast.expr) -> bool:
    return isinstance(test, ast.Name) and test.id == "TYPE_CHECKING"


def _imports(path: Path, node: ast.AST, in_function: bool = False, for_types_only: bool = False) -> Iterator[Import]:
    if isinstance(node, ast.Import):
        yield from (Import(alias.name, node.lineno, in_function, for_types_only) for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            package = path.relative_to(PACKAGE.parent).parts[: -node.level]
            base = ".".join((*package, base)).rstrip(".")
        # `from . import x` may name a module or a name in the package: the longest form is what the arrows are about.
        yield from (Import(f"{base}.{alias.name}", node.lineno, in_function, for_types_only) for alias in node.names)
    elif isinstance(node, ast.If) and _is_type_checking(node.test):
        for statement in node.body:
            yield from _imports(path, statement, in_function, for_types_only=True)
        for statement in node.orelse:
            yield from _imports(path, statement, in_function, for_types_only)
    else:
        in_function = in_function or isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        for child in ast.iter_child_nodes(node):
            yield from _imports(path, child, in_function, for_types_only)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def _part(path: Path) -> str:
    return path.relative_to(PACKAGE).with_suffix("").parts[0]


def _violations(path: Path, tree: ast.Module) -> list[str]:
    part = _part(path)
    found = []
    for imported in _imports(path, tree):
        root, _, inside = imported.module.partition(".")
        # A name that only type checkers see is no dependency.
        if root != PACKAGE.name or imported.for_types_only:
            continue
        allowed = EVERYONE_MAY | {part} | ARROWS[part]
        if imported.in_function:
            allowed |= ARROWS_INSIDE_FUNCTIONS.get(part, set())
        if not any(inside == one or inside.startswith(f"{one}.") for one in allowed):
            found.append(f"{path.relative_to(PACKAGE.parent)}:{imported.line}: {part} must not import {imported.module}")
    return found


def _check(source: str, where: str) -> list[str]:
    return _violations(PACKAGE / where, ast.parse(source))


def test_every_part_has_its_arrows() -> None:
    assert {_part(path) for path in FILES} <= set(ARROWS)


def test_imports_point_one_way() -> None:
    violations = [violation for path in FILES for violation in _violations(path, _tree(path))]
    assert not violations, "\n".join(violations)


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("from ..engine import door", "protocol/socketio.py"),
        ("from trio_sio.namespaces.socket import Socket", "engine/polling.py"),
        ("from ..server import Server", "routing/table.py"),
        ("from .doors.native import serve", "server.py"),
        ("def f():\n from ..server import Server", "doors/asgi.py"),
        ("import trio_sio.namespaces.rooms", "adapters/redis.py"),
        ("from .. import server", "namespaces/socket.py"),
    ],
)
def test_the_arrows_bite(source: str, where: str) -> None:
    assert _check(source, where)


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("from ..config import Limits", "protocol/socketio.py"),
        ("from ...protocol import frames", "doors/native/websocket.py"),
        ("async def serve():\n from .doors.native import serve", "host.py"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from ..server import Server", "namespaces/socket.py"),
        ("from ..namespaces.adapter import Adapter", "adapters/redis.py"),
    ],
)
def test_the_arrows_let_pass(source: str, where: str) -> None:
    assert not _check(source, where)


def test_protocol_does_no_io() -> None:
    for path in FILES:
        if _part(path) == "protocol":
            assert not {imported.module.partition(".")[0] for imported in _imports(path, _tree(path))} & NO_IO, path


def test_asyncio_and_module_level_randomness_do_not_appear() -> None:
    for path in FILES:
        for imported in _imports(path, _tree(path)):
            # A generator of one's own, with a seed, is what the module's functions are not.
            own = imported.module == "random.Random"
            assert own or imported.module.partition(".")[0] not in {"asyncio", "random"}, f"{path}:{imported.line}"


def test_no_bare_except() -> None:
    for path in FILES:
        for node in ast.walk(_tree(path)):
            assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{path}:{node.lineno}"


def test_the_wall_clock_is_read_in_one_place_at_most() -> None:
    readers = [
        (path.relative_to(PACKAGE).as_posix(), node.lineno)
        for path in FILES
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {"time.time", "time.time_ns", "datetime.now", "datetime.datetime.now"}
    ]
    assert len(readers) <= 1, readers

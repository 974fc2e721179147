"""Imports point one way; and a few things never appear in the package. Read from the syntax trees, so that nothing has to be importable."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = Path(__file__).parent.parent / "trio_sio"
FILES = sorted(PACKAGE.rglob("*.py"))

# Part of the package -> what it may import, besides itself; what only type checkers see counts as well.
BOTTOM = {"errors", "log"}
VALUES = BOTTOM | {"fields", "health", "limits", "origin", "statistics"}
PROTOCOL = VALUES | {"protocol"}
ENGINE = PROTOCOL | {"concurrency", "config", "engine"}
SIGNATURES = PROTOCOL | {"signatures"}
NAMESPACES = ENGINE | {"namespaces", "signatures"}
ROUTING = NAMESPACES | {"contract", "routing"}
ARROWS: dict[str, set[str]] = {
    "errors": set(),
    "log": set(),
    "fields": BOTTOM,
    "health": set(),
    "limits": BOTTOM | {"fields"},
    "origin": BOTTOM,
    "statistics": set(),
    "protocol": VALUES,
    "concurrency": BOTTOM,
    "config": PROTOCOL | {"concurrency"},
    "engine": ENGINE,
    "signatures": SIGNATURES,
    "namespaces": ENGINE | {"signatures"},
    "contract": SIGNATURES,
    "routing": NAMESPACES | {"contract"},
    "measuring": NAMESPACES,
    "tracing": NAMESPACES,
    "stopping": BOTTOM | {"concurrency"},
    "host": NAMESPACES | {"measuring", "stopping"},
    "server": ROUTING | {"host"},
    "admin": ROUTING,
    "engine_server": ENGINE | {"host"},
    "doors": ENGINE,
    "cluster": BOTTOM | {"namespaces.adapter", "concurrency", "limits", "protocol"},
    "client": PROTOCOL | {"concurrency", "config", "signatures"},
    "metrics": NAMESPACES,
    "workers": ROUTING | {"server", "doors", "cluster"},
    "testing": ROUTING | {"server", "engine_server", "doors", "client", "host", "cluster"},
    "cli": ROUTING | {"admin", "server", "engine_server", "workers", "client", "host", "cluster", "stopping"},
    "__main__": {"cli"},
}
# Doors are heavy or optional, and the server's methods that need one take it in then; so they name its types, too.
ARROWS_INSIDE_FUNCTIONS: dict[str, set[str]] = {
    "host": {"doors"},
    "cli": {"doors"},
    "metrics": {"doors"},
    "server": {"metrics"},
    "workers": {"metrics"},
}

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


# Below `protocol` nothing does I/O; in `cluster` these do not.
SANS_IO = {f"cluster/{name}.py" for name in ("payload", "fields", "messages", "codec", "redis/channels", "redis/requests", "redis/codec")}


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
        if root != PACKAGE.name or part == "__init__":  # which names everything, for whoever asks for it
            continue
        allowed = {part} | ARROWS[part]
        if imported.in_function or imported.for_types_only:
            allowed |= ARROWS_INSIDE_FUNCTIONS.get(part, set())
        if not any(inside == one or inside.startswith(f"{one}.") for one in allowed):
            found.append(f"{path.relative_to(PACKAGE.parent)}:{imported.line}: {part} must not import {imported.module}")
    return found


def _check(source: str, where: str) -> list[str]:
    return _violations(PACKAGE / where, ast.parse(source))


def test_every_part_has_its_arrows() -> None:
    assert {_part(path) for path in FILES} - {"__init__"} <= set(ARROWS)


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
        ("import trio_sio.namespaces.rooms", "cluster/redis.py"),
        ("from ..config import Config", "protocol/socketio.py"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from ..server import Server", "namespaces/socket.py"),
        ("from ..engine.engine import Engine", "concurrency/timers.py"),
        ("from .. import server", "namespaces/socket.py"),
    ],
)
def test_the_arrows_bite(source: str, where: str) -> None:
    assert _check(source, where)


@pytest.mark.parametrize(
    ("source", "where"),
    [
        ("from ..limits import Limits", "protocol/socketio.py"),
        ("from ...protocol import frames", "doors/native/websocket.py"),
        ("async def serve():\n from .doors.native import serve", "host.py"),
        ("from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n from .doors.native import serve", "host.py"),
        ("from ..namespaces.adapter import Adapter", "cluster/redis.py"),
    ],
)
def test_the_arrows_let_pass(source: str, where: str) -> None:
    assert not _check(source, where)


# Who owns whom, and is owned in return: a server its namespaces, these their sockets, their adapter and what emits to them, and a
# socket its core; and a client's manager its sockets.
OWNERS = [
    {"trio_sio.client.manager", "trio_sio.client.socket"},
    {
        f"trio_sio.namespaces.{name}"
        for name in ("adapter", "broadcast", "client", "core", "namespace", "remote", "rooms", "running_server", "socket")
    },
]


@pytest.mark.parametrize("part", ["client", "namespaces", "routing"])
def test_inside_a_part_only_owners_import_each_other(part: str) -> None:
    """Types count: what is below says in a protocol what it needs of what is above."""
    files = {".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in (PACKAGE / part).glob("*.py")}
    imports = {
        name: {other for imported in _imports(path, _tree(path)) for other in files if f"{imported.module}.".startswith(f"{other}.")}
        for name, path in files.items()
    }

    def reached(name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            for other in imports[waiting.pop()] - found:
                found.add(other)
                waiting.append(other)
        return found

    circles = {frozenset(other for other in reached(name) if name in reached(other)) for name in files} - {frozenset()}
    assert [set(circle) for circle in circles] == [circle for circle in OWNERS if any(f".{part}." in name for name in circle)]


def test_who_needs_the_protocol_gets_neither_trio_nor_the_client() -> None:
    program = "import sys, trio_sio.protocol.socketio; print(*sorted(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = ran.stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & {"trio", "h11", "websockets"}
    assert {name for name in loaded if name.startswith("trio_sio.")} <= {
        f"trio_sio.{name}" for name in ("errors", "fields", "limits", "protocol") for name in (name, *_modules_of(name))
    }


@pytest.mark.parametrize("module", ["messages", "codec", "redis.channels", "redis.codec", "redis.emitter"])
def test_what_servers_say_to_each_other_needs_neither_trio_nor_a_server(module: str) -> None:
    """A program that is not on Trio may emit, too; and a codec is tested alone."""
    program = f"import sys, trio_sio.cluster.{module}; print(*sorted(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert not {name.partition(".")[0] for name in loaded} & {"trio", "anyio", "coredis", "h11", "websockets", "asyncio"}
    parts = {name.split(".")[1] for name in loaded if name.startswith("trio_sio.")}
    assert parts <= {"cluster", "errors", "fields", "limits", "log", "protocol"}


def _modules_of(part: str) -> list[str]:
    return [f"{part}.{path.stem}" for path in (PACKAGE / part).glob("*.py")]


def test_every_public_name_is_where_it_is_said_to_be() -> None:
    import trio_sio

    assert set(trio_sio.__all__) == set(trio_sio._HOMES)
    for name, home in trio_sio._HOMES.items():
        assert name in import_module(f"trio_sio.{home}").__all__
        assert getattr(trio_sio, name) is getattr(import_module(f"trio_sio.{home}"), name)
    with pytest.raises(AttributeError, match="has no attribute 'Sever'"):
        _ = trio_sio.Sever  # type: ignore[attr-defined]


def test_protocol_does_no_io() -> None:
    for path in FILES:
        if _part(path) == "protocol" or path.relative_to(PACKAGE).as_posix() in SANS_IO:
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

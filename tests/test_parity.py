"""Every member of Node's API has a counterpart, or an argument, and a test that uses it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from docs import parity
from docs.parity import SECTIONS, Row, Section

ROOT = Path(__file__).parent.parent

ROWS = [pytest.param(row, id=f"{section}.{row.members[0]}".replace(" ", "_")) for section, table in parity.rows().items() for row in table]


@pytest.mark.needs("socket.io")
@pytest.mark.parametrize("section", SECTIONS, ids=lambda section: section.name.replace(" ", "_"))
def test_the_members_are_those_that_the_packages_declare(section: Section) -> None:
    declared = parity.declared(section)

    assert declared
    assert [member for row in parity.rows()[section.name] for member in row.members] == declared


def test_there_is_no_section_of_members_that_nobody_declares() -> None:
    assert list(parity.rows()) == [section.name for section in SECTIONS]


@pytest.mark.parametrize("row", ROWS)
def test_a_counterpart_exists_and_a_test_uses_it(row: Row) -> None:
    assert [bool(row.counterpart), bool(row.behaviour), bool(row.argued)].count(True) == 1
    if row.argued:
        assert not row.test
        return
    path, _, name = row.test.partition("::")
    tests = _functions(path)
    assert name in tests, f"{path} has no test called {name}."
    if row.counterpart:
        parity.find(row.counterpart)
        assert row.counterpart.rpartition(".")[2] in set(_names_in(path, name)), f"{row.test} does not use {row.counterpart}."


@pytest.mark.parametrize("name", ["Nothing", "Server.nothing", "Socket.dat", "Namespace.socket", "Handshake.url", "Config.wsEngine"])
def test_what_does_not_exist_is_no_counterpart(name: str) -> None:
    with pytest.raises(LookupError):
        parity.find(name)


def test_at_most_eight_members_have_no_counterpart() -> None:
    argued = [member for table in parity.rows().values() for row in table if row.argued for member in row.members]
    assert len(argued) <= 8, argued


def test_the_page_is_what_the_data_says() -> None:
    assert parity.PAGE.read_text(encoding="utf-8") == parity.page(), "Run `python docs/parity.py`."


Definition = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


@cache
def _definitions(path: str) -> dict[str, Definition]:
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name: node for node in tree.body if isinstance(node, Definition)}


def _functions(path: str) -> set[str]:
    """The tests that pytest collects from a file."""
    assert path.startswith("tests/")
    assert Path(path).name.startswith("test_")
    return {name for name, node in _definitions(path).items() if name.startswith("test_") and not isinstance(node, ast.ClassDef)}


def _names_in(path: str, test: str) -> Iterator[str]:
    """The names that a test uses, itself or through the helpers of its module."""
    definitions, done, left = _definitions(path), set[str](), [test]
    while left:
        done.add(one := left.pop())
        for node in ast.walk(definitions[one]):
            match node:
                case ast.Attribute(attr=name) | ast.Name(id=name) | ast.arg(arg=name):
                    yield name
                case ast.keyword(arg=str(name)):
                    yield name
                case _:
                    continue
            if name in definitions and name not in done:
                left.append(name)

"""What docs/operations.md says about instruments: its program runs, and its table has every method."""

from __future__ import annotations

import re
from typing import Any

import pytest

from tests.pages import DOCS
from trio_sio import ConnectionRefused, Server, Socket
from trio_sio.namespaces.instruments import _METHODS
from trio_sio.testing import open_test_server

SECTION = (DOCS / "operations.md").read_text(encoding="utf-8").partition("\n## Instruments\n")[2].partition("\n## ")[0]


async def test_the_example_counts_what_it_says() -> None:
    (program,) = re.findall(r"^```python\n(.*?)^```$", SECTION, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(program, "operations.md", "exec"), names)
    server, refusals = names["server"], names["refusals"]
    assert isinstance(server, Server)

    @server.on_connection
    def let_in(socket: Socket) -> None:
        """Let everybody in."""

    @server.on("echo")
    async def echo(socket: Socket, value: object) -> object:
        return value

    async with open_test_server(server) as in_memory:
        async with in_memory.strict_client() as client:
            assert await client.emit_with_ack("echo", 1) == 1
            for number in range(10):
                await client.emit_with_ack(f"bomb {number}")
        with pytest.raises(ConnectionRefused):
            async with in_memory.strict_client("/none"):
                pass
    assert refusals.refused == {("/none", "Invalid namespace"): 1}
    assert set(refusals.busiest) == {"echo", "(unknown)"}


def test_the_table_has_every_method() -> None:
    table = "".join(line for line in SECTION.splitlines(keepends=True) if line.startswith("|"))
    assert sorted(re.findall(r"`(\w+)`", table)) == sorted(_METHODS)

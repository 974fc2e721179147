"""examples/board: cursors and lines, boards by pattern, and who is there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import trio
import trio.testing

from examples.board.app import routes
from tests.conftest import ROOT
from tests.examples.programs import javascript, running
from trio_sio import ConnectionRefused
from trio_sio.testing import StrictSocket, open_test_server

BOUND = 20.0


async def hear(client: StrictSocket, *events: str) -> list[tuple[object, ...]]:
    """Return the arguments of what comes next, which has to be ``events``."""
    heard = [await client.receive() for _ in events]
    assert [event.name for event in heard] == [*events]
    return [event.args for event in heard]


async def test_everybody_sees_what_the_others_do() -> None:
    with trio.fail_after(BOUND):
        async with open_test_server(routes) as server, server.strict_client("/board-tea", {"name": "Ann"}) as ann:
            me = {"id": ann.id, "name": "Ann"}
            assert await hear(ann, "welcome", "here") == [(me, []), ([me],)]
            assert await ann.emit_with_ack("draw", [[0, 0.5], [1, 1]]) is None
            async with server.strict_client("/board-tea", {"name": "Bob"}) as bob:
                both = [me, {"id": bob.id, "name": "Bob"}]
                line = {"author": "Ann", "points": [[0, 0.5], [1, 1]]}
                assert await hear(bob, "welcome", "here") == [(both[1], [line]), (both,)]
                assert await hear(ann, "here") == [(both,)]
                await ann.emit("move", 0.25, 1)
                await bob.emit("draw", [[0, 0]])
                assert await hear(bob, "moved") == [(ann.id, 0.25, 1)]
                assert await hear(ann, "drawn") == [({"author": "Bob", "points": [[0, 0]]},)]
                await bob.emit("clear")
                assert await hear(ann, "cleared") == await hear(bob, "cleared") == [()]
            assert await hear(ann, "here") == [([me],)]


async def test_boards_know_nothing_of_each_other_and_are_forgotten_with_the_last_one_there() -> None:
    async with open_test_server(routes) as server:
        async with server.strict_client("/board-tea", {"name": "Ann"}) as ann, server.strict_client("/board-milk", {"name": "Bob"}) as bob:
            await hear(ann, "welcome", "here")
            await hear(bob, "welcome", "here")
            await ann.emit_with_ack("draw", [[0, 0]])
            assert await bob.emit_with_ack("draw", [[0, 0]]) is None
            assert bob.pending == ()
        async with server.strict_client("/board-tea", {"name": "Ann"}) as ann:
            ((_, lines), _) = await hear(ann, "welcome", "here")
            assert lines == []


async def test_what_is_no_board_no_name_or_no_place_is_refused() -> None:
    async with open_test_server(routes) as server:
        for namespace, auth in (
            ("/board-TEA", {"name": "Ann"}),
            ("/board-tea", {}),
            ("/board-tea", {"name": "x" * 25}),
            ("/board-", {"name": "A"}),
        ):
            with pytest.raises(ConnectionRefused):
                async with server.strict_client(namespace, auth):
                    pass
        async with server.strict_client("/board-tea", {"name": "Ann"}) as ann:
            for event, *args in (("move", 2, 0), ("move", "0", 0), ("draw", []), ("draw", [[0, 0]] * 33), ("draw", [[0]])):
                assert (await ann.emit_with_ack(event, *args))["status"] == "error"


async def test_a_full_board_can_be_shown() -> None:
    with trio.fail_after(BOUND):
        async with open_test_server(routes) as server, server.strict_client("/board-full", {"name": "\N{GRINNING FACE}" * 24}) as ann:
            points = [[0.12345678901234567, 0.000012345678901234567]] * 32
            for _ in range(2_010):
                await ann.emit("draw", points)
            await ann.emit_with_ack("move", 0, 0)
            async with server.strict_client("/board-full", {"name": "Bob"}) as bob:
                ((_, lines),) = await hear(bob, "welcome")
                assert len(lines) == 2_000  # type: ignore[arg-type]


@pytest.mark.slow
@pytest.mark.needs("node", "chromium", "playwright-core", "socket.io-client")
def test_the_page_in_chromium(tmp_path: Path) -> None:
    with running(ROOT / "examples/board/app.py", tmp_path) as url:
        options = {"server": url, "root": str(ROOT), "chromium": shutil.which("chromium"), "shots": str(tmp_path)}
        javascript(ROOT / "tests/examples/board.cjs", json.dumps(options))

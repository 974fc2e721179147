"""examples/chat_with_database: what was said is kept, and heard by those who were away."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import trio
import trio.testing

from examples.chat_with_database.app import Database, add, make_server
from tests.conftest import ROOT
from tests.examples.programs import javascript, running
from trio_sio import ConnectionRefused
from trio_sio.testing import open_test_server

PROGRAM = ROOT / "examples/chat_with_database/app.py"
BOUND = 10.0


async def make_token(path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> str:
    await add(str(path), name)
    return capsys.readouterr().out.strip()


async def test_history_survives_the_server(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chat.db"
    auth = {"token": await make_token(path, "Ann", capsys)}
    with trio.fail_after(BOUND):
        async with open_test_server(make_server(str(path))) as server, server.client(auth=auth) as ann:
            assert await ann.emit_with_ack("enter", "tea") == []
            said = [await ann.emit_with_ack("say", "tea", text) for text in ("one", "two", "three")]
            assert said == [{"id": id, "room": "tea", "author": "Ann", "text": text} for id, text in enumerate(("one", "two", "three"), 1)]
        async with open_test_server(make_server(str(path))) as server, server.client(auth=auth) as ann:
            assert await ann.emit_with_ack("enter", "tea") == said
            assert await ann.emit_with_ack("enter", "tea", 2) == said[2:]
            assert await ann.emit_with_ack("enter", "coffee") == []


async def test_who_is_unknown_stays_outside(tmp_path: Path) -> None:
    async with open_test_server(make_server(str(tmp_path / "chat.db"))) as server:
        for auth in ({}, {"token": "guess"}, {"token": 5}, {"token": "\ud800"}, {"token": ["a"]}):
            with pytest.raises(ConnectionRefused, match="Connect with auth"):
                async with server.client(auth=auth):
                    pass


async def test_what_cannot_be_kept_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "chat.db"
    auth = {"token": await make_token(path, "Ann", capsys)}
    async with open_test_server(make_server(str(path))) as server, server.strict_client(auth=auth) as ann:
        await ann.emit_with_ack("enter", "tea")
        args: tuple[object, ...]
        for args in (("tea", ""), ("tea", "x" * 2_001), ("tea", "\ud800"), ("tea",), ("t e a", "x"), (5, "x"), ("coffee", "x")):
            assert (await ann.emit_with_ack("say", *args))["status"] == "error"
        for args in (("tea", -1), ("tea", 2**63), ("",), ("tea", "x")):
            assert (await ann.emit_with_ack("enter", *args))["status"] == "error"
        assert await ann.emit_with_ack("enter", "tea") == []
        assert ann.pending == ()
    assert not caplog.records


async def test_what_is_kept_is_heard_when_its_author_has_gone(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "chat.db"
    tokens = [await make_token(path, name, capsys) for name in ("Ann", "Bob")]
    server = make_server(str(path))
    with trio.fail_after(BOUND):
        async with open_test_server(server) as memory, memory.strict_client(auth={"token": tokens[1]}) as bob:
            await bob.emit_with_ack("enter", "tea")
            async with memory.strict_client(auth={"token": tokens[0]}) as ann:
                await ann.emit_with_ack("enter", "tea")
                with closing(sqlite3.connect(path)) as other:
                    other.execute("begin immediate")  # so the handler has to wait
                    await ann.emit("say", "tea", "Good-bye")
                    await trio.testing.wait_all_tasks_blocked()
                    await ann.connection.abort()
                    await trio.testing.wait_all_tasks_blocked()
                    assert len(server.of("/").sockets) == 1
                    other.rollback()
            message, _ = await bob.once("said")
            assert message["text"] == "Good-bye"


async def test_a_statement_happens_or_does_not(tmp_path: Path) -> None:
    database = Database(str(tmp_path / "chat.db"))
    async with database.open():
        await database.run("insert into people values ('Ann', 'a')")
        with pytest.raises(sqlite3.IntegrityError):
            await database.run("insert into people values ('Bob', 'b'), ('Eve', 'a')")
        assert await database.run("select name from people") == [("Ann",)]


@pytest.mark.slow
@pytest.mark.needs("node", "socket.io-client")
def test_official_clients_of_the_program(tmp_path: Path) -> None:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "DATABASE": str(tmp_path / "chat.db")}
    tokens = [
        subprocess.run(
            [sys.executable, str(PROGRAM), name], env=environment, capture_output=True, text=True, timeout=30, check=True
        ).stdout.strip()
        for name in ("Ann", "Bob")
    ]
    with running(PROGRAM, tmp_path, DATABASE=environment["DATABASE"]) as url:
        javascript(ROOT / "tests/examples/chat.cjs", url, *tokens)

"""What docs/client.md shows, and the bot in examples, work as they stand against the demo."""

from __future__ import annotations

import re
import runpy
from functools import partial
from pathlib import Path

import pytest
import trio

from examples import bot
from handlers.chat import ChatController
from handlers.chat_state import Chat
from handlers.echo import EchoController
from tests.conftest import ROOT
from trio_sio import Config, Recovery, Route, RoutingTable, Server, open_client

BLOCKS = re.findall(
    r"^```python\n# (\w+)\.py\n(.*?)^```$", (ROOT / "docs" / "client.md").read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE
)
SAID = {
    "hello": ["Ann is in lobby"],
    "hearing": ["Bob is typing in lobby", "Bob says Hello, Ann!"],
    "coming_back": ["It is over: io client disconnect None"],
    "namespaces": [r"b'\x01\x02' "],
}


async def start_demo(nursery: trio.Nursery, recovery: Recovery | None = None) -> str:
    routes = RoutingTable(Route("/", EchoController), Route("/chat", partial(ChatController, chat=Chat())))
    server = Server(routes, config=Config(connection_state_recovery=recovery))
    (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)
    return f"http://127.0.0.1:{listener.sockname[1]}"


def test_every_block_is_run() -> None:
    assert [name for name, _ in BLOCKS] == list(SAID)
    assert len(BLOCKS) == (ROOT / "docs" / "client.md").read_text(encoding="utf-8").count("```python")


@pytest.mark.parametrize("recovery", [None, Recovery()], ids=["", "recovery"])
@pytest.mark.parametrize(("name", "text"), BLOCKS, ids=SAID)
async def test_a_block(name: str, text: str, recovery: Recovery | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / f"{name}.py").write_text(text, encoding="utf-8")
    main = runpy.run_path(str(tmp_path / f"{name}.py"))["main"]
    async with trio.open_nursery() as nursery:
        url = await start_demo(nursery, recovery)
        with trio.fail_after(20):
            await main(url)
        nursery.cancel_scope.cancel()

    said = capsys.readouterr().out.splitlines()
    assert len(said) == len(SAID[name])
    for line, beginning in zip(said, SAID[name], strict=True):
        assert line.startswith(beginning)


async def test_the_bot(capsys: pytest.CaptureFixture[str]) -> None:
    async with trio.open_nursery() as nursery:
        url = await start_demo(nursery)
        async with open_client(url, "/chat", auth={"name": "Ann"}) as ann:
            await ann.emit_with_ack("join", "lobby")
            nursery.start_soon(bot.run, url)
            assert (await ann.once("said", timeout=20))[0]["text"] == "Hello! Ask me: time?"
            await ann.emit_with_ack("say", "lobby", "Time?", "1")
            (answer,) = await ann.once("said", timeout=20)
            assert re.fullmatch(r"It is \d\d:\d\d\.", answer["text"])
            assert answer["author"] == "Bot"
        nursery.cancel_scope.cancel()
    assert "Connected(" in capsys.readouterr().out

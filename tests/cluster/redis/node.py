"""A Node server with the classic Redis adapter, and official clients of it: mixed_server.cjs, as the tests use it."""

from __future__ import annotations

import base64
import itertools
import json
import queue
import subprocess
import threading
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Final

import trio

__all__ = ["END", "Node", "plain", "shown"]

END: Final = "end of the test"

_PATIENCE: Final = 30.0  # seconds for whatever is waited for


def shown(value: Any) -> Any:
    """Return ``value`` as it goes to Node: bytes in a dict."""
    match value:
        case bytes():
            return {"bytes": base64.b64encode(value).decode()}
        case dict():
            return {key: shown(one) for key, one in value.items()}
        case list() | tuple():
            return [shown(one) for one in value]
        case _:
            return value


def plain(value: Any) -> Any:
    """Return what has come from Node, with its bytes."""
    match value:
        case {"bytes": str(text)}:
            return base64.b64decode(text)
        case dict():
            return {key: plain(one) for key, one in value.items()}
        case list():
            return [plain(one) for one in value]
        case _:
            return value


class Node:
    """One process; it has one server at a time, from `open` to `close`.

    Args:
      port: Of Redis.
    """

    def __init__(self, port: int) -> None:
        directory = Path(__file__).parent
        command = ["node", str(directory / "mixed_server.cjs"), str(port)]
        self._process = subprocess.Popen(command, cwd=directory, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._numbers = itertools.count()
        self._answers: defaultdict[int, queue.Queue[dict[str, Any]]] = defaultdict(queue.Queue)
        self._heard: defaultdict[str, queue.Queue[list[Any]]] = defaultdict(queue.Queue)
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for text in self._process.stdout:
            line = json.loads(text)
            if "who" in line:
                self._heard[line["who"]].put([line["event"], *plain(line["args"])])
            else:
                self._answers[line["number"]].put(line)

    async def do(self, command: str, **arguments: Any) -> Any:
        """Let it do something, and return what comes of it."""
        number = next(self._numbers)
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps([number, command, shown(arguments)]) + "\n")
        self._process.stdin.flush()
        line = await trio.to_thread.run_sync(partial(self._answers[number].get, timeout=_PATIENCE))
        del self._answers[number]
        if "error" in line:
            raise AssertionError(line["error"])
        return plain(line["value"])

    async def next(self, who: str) -> list[Any]:
        """Return what ``who`` hears next, a client or ``"server /"``: the event and its arguments."""
        return await trio.to_thread.run_sync(partial(self._heard[who].get, timeout=_PATIENCE))

    async def heard(self, who: str) -> list[list[Any]]:
        """Return what ``who`` hears until the event `END`."""
        events = []
        while (event := await self.next(who))[0] != END:
            events.append(event)
        return events

    async def open(self, key: str, *, specific: bool, patience: float = 5) -> None:
        """Begin a server; it waits ``patience`` seconds for others."""
        self._heard.clear()
        await self.do("open", key=key, specific=specific, patience=patience * 1000)

    async def close(self) -> None:
        """End the server."""
        await self.do("close")

    def kill(self) -> None:
        """End the process at once, as ``kill -9`` does."""
        self._process.kill()
        self._end()

    def end(self) -> None:
        """End the process."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._end()

    def _end(self) -> None:
        self._process.wait(_PATIENCE)
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            pipe.close()

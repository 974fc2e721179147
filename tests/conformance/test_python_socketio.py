"""python-socketio's asyncio client gets what it expects too, on both transports and at every door."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from tests.conformance.doors import DOORS, HTTP_DOORS, OTHER_HOSTS, Door
from tests.conformance.official import revive

pytest.importorskip("socketio")

CLIENT = Path(__file__).parent / "python_client.py"


RUNS = [
    *((door, ["websocket"]) for door in (*DOORS, *OTHER_HOSTS)),
    *((door, transports) for door in (*HTTP_DOORS, *OTHER_HOSTS) for transports in (["polling"], ["polling", "websocket"])),
]


@pytest.mark.parametrize(
    ("door", "transports"), RUNS, indirect=["door"], ids=[f"{door}-{'-'.join(transports)}" for door, transports in RUNS]
)
async def test_python_socketio(door: Door, transports: list[str]) -> None:
    command = [sys.executable, str(CLIENT), door.url, *transports]
    with trio.fail_after(30):
        completed = await trio.run_process(command, stdin=subprocess.DEVNULL, capture_stdout=True, capture_stderr=True, check=False)
    assert completed.returncode == 0, completed.stderr.decode()
    report = json.loads(completed.stdout, object_hook=revive)
    by_server, *by_client = report.pop("journal")
    assert report == {
        "transport": transports[-1],
        "ids": 3,
        "who": [{"label": "python", "token": "secret"}, "/guarded", True],
        "welcome": ["welcome", "you are in"],
        "mirrored": [[], ["text"], ["é", 2, None, [3], {"four": 4}], [b"\x00\xff"], [{"deep": [b"a", b""]}, "text"]],
        "bytes": [b"\x01\x02", b"\x03", b"\x04\x05", {"deep": [b""]}],
        "acks": [None, "one", [1, b"two", {"three": 3}]],
        "answers": [["NoneType", None], ["tuple", [1, "two"]], ["bytes", b"\x01"]],
        "many": list(range(10)),
        "said": ["said", b"hello"],
        "ended by the server": ["disconnect", "server disconnect"],
        "still there": True,
        "ended by the client": ["disconnect", "client disconnect"],
        "refused": ["connect_error", {"message": "bad token", "data": {"code": 4001}}],
    }
    assert by_server == "server namespace disconnect"
    # This client queues its goodbye and closes at once, so a WebSocket may be closed before the goodbye has left.
    possible = {"client namespace disconnect"} if transports == ["polling"] else {"client namespace disconnect", "transport close"}
    assert len(by_client) == 2
    assert possible.issuperset(by_client)

"""How sockets are described to other servers, and what becomes of bad descriptions."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from tests.namespaces.serving import Handler, open_namespaces
from tests.namespaces.standins import Standins
from trio_sio.errors import DecodeError

FROM_NODE: dict[str, Any] = {
    "id": "Wqk1yyTAXKNvEqEHAAAB",
    "handshake": {
        "headers": {"host": "localhost:3000", "cookie": "a=1; b=2", "set-cookie": ["x=1", "y=2"]},
        "time": "Sun Nov 29 2026 07:10:00 GMT+0000 (Coordinated Universal Time)",
        "address": "::ffff:127.0.0.1",
        "xdomain": False,
        "secure": False,
        "issued": 1795936200000,
        "url": "/socket.io/?EIO=4&transport=websocket",
        "query": {"EIO": "4", "transport": "websocket", "n": 1},
        "auth": {"token": "x"},
    },
    "rooms": ["Wqk1yyTAXKNvEqEHAAAB", "lobby"],
    "data": {"name": "Ann"},
}


async def test_another_server_knows_what_this_one_knows() -> None:
    handler = Handler()
    async with open_namespaces(handler) as server, server.strict_client(auth={"token": "x"}):
        socket = handler.socket
        await socket.join("lobby")
        socket.data["name"] = "Ann"
        described = socket.namespace.describe(socket)
        remote = socket.namespace.remote_socket(**json.loads(json.dumps(described)))

    assert (remote.id, remote.rooms, remote.data) == (socket.id, socket.rooms, {"name": "Ann"})
    assert remote.namespace is socket.namespace
    assert dict(remote.handshake.headers) == dict(socket.handshake.headers)
    assert remote.handshake.auth == {"token": "x"}
    assert remote.handshake.query == socket.handshake.query
    assert (remote.handshake.address, remote.handshake.secure) == (socket.handshake.address, False)
    assert remote.handshake.issued == pytest.approx(socket.handshake.issued, abs=0.001)
    assert set(described["handshake"]) == set(FROM_NODE["handshake"])


def test_what_node_tells_is_understood() -> None:
    remote = Standins(0).namespace.remote_socket(**FROM_NODE)
    assert (remote.id, remote.rooms, remote.data) == ("Wqk1yyTAXKNvEqEHAAAB", frozenset({"Wqk1yyTAXKNvEqEHAAAB", "lobby"}), {"name": "Ann"})
    handshake = remote.handshake
    assert handshake.headers["Set-Cookie"] == "x=1, y=2"
    assert handshake.cookies == {"a": "1", "b": "2"}
    assert (handshake.address, handshake.query["n"], handshake.auth) == ("::ffff:127.0.0.1", "1", {"token": "x"})
    assert datetime.fromtimestamp(handshake.issued, UTC).isoformat() == "2026-11-29T07:10:00+00:00"


def test_data_that_is_not_plain_is_left_out_and_said_once(caplog: pytest.LogCaptureFixture) -> None:
    standins = Standins(2)
    loop: list[object] = []
    loop.append(loop)
    data: dict[Any, object] = {"name": "Ann", "task": object(), "loop": loop, 5: "five", "raw": b"\x00", "list": [1, {"a": None}]}
    for socket in standins.sockets:
        socket.data = data
    first, second = map(standins.namespace.describe, standins.sockets)

    assert first["data"] == second["data"] == {"name": "Ann", "list": [1, {"a": None}]}
    assert first["data"]["list"] is not data["list"]
    assert [record.getMessage().partition(" is no plain data")[0] for record in caplog.records] == [
        "socket.data['task']",
        "socket.data['loop']",
        "socket.data[5]",
        "socket.data['raw']",
    ]


@pytest.mark.parametrize("handshake", [None, [], {"auth": 5}, {"headers": {"a": 5}}, {"query": []}, {"secure": "no"}, {"issued": "now"}])
def test_what_describes_no_handshake_is_refused(handshake: object) -> None:
    with pytest.raises(DecodeError, match="this describes no handshake"):
        Standins(0).namespace.remote_socket("id", handshake, [], {})

"""Admin pages of ours and of Node's, on one Redis: each shows both servers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from tests.admin.opening import AUTH, Administered, make_server, open_admin, told
from tests.cluster.redis_server import RedisServer
from tests.conftest import require_tool
from trio_sio.cluster.redis import RedisCluster

SCRIPT = Path(__file__).with_name("node_server.cjs")


class Node:
    """node_server.cjs, and what it prints."""

    def __init__(self, port: int) -> None:
        command = ["node", str(SCRIPT), str(port), AUTH.password]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    async def says(self, key: str, *beginning: object) -> Any:
        """Return what it says next under ``key``, if that begins so."""
        assert self.process.stdout is not None
        with trio.fail_after(30):
            while line := await trio.to_thread.run_sync(self.process.stdout.readline, abandon_on_cancel=True):
                found = json.loads(line).get(key)
                if found is not None and list(found)[: len(beginning)] == list(beginning):
                    return found
        pytest.fail("Node's server has ended.")

    def end(self) -> None:
        """End it."""
        self.process.communicate(timeout=30)


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    require_tool("node", "redis-server", "redis", "socket.io", "socket.io-client", "@socket.io/admin-ui", "@socket.io/redis-adapter")
    server = RedisServer(tmp_path)
    server.start()
    yield server
    server.kill()


@asynccontextmanager
async def beside_node(redis: RedisServer) -> AsyncIterator[tuple[Administered, Node]]:
    """Run one of ours, and one of Node's."""
    node = Node(redis.port)
    try:
        async with open_admin(make_server(cluster=RedisCluster(redis.url))) as administered:
            yield administered, node
    finally:
        node.end()


@pytest.mark.slow
async def test_each_shows_the_other(redis: RedisServer) -> None:
    async with beside_node(redis) as (administered, node):
        id = await node.says("id")
        async with administered.page() as page:
            (sockets,) = await told(page, "all_sockets")
            shown = {socket["id"]: socket for socket in sockets}
            assert (shown[id]["nsp"], shown[id]["data"], shown[id]["rooms"]) == ("/", {}, [id])
            assert shown[id]["transport"] in ("polling", "websocket")
            assert len(shown[id]["clientId"]) == 12
            servers = set[str]()
            while len(servers) < 2:
                servers.add((await told(page, "server_stats"))[0]["serverId"])
            assert "Node" in servers
            (ours,) = servers - {"Node"}
            while (await node.says("heard", "server_stats"))[1]["serverId"] != ours:
                pass
            async with administered.client() as client:
                while (await node.says("heard", "socket_connected"))[1]["id"] != client.id:
                    pass
                await client.emit_with_ack("say", "hello")
                assert (await node.says("heard", "event_received", "/", client.id))[3] == ["say", "hello"]
                await page.emit_with_ack("join", "/", "tea", id)
                assert (await told(page, "room_joined", "/", "tea"))[2] == id
                await page.emit_with_ack("_disconnect", "/", False, id)
                assert await node.says("gone") == "io server disconnect"
                assert (await told(page, "socket_disconnected", "/", id))[2] == "server namespace disconnect"

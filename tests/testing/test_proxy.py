"""The bad network on real sockets, with a whole server behind it."""

from __future__ import annotations

from functools import partial

import pytest
import trio
import trio.testing

from tests.level import unchanged
from trio_sio import Disconnected, Route, RoutingTable, Server, on_message
from trio_sio.testing import ChaosProxy, ChaosRules, UpgradeRefused, chaos_stream, open_chaos_proxy, open_strict_client

TEXT = "x" * 2_000


class Echo:
    @on_message("echo")
    def echo(self, value: object) -> object:
        return value


async def talk(proxy: ChaosProxy) -> None:
    async with open_strict_client(await trio.open_tcp_stream(proxy.host, proxy.port)) as client:
        for number in range(3):
            assert await client.emit_with_ack("echo", [number, TEXT]) == [number, TEXT]


@pytest.mark.slow
async def test_pieces_of_a_few_bytes() -> None:
    server = Server(RoutingTable(Route("/", Echo)))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)
        rules = ChaosRules(segment=50, delay=0.001)
        async with unchanged(server), open_chaos_proxy("127.0.0.1", listener.sockname[1], to_server=rules, to_client=rules) as proxy:
            await talk(proxy)
            assert proxy.connections == 1
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize("ending", ["reset", "close", "half-close"])
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_the_connection_ends_anywhere(ending: str, direction: str) -> None:
    server = Server(RoutingTable(Route("/", Echo)))
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(server.serve, "127.0.0.1", 0)
        for cut_at in (1, 100, 200, 300, 3_000):
            rules = {direction: ChaosRules(cut_at=cut_at, ending=ending)}  # type: ignore[arg-type]  # a parameter
            async with unchanged(server), open_chaos_proxy("127.0.0.1", listener.sockname[1], **rules) as proxy:
                with pytest.raises((Disconnected, UpgradeRefused, trio.BrokenResourceError)), trio.fail_after(10):
                    await talk(proxy)
        nursery.cancel_scope.cancel()


async def test_a_reset_is_a_reset() -> None:
    async def serve(stream: trio.SocketStream) -> None:
        await stream.send_all(b"hello")
        with pytest.raises(trio.BrokenResourceError):
            await stream.receive_some()
        done.set()

    done = trio.Event()
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        async with open_chaos_proxy("127.0.0.1", listener.socket.getsockname()[1], to_client=ChaosRules(cut_at=5)) as proxy:
            client = await trio.open_tcp_stream(proxy.host, proxy.port)
            with pytest.raises(trio.BrokenResourceError):
                while await client.receive_some():
                    pass
            with trio.fail_after(10):
                await done.wait()
            await client.aclose()
        nursery.cancel_scope.cancel()


async def arrivals(stream: trio.abc.ReceiveStream) -> list[tuple[bytes, float]]:
    """Return what arrives until the end, and how many seconds after the beginning."""
    start, arrived = trio.current_time(), []
    while data := await stream.receive_some():
        arrived.append((bytes(data), trio.current_time() - start))
    return arrived


@pytest.mark.parametrize("rules", [ChaosRules(stall_at=5, stall=60), ChaosRules(segment=4, delay=60)], ids=["stall", "delay"])
@pytest.mark.parametrize("direction", ["to_server", "to_client"])
async def test_it_takes_the_time_that_it_takes_in_memory(direction: str, rules: ChaosRules, autojump_clock: trio.testing.MockClock) -> None:
    async def serve(stream: trio.SocketStream) -> None:
        if direction == "to_client":
            await stream.send_all(b"hello world")
        else:
            arrived.extend(await arrivals(stream))
        done.set()

    arrived, done = list[tuple[bytes, float]](), trio.Event()
    sender, receiver = trio.testing.memory_stream_pair()
    await sender.send_all(b"hello world")
    await sender.send_eof()
    expected = await arrivals(chaos_stream(receiver, received=rules))
    assert len(expected) > 1
    assert expected[-1][1] > 50

    # Nobody else has a deadline, so the clock jumps to those of the proxy.
    async with trio.open_nursery() as nursery:
        (listener,) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        async with (
            open_chaos_proxy("127.0.0.1", listener.socket.getsockname()[1], **{direction: rules}) as proxy,
            await trio.open_tcp_stream(proxy.host, proxy.port) as client,
        ):
            if direction == "to_client":
                arrived = await arrivals(client)
            else:
                await client.send_all(b"hello world")
                await client.send_eof()
            await done.wait()
        nursery.cancel_scope.cancel()

    assert [data for data, _ in arrived] == [data for data, _ in expected]
    assert [seconds for _, seconds in arrived] == pytest.approx([seconds for _, seconds in expected])


async def test_nobody_is_behind_it() -> None:
    async with open_chaos_proxy("127.0.0.1", 1) as proxy, await trio.open_tcp_stream(proxy.host, proxy.port) as client:
        with pytest.raises(trio.BrokenResourceError):
            await client.receive_some()

"""The shared readiness task, on real sockets: each rule of it was a bug in somebody's server."""

from __future__ import annotations

import select
import socket
from contextlib import closing

import pytest
import trio
import trio.testing

if not hasattr(select, "epoll"):
    pytest.skip("needs epoll", allow_module_level=True)

from tests.doors.sockets import Reader, open_readiness, receive, reset, settle, tcp_pair
from trio_sio.doors.native import readiness as readiness_module
from trio_sio.doors.native.wire import SocketWire
from trio_sio.errors import ConnectionReset


async def test_what_arrives_is_fed_to_its_reader() -> None:
    (client, server), (other_client, other_server) = tcp_pair(), tcp_pair()
    with closing(client), closing(server), closing(other_client), closing(other_server):
        async with open_readiness() as readiness:
            reader, other = Reader(server), Reader(other_server)
            readiness.register(reader)
            readiness.register(other)
            for data in (b"a", b"b"):
                client.send(data)
                await settle()

            assert (reader.received, other.received) == ([b"a", b"b"], [])


async def test_nothing_is_received_for_a_paused_socket_and_nothing_spins() -> None:
    client, server = tcp_pair()
    with closing(client), closing(server):
        async with open_readiness() as readiness:
            reader = Reader(server)
            readiness.register(reader)
            readiness.pause(reader)
            client.send(b"a")
            await settle()
            assert reader.received == []
            readiness.resume(reader)
            await settle()

            assert reader.received == [b"a"]


async def test_the_end_of_the_stream_while_paused_spins_not_and_is_not_missed() -> None:
    client, server = tcp_pair()
    with closing(client), closing(server):
        async with open_readiness() as readiness:
            reader = Reader(server, lambda: readiness.unregister(reader))
            readiness.register(reader)
            readiness.pause(reader)
            client.shutdown(socket.SHUT_WR)
            await settle()
            assert (reader.received, reader.hangups) == ([], 0)
            readiness.resume(reader)
            await settle()

            assert reader.received == [b""]


async def test_a_reset_while_paused_is_told() -> None:
    client, server = tcp_pair()
    with closing(server):
        async with open_readiness() as readiness:
            reader = Reader(server)
            readiness.register(reader)
            readiness.pause(reader)
            reset(client)
            await settle()

            assert (reader.received, reader.hangups) == ([], 1)


async def test_a_reader_that_was_closed_earlier_in_the_turn_is_left_alone() -> None:
    (client, server), (other_client, other_server) = tcp_pair(), tcp_pair()
    with closing(client), closing(other_client):
        async with open_readiness() as readiness:
            readers = dict[str, Reader]()

            def close(name: str) -> None:
                reader = readers[name]
                readiness.unregister(reader)
                reader.socket.close()

            readers["a"] = Reader(server, lambda: close("b"))
            readers["b"] = Reader(other_server, lambda: close("a"))
            client.send(b"a")
            other_client.send(b"b")
            # Both are ready before the first turn; whoever comes first closes the other.
            for reader in readers.values():
                readiness.register(reader)
            await settle()

            assert sorted(len(reader.received) for reader in readers.values()) == [0, 1]
            assert [error for reader in readers.values() for error in reader.errors] == []
            assert len(readiness) == 1
            for reader in readers.values():
                reader.socket.close()


async def test_a_descriptor_that_was_used_before_belongs_to_its_new_reader_only() -> None:
    client, server = tcp_pair()
    with closing(client), closing(server):
        async with open_readiness() as readiness:
            old, new = Reader(server), Reader(server)  # one number, two owners
            readiness.register(old)
            readiness.unregister(old)
            readiness.register(new)
            readiness.pause(old)
            readiness.unregister(old)
            client.send(b"a")
            await settle()

            assert (old.received, new.received) == ([], [b"a"])


async def test_a_reader_that_fails_is_told_and_the_others_go_on(caplog: pytest.LogCaptureFixture) -> None:
    (client, server), (other_client, other_server) = tcp_pair(), tcp_pair()
    with closing(client), closing(server), closing(other_client), closing(other_server):
        async with open_readiness() as readiness:
            broken, other = Reader(server, lambda: list[int]().remove(1)), Reader(other_server)
            readiness.register(broken)
            readiness.register(other)
            client.send(b"a")
            other_client.send(b"b")
            await settle()

            assert [type(error) for error in broken.errors] == [ValueError]
            assert other.received == [b"b"]
    assert "the others go on" in caplog.text


async def test_sockets_per_turn_are_bounded_and_all_get_their_turn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness_module, "SOCKETS_PER_TURN", 1)
    pairs, turns = [tcp_pair() for _ in range(3)], list[str]()

    class Greedy(Reader):
        """Always has more to receive."""

        def readable(self) -> None:
            turns.append(str(pairs.index(next(pair for pair in pairs if pair[1] is self.socket))))

    async def other() -> None:
        while True:
            turns.append("-")
            await trio.lowlevel.checkpoint()

    async with open_readiness() as readiness, trio.open_nursery() as nursery:
        for client, server in pairs:
            client.send(b"a")
            readiness.register(Greedy(server))
        nursery.start_soon(other)
        for _ in range(60):
            await trio.lowlevel.checkpoint()
        seen = turns[:30]  # and not what the end brings
        nursery.cancel_scope.cancel()
    for pair in pairs:
        for sock in pair:
            sock.close()

    served = [turn for turn in seen if turn != "-"]
    assert set(served[:3]) == {"0", "1", "2"}
    # Between two sockets the other task ran, or Trio had it last in one turn and first in the next.
    assert not any(set(seen[at : at + 3]) <= {"0", "1", "2"} for at in range(len(seen) - 2))


async def test_the_epoll_ends_with_its_task() -> None:
    async with open_readiness() as readiness:
        pass

    assert readiness._epoll.closed


async def test_a_wire_that_begins_to_receive_after_that_ends() -> None:
    client, server = tcp_pair()
    with closing(client), closing(server):
        async with open_readiness() as readiness:
            pass
        fed, ends = list[bytes](), list[object]()
        await receive(SocketWire(server, readiness, 30), fed, ends)

    assert (fed, ends) == ([], [ConnectionReset])

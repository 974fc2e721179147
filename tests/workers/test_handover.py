"""A request for another worker's session gets there, however it comes, and nothing of it is lost or stays behind."""

from __future__ import annotations

import os
import resource
import select
import socket
from collections.abc import AsyncIterator, Callable

import pytest
import trio

from tests.workers.crew import ENGINE, Crew, descriptors, open_crew
from trio_sio import Config, Server
from trio_sio.testing.raw import RawHttp
from trio_sio.workers import handover
from trio_sio.workers.board import State
from trio_sio.workers.channel import make_pair
from trio_sio.workers.handover import Mailbox, PostBox

POLL = f"{ENGINE}&transport=polling"


BRIEF = Config(drain_timeout=0.1)


@pytest.fixture
async def crew() -> AsyncIterator[Crew]:
    async with open_crew() as crew:
        yield crew


async def join(client: RawHttp, sid: str) -> None:
    """Join the main namespace by polling; it is refused, as there is none, and the answer is the proof."""
    posted = await client.request("POST", f"{POLL}&sid={sid}", body="40")
    assert (posted.status, posted.body) == (200, b"ok")
    polled = await client.request("GET", f"{POLL}&sid={sid}")
    assert polled.status == 200
    assert b"Invalid namespace" in polled.body


async def test_a_new_connection(crew: Crew) -> None:
    sid = await crew.open_session(1)
    async with await crew.http(0) as client:
        await join(client, sid)


async def test_a_connection_that_carries_requests_for_two_workers_in_turn(crew: Crew) -> None:
    """As those of a proxy do."""
    sids = [await crew.open_session(number) for number in (0, 1, 0, 1)]
    async with await crew.http(0) as client:
        for sid in sids:
            await join(client, sid)
        assert (await client.request("GET", "/healthz")).status == 200


def post(sid: str, body: str) -> bytes:
    return f"POST {POLL}&sid={sid} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode()


def get(sid: str) -> bytes:
    return f"GET {POLL}&sid={sid} HTTP/1.1\r\nHost: x\r\n\r\n".encode()


async def responses(stream: trio.SocketStream, count: int) -> list[bytes]:
    """Return the bodies of so many responses, all of them 200."""
    data, bodies = b"", list[bytes]()
    while len(bodies) < count:
        head, found, rest = data.partition(b"\r\n\r\n")
        size = int(head.lower().partition(b"content-length: ")[2].split(b"\r\n")[0]) if found else 0
        if not found or len(rest) < size:
            more = await stream.receive_some()
            assert more, data
            data += more
            continue
        assert head.startswith(b"HTTP/1.1 200 "), head
        bodies.append(rest[:size])
        data = rest[size:]
    return bodies


async def test_requests_that_come_at_once(crew: Crew) -> None:
    """Pipelined, each for another worker than the one before: what was read goes with the connection."""
    sids = [await crew.open_session(number) for number in (1, 0, 1)]
    async with await crew.connect(0) as stream:
        await stream.send_all(b"".join(post(sid, "40") + get(sid) for sid in sids))
        for posted, polled in zip(*[iter(await responses(stream, 6))] * 2, strict=True):
            assert posted == b"ok"
            assert b"Invalid namespace" in polled


async def test_a_request_in_pieces(crew: Crew) -> None:
    """Half a request line, half a head, and a body that has not come when the head has."""
    sid = await crew.open_session(1)
    request = post(sid, "40") + get(sid)
    for at in (
        3,
        request.index(sid.encode()) + 4,
        request.index(b"Content-Length"),
        request.index(b"\r\n\r\n") + 4,
        request.index(b"40GET") + 1,
    ):
        sid = await crew.open_session(1)
        request = post(sid, "40") + get(sid)
        async with await crew.connect(0) as stream:
            for piece in (request[:at], request[at:]):
                await stream.send_all(piece)
                await trio.sleep(0.02)
            posted, polled = await responses(stream, 2)
            assert posted == b"ok"
            assert b"Invalid namespace" in polled


async def test_a_large_body(crew: Crew) -> None:
    """Most of it is still in the kernel when the connection goes."""
    sid = await crew.open_session(1)
    async with await crew.http(0) as client:
        await join(client, sid)
    async with await crew.connect(0) as stream:
        await stream.send_all(post(sid, f"3{'x' * 500_000}"))
        assert await responses(stream, 1) == [b"ok"]


async def test_more_than_a_packet_takes(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_INLINE", 100)
    sid = await crew.open_session(1)
    before = descriptors()
    async with await crew.connect(0) as stream:
        await stream.send_all(post(sid, "40") + get(sid))
        posted, polled = await responses(stream, 2)
        assert posted == b"ok"
        assert b"Invalid namespace" in polled
    await settle(before)


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something of which nobody is told."""
    with trio.fail_after(5):
        while not condition():  # noqa: ASYNC110
            await trio.sleep(0.01)


async def settle(before: int) -> None:
    """Wait until there are as many descriptors as before."""
    await eventually(lambda: descriptors() <= before)


async def test_descriptors_are_flat(crew: Crew) -> None:
    sids = [await crew.open_session(number) for number in (0, 1)]
    before = descriptors()
    for _ in range(20):
        async with await crew.http(0) as client:
            for number in range(10):
                response = await client.request("POST", f"{POLL}&sid={sids[number % 2]}", body="3")
                assert response.body == b"ok"
    await settle(before)
    await eventually(lambda: crew.board.connections(0) == crew.board.connections(1) == 0)


async def test_an_upgrade(crew: Crew) -> None:
    sid = await crew.open_session(1)
    async with await crew.websocket(0, sid) as websocket, await crew.http(0) as client:
        await websocket.send("2probe")
        assert await websocket.receive() == "3probe"
        assert (await client.request("GET", f"{POLL}&sid={sid}")).body == b"6"
        await websocket.send("5")
        await websocket.send("40")
        assert "Invalid namespace" in str(await websocket.receive())
    assert crew.board.connections(0) <= 1  # that of the polls


async def test_a_session_that_nobody_has(crew: Crew) -> None:
    async with await crew.http(0) as client:
        for number in range(8):
            response = await client.request("GET", f"{POLL}&sid=unknown{number}")
            assert (response.status, response.body) == (400, b'{"code":1,"message":"Session ID unknown"}')


@pytest.mark.parametrize("state", [State.GONE, State.STARTING])
async def test_the_sessions_of_a_worker_that_has_ended_are_unknown_at_once(crew: Crew, state: State) -> None:
    """Nobody waits for its successor to say that."""
    sid = await crew.open_session(1)
    crew.enter(1, state)
    async with await crew.http(0) as client:
        response = await client.request("GET", f"{POLL}&sid={sid}")
        assert (response.status, response.body) == (400, b'{"code":1,"message":"Session ID unknown"}')
        assert crew.board.connections(0) == 1


async def test_a_worker_that_drains_still_has_its_sessions(crew: Crew) -> None:
    sid = await crew.open_session(1)
    crew.enter(1, State.DRAINING)
    async with await crew.http(0) as client:
        await join(client, sid)


async def test_several_ids_are_refused_by_whoever_gets_them(crew: Crew) -> None:
    sid = await crew.open_session(1)
    async with await crew.http(0) as client:
        assert (await client.request("GET", f"{POLL}&sid={sid}&sid={sid}")).status == 400


async def test_the_address_of_the_client_goes_along(crew: Crew) -> None:
    seen = list[str | None]()
    crew.servers[1].engine.on_connection_error(lambda refused: seen.append(refused.request.address))
    sid = next(name for name in map(str, range(100)) if crew.colleagues[1].is_mine(name))
    async with await crew.http(0) as client:
        await client.request("GET", f"{POLL}&sid={sid}")
    assert seen == ["127.0.0.1"]


async def test_ids_are_drawn_until_they_are_of_the_worker() -> None:
    ids = iter(str(number) for number in range(1_000))

    async def generate_id() -> str:
        await trio.lowlevel.checkpoint()
        return next(ids)

    async with open_crew(lambda: Server(config=Config(drain_timeout=0.1, generate_id=generate_id)), 4) as crew:
        for number in (0, 1, 2, 3) * 3:
            assert crew.colleagues[number].is_mine(await crew.open_session(number))


async def test_ids_that_never_are_of_the_worker_are_refused(caplog: pytest.LogCaptureFixture) -> None:
    async with open_crew(lambda: Server(config=Config(drain_timeout=0.1, generate_id=lambda: "always the same"))) as crew:
        statuses = set()
        for number in (0, 1):
            async with await crew.http(number) as client:
                statuses.add((await client.request("GET", POLL)).status)
    assert statuses == {200, 400}
    assert "no id in 2000 calls that is this worker's" in caplog.text


# Who drains.


async def test_a_new_client_of_a_worker_that_drains_goes_to_another_one(crew: Crew) -> None:
    async with await crew.connect(0) as stream:
        request = f"GET {POLL} HTTP/1.1\r\nHost: x\r\n\r\n".encode()
        await stream.send_all(request[:10])
        await trio.sleep(0.05)
        crew.enter(0, State.DRAINING)
        crew.servers[0].engine.sessions.draining.set()
        await stream.send_all(request[10:])
        (body,) = await responses(stream, 1)
        assert b'"sid"' in body
        assert len(crew.servers[1].engine.sessions.by_id) == 1


async def test_a_worker_that_drains_accepts_nobody_as_long_as_another_one_does(crew: Crew) -> None:
    crew.enter(0, State.DRAINING)
    crew.servers[0].engine.sessions.draining.set()
    async with await crew.http(0) as client:
        await client.send("GET", POLL)
        with trio.move_on_after(0.3):
            await client.receive()
            pytest.fail("it has accepted a client")
        # All drain: now there is somebody to say when to come back.
        crew.enter(1, State.DRAINING)
        response = await client.receive()
        assert (response.status, response.headers["retry-after"]) == (503, "5")


async def test_a_connection_on_which_nothing_has_come_survives_the_worker_that_drains(crew: Crew) -> None:
    """One that was just accepted, and one that a proxy keeps."""
    async with await crew.http(0) as new, await crew.http(0) as kept:
        assert (await kept.request("GET", "/healthz")).status == 200
        await eventually(lambda: crew.board.connections(0) == 2)
        crew.enter(0, State.DRAINING)
        await crew.servers[0].drain()
        await eventually(lambda: (crew.board.connections(0), crew.board.connections(1)) == (0, 2))
        for client in (new, kept):
            response = await client.request("GET", POLL)
            assert response.status == 200
            assert response.body.decode().partition('"sid":"')[2].partition('"')[0] in crew.servers[1].engine.sessions.by_id


# What goes wrong.


@pytest.mark.hostile("K04")
async def test_a_worker_that_takes_nothing_costs_its_clients_a_while(crew: Crew, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handover, "_PATIENCE", 0.3)
    monkeypatch.setattr(PostBox, "_put_nowait", lambda *_: False)
    sid = await crew.open_session(1)
    async with await crew.http(0) as client:
        response = await client.request("GET", f"{POLL}&sid={sid}")
        assert (response.status, response.headers["retry-after"]) == (503, "1")
        await client.wait_closed()
    assert crew.board.connections(0) == 0


def fill(postbox: PostBox, sock: socket.socket) -> int:
    """Put copies until there is no room; return how many that were."""
    count = 0
    while True:
        copy = sock.dup()
        if not postbox._put_nowait(copy, None, b"x" * 40_000):
            copy.close()
            return count
        count += 1


async def test_a_full_mailbox_is_waited_for() -> None:
    here, there = make_pair()
    postbox, taken = PostBox(there), list[bytes]()
    with here, there:
        client, server = socket.socketpair()
        sent = fill(postbox, server)
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(postbox.put, server.dup(), None, b"%d" % number)
            await trio.sleep(0.1)

            def take(sock: socket.socket, _: str | None, received: bytes) -> None:
                sock.close()
                taken.append(received)

            nursery.start_soon(Mailbox(here).take, take)
            await eventually(lambda: len(taken) == sent + 3)
            nursery.cancel_scope.cancel()
        assert sorted(taken[sent:]) == [b"0", b"1", b"2"]
        client.close()
        server.close()


async def test_a_connection_that_could_not_be_put_is_still_the_callers() -> None:
    here, there = make_pair()
    postbox = PostBox(there)
    client, server = socket.socketpair()
    with here, there, client, server:
        for wait in (0.0, 0.05):
            fill(postbox, server)
            with trio.move_on_after(wait):
                await postbox.put(server, None, b"x" * 40_000)
            assert server.fileno() >= 0
            server.send(b"still here")
            assert client.recv(100) == b"still here"


async def test_once_it_is_put_the_sender_has_no_copy() -> None:
    """And nobody is woken for it any more: the descriptor of another connection may have its number."""
    here, there = make_pair()
    with here, there:
        client, server = socket.socketpair()
        with client:
            wire = trio.socket.from_stdlib_socket(server)
            with trio.move_on_after(0.01):
                await trio.lowlevel.wait_readable(wire)  # so Trio's epoll has it
            number = server.fileno()
            assert await PostBox(there).put(server, "1.2.3.4", b"received")
            assert server.fileno() == -1
            got = list[tuple[socket.socket, str | None, bytes]]()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(Mailbox(here).take, lambda *taken: got.append(taken))
                await eventually(lambda: bool(got))
                nursery.cancel_scope.cancel()
            ((sock, address, received),) = got
            with sock:
                assert (address, received) == ("1.2.3.4", b"received")
                client.send(b"x")
                client.close()
                await trio.sleep(0.01)
                assert sock.recv(10) == b"x"
            assert number >= 0


async def test_a_client_that_is_gone_is_no_error(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    sid = await crew.open_session(1)
    for _ in range(10):
        stream = await crew.connect(0)
        await stream.send_all(get(sid))
        stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        await trio.aclose_forcefully(stream)
    await eventually(lambda: crew.board.connections(0) == crew.board.connections(1) == 0)
    assert not [record for record in caplog.records if record.levelname in ("ERROR", "WARNING")]


# What nobody of ours sends: another version of ours does, or a program that closes descriptors that are not its own.


async def take(count: int, mailbox: Mailbox) -> list[tuple[socket.socket, str | None, bytes]]:
    """Return the next connections in a mailbox."""
    got = list[tuple[socket.socket, str | None, bytes]]()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(mailbox.take, lambda *taken: got.append(taken))
        await eventually(lambda: len(got) == count)
        nursery.cancel_scope.cancel()
    return got


@pytest.mark.hostile("K01")
@pytest.mark.parametrize(
    "packet",
    [b"", b"\n", b"\xff" * 100, b"[null]\n", b'["x",2]\n', b'["x",-1]\n', b'["x","1"]\nx', b"{}\n", b"[1,2]\nxx", b"x" * 60_000],
)
@pytest.mark.parametrize("with_descriptors", [0, 1, 2, 3])
async def test_what_is_no_hand_over_is_closed_and_the_next_one_is_taken(
    packet: bytes, with_descriptors: int, caplog: pytest.LogCaptureFixture
) -> None:
    here, there = make_pair()
    client, server = socket.socketpair()
    with here, there, client, server:
        before = descriptors()
        socket.send_fds(there, [packet], [server.fileno()] * with_descriptors)
        assert await PostBox(there).put(server, "1.2.3.4", b"received")
        ((sock, *rest),) = await take(1, Mailbox(here))
        assert rest == ["1.2.3.4", b"received"]
        sock.close()
        assert descriptors() == before - 1
    assert [record.levelname for record in caplog.records] == ["WARNING" if with_descriptors else "ERROR"]


@pytest.mark.hostile("K02")
async def test_a_hand_over_without_all_that_was_read_is_closed(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """As if there had been room for one descriptor, and not for two; or as if the file were cut."""
    here, there = make_pair()
    with here, there:
        monkeypatch.setattr(handover, "_INLINE", 3)
        packet, file = handover._pack(None, b"received")
        assert file is not None
        os.truncate(file, 4)
        for files in ([], [file]):
            client, server = socket.socketpair()
            with client:
                with server:
                    socket.send_fds(there, [packet], [server.fileno(), *files])
                with trio.move_on_after(0.01):
                    await Mailbox(here).take(lambda *_: pytest.fail("it was taken"))
                assert client.recv(1) == b""
        os.close(file)
    assert ["0 of 8 bytes" in caplog.text, "4 of 8 bytes" in caplog.text] == [True, True]


@pytest.mark.hostile("K03")
async def test_a_worker_without_room_for_a_descriptor_goes_on(caplog: pytest.LogCaptureFixture) -> None:
    here, there = make_pair()
    client, server = socket.socketpair()
    mailbox, postbox = Mailbox(here), PostBox(there)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with here, there, client:
        assert await postbox.put(server, None, b"lost")
        highest = max(map(int, os.listdir("/proc/self/fd")))
        filling = [os.dup(client.fileno()) for _ in range(highest)]
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (max(filling) + 1, hard))
            with trio.move_on_after(0.05):
                await mailbox.take(lambda *_: pytest.fail("there was room"))
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            for descriptor in filling:
                os.close(descriptor)
        assert client.recv(1) == b""
        assert "raise the limit of open files" in caplog.text
        other, another = socket.socketpair()
        with other:
            assert await postbox.put(another, None, b"next")
            ((sock, _, received),) = await take(1, mailbox)
            sock.close()
            assert received == b"next"


@pytest.mark.hostile("K05")
async def test_a_descriptor_that_is_no_socket_is_closed(caplog: pytest.LogCaptureFixture) -> None:
    here, there = make_pair()
    with here, there:
        before = descriptors()
        with select.epoll() as epoll:
            for number in (0, epoll.fileno()):
                socket.send_fds(there, [b"[null,0]\n"], [number])
        with trio.move_on_after(0.01):
            await Mailbox(here).take(lambda *_: pytest.fail("it was taken"))
        assert descriptors() == before
    assert caplog.text.count("no connection") == 2


@pytest.mark.hostile("K05")
async def test_a_socket_that_is_connected_to_nobody_is_closed() -> None:
    """One that listens, one that is fresh, one for datagrams: no request comes on it in time."""
    async with open_crew(lambda: Server(config=Config(drain_timeout=0.1, header_timeout=0.2))) as crew:
        before = descriptors()
        for kind, listens in ((socket.SOCK_STREAM, True), (socket.SOCK_STREAM, False), (socket.SOCK_DGRAM, False)):
            with socket.socket(socket.AF_INET, kind) as sock:
                if listens:
                    sock.bind(("127.0.0.1", 0))
                    sock.listen()
                socket.send_fds(crew.pairs[1][1], [b"[null,0]\n"], [sock.fileno()])
        await trio.sleep(0.02)
        await settle(before)
        await eventually(lambda: crew.board.connections(1) == 0)
        sid = await crew.open_session(1)
        async with await crew.http(0) as client:
            await join(client, sid)


@pytest.mark.hostile("K07")
async def test_a_mailbox_that_nobody_will_ever_have_is_given_up_at_once(crew: Crew, caplog: pytest.LogCaptureFixture) -> None:
    """The supervisor was killed, so the workers drain, and one of them has ended."""
    sid = await crew.open_session(1)
    here, there = make_pair()
    here.close()
    with there:
        crew.colleagues[0]._postboxes[1]._socket.close()
        crew.colleagues[0]._postboxes[1]._socket = there.dup()
        async with await crew.http(0) as client:
            with trio.fail_after(1):
                response = await client.request("GET", f"{POLL}&sid={sid}")
            assert (response.status, response.headers["retry-after"]) == (503, "1")
            await client.wait_closed()
    assert "Traceback" not in caplog.text
    assert not [record for record in caplog.records if record.levelname == "ERROR"]

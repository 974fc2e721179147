"""What a client says of itself when it joins: asked for each time, and bounded."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import trio
import trio.testing

from tests.client.fake_session import FakeServer
from trio_sio.errors import ConnectFailed, EncodeError

Clock = trio.testing.MockClock  # every time-out passes at once


async def test_credentials_are_asked_for_each_time(autojump_clock: Clock) -> None:
    asked = 0

    def count() -> dict[str, object]:
        nonlocal asked
        asked += 1
        return {"asked": asked}

    async def count_async() -> dict[str, object]:
        await trio.sleep(1)
        return count()

    for auth, expected in ((count, [1, 2]), (count_async, [3, 4]), ({"token": 1}, None), (lambda: None, None)):
        server = FakeServer()
        async with server.manager() as manager, manager.socket(auth=auth) as socket:
            server.session.lose()
            await server.wait_session(2)
            await socket.connect()
        if expected is not None:
            sent = [f'0{{"asked":{number}}}' for number in expected]
        else:
            sent = ['0{"token":1}'] * 2 if isinstance(auth, dict) else ["0", "0"]
        assert [session.sent[0] for session in server.sessions] == sent


async def test_credentials_that_cannot_be_had_raise_at_first_and_end_the_socket_later(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    failing = True

    async def auth() -> Mapping[str, object] | None:
        if failing:
            raise KeyError("token")
        return None

    server = FakeServer()
    async with server.manager() as manager:
        with pytest.raises(KeyError):
            async with manager.socket(auth=auth):
                pass
        with pytest.raises(EncodeError):
            async with manager.socket(auth={"bytes": b""}):
                pass
        assert not caplog.records
        failing = False
        async with manager.socket(auth=auth) as socket:
            failing = True
            server.session.lose()
            ended = await socket.closed()
            assert isinstance(ended.error, KeyError)
            assert [record.levelname for record in caplog.records if record.exc_info] == ["ERROR"]


async def test_a_function_for_credentials_that_hangs_does_not_hold_up_the_others(autojump_clock: Clock) -> None:
    server = FakeServer()
    async with server.manager() as manager, manager.socket("/other") as other:
        with pytest.raises(ConnectFailed):
            async with manager.socket(auth=trio.sleep_forever):
                pass
        server.session.deliver('2/other,["a"]')
        assert await other.once("a") == ()


async def test_credentials_for_a_connection_that_is_gone_are_not_waited_for(autojump_clock: Clock) -> None:
    asked = 0

    async def auth() -> None:
        nonlocal asked
        asked += 1
        if asked == 2:
            await trio.sleep_forever()

    server = FakeServer()
    async with server.manager() as manager, manager.socket(auth=auth) as socket:
        server.session.lose()
        again = await server.wait_session(2)
        await trio.testing.wait_all_tasks_blocked()
        again.lose()
        await server.wait_session(3)
        await socket.connect()
        assert (socket.id, trio.current_time()) == ("id3", 1 + 2)

"""Refusals that go wrong: by middleware that disconnects and goes on, or with data that cannot be sent."""

from __future__ import annotations

import pytest

from trio_sio import ConnectionRefused, Context, Next, Route, RoutingTable, on_connection
from trio_sio.testing import open_test_server


async def test_middleware_that_disconnects_and_goes_on_refuses(caplog: pytest.LogCaptureFixture) -> None:
    began: list[str] = []

    async def disconnect_first(ctx: Context, call_next: Next) -> object:
        ctx.socket.disconnect_nowait()
        return await call_next()

    class Controller:
        @on_connection
        async def joined(self) -> None:
            began.append("joined")

    routes = RoutingTable(Route("/", Controller, middleware=[disconnect_first]), Route("/other", Controller))
    async with open_test_server(routes) as server:
        with pytest.raises(ConnectionRefused, match="Connection refused"):
            async with server.strict_client():
                pass
        async with server.strict_client("/other"):
            pass
    assert began == ["joined"]
    assert not [record for record in caplog.records if record.exc_info]


async def test_a_refusal_whose_data_cannot_be_sent_is_a_refusal_without_it(caplog: pytest.LogCaptureFixture) -> None:
    async def refuse(ctx: Context, call_next: Next) -> object:
        raise ConnectionRefused("no", data={"a set": {1}})

    class Controller:
        @on_connection
        async def joined(self) -> None: ...

    async with open_test_server(RoutingTable(Route("/", Controller, middleware=[refuse]))) as server:
        with pytest.raises(ConnectionRefused, match="no") as caught:
            async with server.strict_client():
                pass
    assert caught.value.data is None
    assert "cannot be sent" in caplog.text

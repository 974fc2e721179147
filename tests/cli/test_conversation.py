"""What one command of `trio-sio connect` comes to."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import cast

import pytest
import trio
import trio.testing

from trio_sio import Disconnected
from trio_sio.cli.conversation import Conversation, ExitCode
from trio_sio.cli.notation import parse_event
from trio_sio.cli.output import Output
from trio_sio.client import ClientSocket, Lost
from trio_sio.client.states import States, StateStream


class Cut:
    """A client's socket whose connection is lost, and may come back."""

    def __init__(self) -> None:
        self._states = States()
        self._states.publish(Lost("transport close", "the test says so"))

    @asynccontextmanager
    async def states(self) -> AsyncIterator[StateStream]:
        """See `ClientSocket.states`."""
        with self._states.subscribe() as stream:
            yield stream

    async def emit(self, event: str, *args: object) -> None:
        """See `ClientSocket.emit`."""
        await trio.lowlevel.checkpoint()
        raise Disconnected("The connection was lost.")

    async def emit_with_ack(self, event: str, *args: object, timeout: float) -> None:
        """See `ClientSocket.emit_with_ack`."""
        await self.emit(event, *args)


@pytest.mark.parametrize("written", ["say 1", "ask? 1"])
async def test_an_emit_that_meets_a_lost_connection_which_is_not_ended_fails(
    written: str, capsys: pytest.CaptureFixture[str], autojump_clock: trio.testing.MockClock
) -> None:
    conversation = Conversation(cast(ClientSocket, Cut()), Output(1, "utf-8", as_json=False), 5)

    assert await conversation.emit(parse_event(written)) is ExitCode.FAILED
    assert capsys.readouterr().err == "trio-sio: The connection was lost.\n"

"""Who may be an instrument: what cannot work is refused when the server is made."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from trio_sio import Instrument, Server, Socket


class Fine(Instrument):
    def event_received(self, socket: Socket, event: str, args: Sequence[Any], size: int) -> None: ...


class Awaited(Instrument):
    async def event_received(  # type: ignore[override]
        self, socket: Socket, event: str, args: Sequence[Any], size: int
    ) -> None: ...


class Bare(Instrument):
    def handling(self, socket: Socket, event: str, args: Sequence[Any]) -> Iterator[None]:  # type: ignore[override]
        yield


class Asynchronous(Instrument):
    @asynccontextmanager
    async def handling(self, socket: Socket, event: str, args: Sequence[Any]) -> AsyncIterator[None]:  # type: ignore[override]
        yield


@pytest.mark.parametrize(
    ("instrument", "sentence"),
    [
        (Fine, "give an instance, not the class"),
        (object(), "derive it from trio_sio.Instrument"),
        (Awaited(), "Awaited.event_received is called and not awaited"),
        (Bare(), "Bare.handling returns a context manager, but is a generator function; put @contextlib.contextmanager above it"),
        (Asynchronous(), "Asynchronous.handling makes an async context manager"),
    ],
)
def test_what_cannot_be_called_is_refused_at_once(instrument: Any, sentence: str) -> None:
    with pytest.raises(TypeError, match=sentence):
        Server(instruments=[instrument])


def test_one_instrument_is_no_list() -> None:
    with pytest.raises(TypeError, match=r"write instruments=\[...\]"):
        Server(instruments=Fine())  # type: ignore[arg-type]


async def test_a_server_that_was_entered_takes_no_more_instruments() -> None:
    server = Server(instruments=[Fine()])
    server.add_instrument(Fine())
    async with server:
        with pytest.raises(RuntimeError, match="add instruments before"):
            server.add_instrument(Fine())

"""Hostile HTTP, section H of the catalogue: pages of other origins."""

from __future__ import annotations

from typing import Final

import pytest

from tests.hostile.http import NOTE, get, status
from tests.hostile.journal import Journal
from tests.hostile.victim import POLLING, WEBSOCKET, Victim, assert_refused
from trio_sio import CORS
from trio_sio.errors import ConfigurationError

pytestmark = pytest.mark.http

FOREIGN_ORIGINS: Final = [
    "http://evil.example",
    "http://localhost.evil.example",
    "http://localhost@evil.example",
    "null",
    "",
    "localhost",
    "http://localhost/",
    "http://localhost, http://localhost",
    "http://locallost",
    "http://" + "x" * 4_000,
]


@pytest.mark.hostile("H38", "H39")
async def test_foreign_origin(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()
    sessions = victim.server.engine.clients_count

    for origin in FOREIGN_ORIGINS:
        fields = {"Origin": origin}
        assert_refused(await victim.request(POLLING, headers=fields), 4, 403)
        assert_refused(await victim.refusal(WEBSOCKET, fields), 4, 403)
        assert_refused(await victim.request(session.query, headers=fields), 4, 403)
        assert_refused(await session.post(NOTE % 1, fields), 4, 403)
        assert_refused(await victim.refusal(f"{WEBSOCKET}&sid={session.sid}", fields), 4, 403)
        # One warning for each new origin, however often it comes.
        journal.expect(r"WARNING Refused a request from a page of .*CORS\(origins=", *["INFO Refused .*origin"] * 5)

    assert victim.server.engine.clients_count == sessions
    victim.no_note()
    await session.assert_lives()


@pytest.mark.hostile("H39")
@pytest.mark.parametrize("origin", ["http://\xe9vil.example", "http://localhost\xff", "http://a\x01b"])
async def test_origin_that_is_not_ascii(victim: Victim, journal: Journal, origin: str) -> None:
    assert status(await victim.say(get(fields=f"Origin: {origin}\r\n"))) == 403
    journal.expect("WARNING Refused a request from a page of ", "INFO Refused GET .*origin")


@pytest.mark.hostile("H40")
def test_every_origin_with_credentials() -> None:
    with pytest.raises(ConfigurationError):
        CORS(origins="*", credentials=True)

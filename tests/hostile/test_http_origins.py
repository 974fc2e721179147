"""Hostile HTTP, section H of the catalogue: pages of other origins."""

from __future__ import annotations

import re
from typing import Any, Final

import pytest

from tests.hostile.http import NOTE, get, status
from tests.hostile.journal import Journal
from tests.hostile.victim import POLLING, WEBSOCKET, Victim, assert_refused
from trio_sio import CORS, Config, Server
from trio_sio.errors import ConfigurationError
from trio_sio.testing import open_test_server

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


@pytest.mark.hostile("R20")
@pytest.mark.parametrize("answer", ["coroutine", "object", "raises"])
async def test_function_of_origins_that_does_not_say_true(journal: Journal, answer: str) -> None:
    async def later(origin: str) -> bool:
        return False

    def decide(origin: str) -> Any:
        if answer == "raises":
            raise LookupError(origin)
        return later(origin) if answer == "coroutine" else object()

    config = Config(cors=CORS(origins=decide, credentials=True))
    async with open_test_server(Server(config=config)) as server, await server.http() as http:
        refused = await http.request("GET", f"/socket.io/?{POLLING}", headers={"Origin": "https://evil.example"})
        assert (refused.status, refused.headers.get("access-control-allow-credentials")) == (403, None)
        assert server.server.engine.clients_count == 0
    journal.expect("ERROR The function of CORS.origins", "WARNING Refused a request from a page of ", "INFO Refused GET .*origin")


@pytest.mark.hostile("R26")
@pytest.mark.parametrize("settings", [{"allowed_hosts": ["localhost", "127.0.0.1"]}], ids=["loopback"])
async def test_page_whose_name_points_here(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()
    rebound = {"Host": "evil.example:3000", "Origin": "http://evil.example:3000"}

    assert_refused(await victim.request(POLLING, headers=rebound), 4, 403)
    assert_refused(await victim.refusal(WEBSOCKET, rebound), 4, 403)
    assert_refused(await session.post(NOTE % 1, rebound), 4, 403)
    assert_refused(await victim.refusal(f"{WEBSOCKET}&sid={session.sid}", rebound), 4, 403)

    journal.expect(r"WARNING Refused a request for the host .*allowed_hosts=", *["INFO Refused .*allowed_hosts"] * 4)
    victim.no_note()
    await session.assert_lives()


@pytest.mark.hostile("H40", "R22")
@pytest.mark.parametrize("origins", [["*"], ("*",), re.compile(".*"), "null"], ids=["list", "tuple", "pattern", "null"])
def test_every_origin_with_credentials_in_other_words(origins: Any) -> None:
    with pytest.raises(ConfigurationError):
        CORS(origins=origins, credentials=True)


@pytest.mark.hostile("H40")
def test_every_origin_with_credentials() -> None:
    with pytest.raises(ConfigurationError):
        CORS(origins="*", credentials=True)

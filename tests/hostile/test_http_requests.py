"""Hostile HTTP, section H of the catalogue: paths, verbs, and what a query says or does not say."""

from __future__ import annotations

import re

import pytest

from tests.hostile.http import HEAD, NOTE, get, status
from tests.hostile.journal import Journal
from tests.hostile.victim import POLLING, WEBSOCKET, Victim, assert_refused
from trio_sio import CORS

pytestmark = pytest.mark.http


@pytest.mark.hostile("H01", "H02", "H03", "H56")
async def test_path_of_nobody(victim: Victim, journal: Journal) -> None:
    paths = [
        "/",
        "/socket.iox/",
        "/socket.io/zzz/",
        "//socket.io/",
        "/socket.io//",
        "/SOCKET.IO/",
        "/socket.io/socket.io.js/../..",
        "/engine.io/",
    ]
    for path in paths:
        assert (await victim.request(POLLING, path=path)).status == 404
    if victim.door == "native":
        journal.expect("INFO A Socket.IO client asked for ", times=len(paths))


@pytest.mark.hostile("H01")
async def test_path_without_slash(victim: Victim, journal: Journal) -> None:
    assert_refused(await victim.request("EIO=4", path="/socket.io"), 0)
    journal.expect("INFO Refused GET '/socket.io' ")


@pytest.mark.hostile("H03")
async def test_absolute_form(victim: Victim, journal: Journal) -> None:
    # An ASGI host hands the whole target over as the path, which is nobody's.
    ours = 400 if victim.is_native else 404
    for host, expected in [("localhost", ours), ("other", 404)]:
        request = f"GET http://{host}/socket.io/?EIO=4 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        assert status(await victim.say(request.encode())) == expected
    if victim.is_native:
        journal.expect("INFO Refused GET .*Transport unknown")
    if victim.door == "native":
        journal.expect("INFO A Socket.IO client asked for 'http://other/socket.io/'")


@pytest.mark.hostile("H04")
async def test_fragment_in_the_target(victim: Victim, journal: Journal) -> None:
    assert status(await victim.say(get(f"{POLLING}#x"))) == 400
    if not victim.is_native:
        # The host lets it pass, as a part of the last parameter.
        journal.expect("INFO Refused GET .*Transport unknown")


@pytest.mark.hostile("H37")
@pytest.mark.parametrize("target", [f"/socket.io/?{POLLING}&a=\x01", "/socket.io/?a b", "/\rx: y", "/\x00", "/\x7f", "/é"])
async def test_illegal_target(victim: Victim, target: str) -> None:
    answer = await victim.say((HEAD % ("GET", target)).encode("latin-1") + b"\r\n")

    assert status(answer) == 400
    assert b"x: y" not in answer


@pytest.mark.hostile("H05", "H47")
async def test_protocol_version(victim: Victim, journal: Journal) -> None:
    for version in ["", "&EIO=3", "&EIO=5", "&EIO=", "&EIO=04", "&EIO=4&EIO=3", "&EIO=3&EIO=4", "&EIO=4&EIO=4", "&EIO=%004"]:
        assert_refused(await victim.request("transport=polling" + version), 5)
        assert_refused(await victim.refusal("transport=websocket" + version), 5)
    journal.expect("INFO Refused GET .*Unsupported protocol version")  # once for each address, as such clients try again for ever


@pytest.mark.hostile("H06", "H36")
async def test_unknown_transport(victim: Victim, journal: Journal) -> None:
    for query in [
        "EIO=4",
        "EIO=4&transport=",
        *(f"EIO=4&transport={name}" for name in ("foo", "constructor", "webtransport", "%zz", "%00")),
    ]:
        assert_refused(await victim.request(query), 0)
        assert_refused(await victim.refusal(query), 0)
        journal.expect("INFO Refused GET .*Transport unknown", times=2)


@pytest.mark.hostile("H07", "H13", "H45")
async def test_transport_and_upgrade_disagree(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    assert_refused(await victim.request(WEBSOCKET), 3)
    assert_refused(await victim.request(f"{WEBSOCKET}&sid={session.sid}"), 3)
    assert_refused(await victim.refusal(POLLING), 3)
    assert_refused(await victim.refusal(session.query), 3)

    await session.assert_lives()
    journal.expect("INFO Refused GET ", times=4)


@pytest.mark.hostile("H08")
async def test_handshake_with_another_verb(victim: Victim, journal: Journal) -> None:
    for method in ["POST", "PUT", "HEAD", "OPTIONS", "DELETE", "PATCH", "FOO"]:
        response = await victim.request(POLLING, method=method) if method != "HEAD" else None

        if response is None:
            assert status(await victim.say(get().replace(b"GET", b"HEAD"))) == 400
        else:
            assert_refused(response, 2)
        journal.expect(f"INFO Refused {method} .*Bad handshake method")


@pytest.mark.hostile("H08")
@pytest.mark.parametrize("settings", [{"cors": CORS(origins="http://app.example")}], ids=["cors"])
async def test_preflight(victim: Victim) -> None:
    fields = {"Origin": "http://app.example", "Access-Control-Request-Method": "POST"}
    response = await victim.request(POLLING, method="OPTIONS", headers=fields)

    assert (response.status, response.body) == (204, b"")
    assert response.headers["access-control-allow-origin"] == "http://app.example"


@pytest.mark.hostile("H09", "H10", "H36")
async def test_unknown_session(victim: Victim, journal: Journal) -> None:
    for sid in ["x", "", "__proto__", "constructor", "x" * 8_000, "%ff%fe", "%zz", "%00", "a%0aINFO%20forged", "0" * 20]:
        query = f"&sid={sid}"

        assert_refused(await victim.request(POLLING + query), 1)
        assert_refused(await victim.request(POLLING + query, method="POST", body=NOTE % 1), 1)
        assert_refused(await victim.refusal(WEBSOCKET + query), 1)

        journal.expect("INFO Refused POST .{,60}: session id '[^'\n]{,32}'…$", *["INFO Refused GET .{,60}: session id '[^'\n]{,32}'…$"] * 2)


@pytest.mark.hostile("H11")
async def test_two_session_ids(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    for query in (f"&sid={session.sid}", "&sid=x", "&sid="):
        assert_refused(await victim.request(session.query + query), 3)
        assert_refused(await victim.refusal(f"{WEBSOCKET}&sid={session.sid}{query}"), 3)

    await session.assert_lives()
    journal.expect("INFO Refused GET .*several session ids", times=6)


@pytest.mark.hostile("H12")
async def test_protocol_version_changes(victim: Victim, journal: Journal) -> None:
    for version in ["", "EIO=3", "EIO=5", "EIO=4&EIO=3"]:
        session = await victim.polling()
        query = f"&sid={session.sid}&{version}"

        assert_refused(await victim.request("transport=polling" + query), 3)
        assert_refused(await victim.request("transport=polling" + query, method="POST", body=NOTE % 1), 3)
        assert_refused(await victim.refusal("transport=websocket" + query), 3)

        victim.no_note()
        await session.assert_lives()
        journal.expect("INFO Refused POST .*version", *["INFO Refused GET .*version"] * 2)


@pytest.mark.hostile("H14")
async def test_another_verb_for_a_session(victim: Victim) -> None:
    for method in ["PUT", "DELETE", "PATCH", "OPTIONS", "FOO"]:
        session = await victim.polling()

        response = await victim.request(session.query, method=method, body=NOTE % 1)

        assert response.status == 405
        assert response.headers["allow"] == "GET, POST"
        victim.no_note()
        await session.assert_lives()


@pytest.mark.hostile("H36")
async def test_bad_escapes_where_nobody_looks(victim: Victim) -> None:
    session = await victim.polling()

    response = await victim.request(f"{session.query}&t=%zz&%&a=%00&b=%c0%80&c=%ff", method="POST", body=NOTE % 1)

    assert response.status == 200
    assert await victim.note() == 1


@pytest.mark.hostile("H43")
async def test_jsonp(victim: Victim, journal: Journal) -> None:
    for j in ["0", "", "alert(1)"]:
        assert_refused(await victim.request(f"{POLLING}&j={j}"), 3)
        journal.expect("INFO Refused GET .*JSONP")


@pytest.mark.hostile("H44")
async def test_other_upgrades_are_ignored(victim: Victim) -> None:
    session = await victim.polling()
    fields = {"Connection": "Upgrade, HTTP2-Settings", "Upgrade": "h2c", "HTTP2-Settings": "AAMAAABkAAQAAP__"}

    assert (await session.post(NOTE % 1, fields)).status == 200

    assert await victim.note() == 1


@pytest.mark.hostile("H55")
async def test_session_ids(victim: Victim, journal: Journal) -> None:
    session = await victim.polling()

    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", session.sid)
    assert re.fullmatch(r"[A-Za-z0-9_-]{20}", session.socket_id)
    assert session.sid != session.socket_id
    await session.assert_lives()  # each request on a connection of its own
    await session.send("1")
    assert_refused(await session.get(), 1)
    journal.expect(f"INFO Refused GET .*: session id '{session.sid[:6]}'…$")

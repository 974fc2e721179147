"""Who is let in to the admin page."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
import trio.testing

from tests.admin.opening import AUTH, LOGIN, PASSWORD, Administered, connect, make_server, open_admin, told
from trio_sio import CORS, Config, ConfigurationError, ConnectionRefused, Limits, Recovery, Route, RoutingTable, Server, on_connection
from trio_sio.admin import admin
from trio_sio.admin.attempts import FAILURES, Attempts
from trio_sio.admin.sessions import DURATION, MOST_SESSIONS, Sessions
from trio_sio.testing import LoopbackNetwork, open_test_server


class Controller:
    @on_connection
    def joined(self) -> None: ...


WRONG = {"username": "ada", "password": "wrong"}


async def refusal(administered: Administered, auth: Mapping[str, object] | None, *, address: str = "test") -> str:
    """Return with which words a page is refused."""
    with pytest.raises(ConnectionRefused) as refused:
        async with administered.page(auth, address=address):
            pass
    return refused.value.message


async def session_of(administered: Administered) -> str:
    """Log in, and return the session."""
    async with administered.page() as page:
        (session,) = await page.once("session")
    assert isinstance(session, str)
    return session


async def test_who_knows_the_password_gets_a_session_and_says_no_more_than_that() -> None:
    async with open_admin() as administered:
        session = await session_of(administered)
        assert re.fullmatch("[0-9a-f]{32}", session)
        async with administered.page({"sessionId": session}) as page:
            assert (await page.once("config"))[0]["supportedFeatures"]
            assert "session" not in [event.name for event in page.pending]


async def test_the_session_comes_before_the_rest(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "trio_sio.admin")
    async with open_admin(mode="production") as administered, administered.page() as page:
        assert [(await page.receive()).name for _ in range(2)] == ["session", "config"]
    assert "'ada' has logged in to the admin page from test." in caplog.messages
    assert PASSWORD not in caplog.text


@pytest.mark.parametrize(
    "auth",
    [
        None,
        {},
        WRONG,
        {"username": "grace", "password": PASSWORD},
        {"sessionId": None},
        {"sessionId": ""},
        {"sessionId": "0" * 32},
        {"sessionId": "x" * 60_000},
        {"sessionId": ["a"], "username": {"$ne": 1}, "password": [PASSWORD]},
        {"username": "ada", "password": 5},
        {"username": ["ada"], "password": PASSWORD},
        {"username": "ada", "password": "\ud800"},
        {"username": "ada", "password": "x" * 60_000},
    ],
)
@pytest.mark.hostile("O23")
async def test_who_does_not_is_refused_in_words_that_the_page_knows(
    auth: dict[str, object] | None, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    async with open_admin() as administered:
        assert await refusal(administered, auth) == "invalid credentials"
        assert administered.counts.refused_logins == 1
        assert not administered.server.of("/admin").sockets
    assert not [record for record in caplog.records if record.exc_info or record.levelno > logging.INFO]
    assert all(len(message) < 400 for message in caplog.messages)


@pytest.mark.hostile("O21")
async def test_an_address_has_only_so_many_failed_logins(mock_clock: trio.testing.MockClock) -> None:
    async with open_admin() as administered:
        session = await session_of(administered)
        for _ in range(FAILURES):
            assert await refusal(administered, WRONG, address="192.0.2.1") == "invalid credentials"
        assert (
            await refusal(administered, LOGIN, address="192.0.2.1") == "Too many failed logins from this address; try again in 60 seconds."
        )
        # Neither those elsewhere nor those who have logged in pay for that.
        async with administered.page(LOGIN, address="192.0.2.2"):
            pass
        async with administered.page({"sessionId": session}, address="192.0.2.1"):
            pass
        assert administered.counts.refused_logins == FAILURES + 1
        mock_clock.jump(60)
        async with administered.page(LOGIN, address="192.0.2.1"):
            pass


@pytest.mark.hostile("O21")
async def test_many_guesses_at_once_are_no_way_around_that() -> None:
    async with open_admin() as administered:
        answers: list[str] = []

        async def guess(number: int) -> None:
            answers.append(await refusal(administered, {"username": "ada", "password": str(number)}, address="192.0.2.1"))

        async with trio.open_nursery() as nursery:
            for number in range(3 * FAILURES):
                nursery.start_soon(guess, number)
        assert answers.count("invalid credentials") == FAILURES
        assert sum(answer.startswith("Too many failed logins") for answer in answers) == 2 * FAILURES


async def test_a_page_that_only_opens_fails_no_login() -> None:
    """It asks with nothing, or with no session, and then shows its form."""
    async with open_admin() as administered:
        for _ in range(2 * FAILURES):
            assert await refusal(administered, {"sessionId": None}) == "invalid credentials"
        async with administered.page():
            pass


async def test_a_login_that_succeeds_forgives_the_typing_errors(autojump_clock: trio.testing.MockClock) -> None:
    attempts = Attempts()
    for _ in range(5):
        for _ in range(FAILURES - 1):
            assert attempts.begin("192.0.2.1") == 0
        attempts.succeeded("192.0.2.1")
    assert attempts.begin("192.0.2.1") == 0


@pytest.mark.parametrize("other", ["2001:db8::2", "2001:db8::ffff:1"])
async def test_an_ipv6_network_is_one_address(other: str) -> None:
    attempts = Attempts()
    for _ in range(FAILURES):
        assert attempts.begin("2001:db8::1") == 0
    assert attempts.begin(other) == 60
    assert attempts.begin("2001:db9::1") == 0


@pytest.mark.hostile("O21")
async def test_addresses_are_not_remembered_for_ever(mock_clock: trio.testing.MockClock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trio_sio.admin.attempts._REMEMBERED", 100)
    attempts = Attempts()
    for number in range(300):
        attempts.begin(f"10.0.{number // 250}.{number % 250}")
    assert len(attempts._minutes) == 100
    mock_clock.jump(61)
    attempts.begin("192.0.2.1")
    assert len(attempts._minutes) == 1


# Sessions.


async def test_a_session_ends_after_a_day(mock_clock: trio.testing.MockClock) -> None:
    sessions = Sessions(make_server().of("/admin"))
    session = await sessions.open()
    mock_clock.jump(DURATION - 1)
    assert sessions.knows(session)
    mock_clock.jump(2)
    assert not sessions.knows(session)
    assert not sessions._ends


@pytest.mark.hostile("O22")
async def test_sessions_are_bounded_and_the_newest_stay() -> None:
    sessions = Sessions(make_server().of("/admin"))
    opened = [await sessions.open() for _ in range(MOST_SESSIONS + 5)]
    assert [sessions.knows(session) for session in opened] == [False] * 5 + [True] * MOST_SESSIONS


async def test_what_opens_a_session_is_not_kept() -> None:
    sessions = Sessions(make_server().of("/admin"))
    assert await sessions.open() not in str(sessions._ends)


async def open_two(stack: AsyncExitStack, network: LoopbackNetwork) -> list[Administered]:
    found = [await stack.enter_async_context(open_admin(make_server(cluster=network.cluster()))) for _ in range(2)]
    for administered in found:
        assert administered.server.cluster is not None
        while await administered.server.cluster.server_count() != 2:
            await trio.testing.wait_all_tasks_blocked()
    return found


async def test_a_session_is_one_on_every_server_of_the_cluster() -> None:
    async with AsyncExitStack() as stack:
        one, other = await open_two(stack, LoopbackNetwork())
        session = await session_of(one)
        await trio.testing.wait_all_tasks_blocked()
        async with other.page({"sessionId": session}) as page:
            await page.once("config")
        assert await refusal(other, {"sessionId": session[:-1]}) == "invalid credentials"


async def test_a_server_that_starts_later_asks_the_others() -> None:
    network = LoopbackNetwork()
    async with AsyncExitStack() as stack:
        one = await stack.enter_async_context(open_admin(make_server(cluster=network.cluster())))
        session = await session_of(one)
        later = await stack.enter_async_context(open_admin(make_server(cluster=network.cluster())))
        async with later.page({"sessionId": session}) as page:
            await page.once("config")


@pytest.mark.parametrize("seconds", [-1, 0, float("nan"), float("inf"), 10**9, "60", None, True, [1]])
@pytest.mark.hostile("O24")
async def test_what_another_server_says_of_sessions_is_looked_at(seconds: Any) -> None:
    sessions = Sessions(make_server().of("/admin"))
    sessions._learn("a" * 64, seconds)
    sessions._learn(["a"], 60)
    sessions._learn("", 60)
    sessions._learn("a" * 10_000, 60)
    assert not sessions._ends
    assert sessions._seconds_left(None) == 0
    assert sessions._seconds_left(["a"]) == 0


@pytest.mark.hostile("O24")
async def test_a_server_that_never_answers_is_not_waited_for(autojump_clock: trio.testing.MockClock) -> None:
    """As one of Node's, which has no function for that."""
    network = LoopbackNetwork()
    async with AsyncExitStack() as stack:
        deaf = make_server(cluster=network.cluster())
        await stack.enter_async_context(open_test_server(deaf))
        administered = await stack.enter_async_context(open_admin(make_server(cluster=network.cluster())))
        before = trio.current_time()
        assert await refusal(administered, {"sessionId": "0" * 32}) == "invalid credentials"
        assert trio.current_time() - before < 3


# Without a password.


async def accepts(host: Any, address: str, headers: dict[str, str]) -> bool:
    try:
        async with connect(host, "/admin", {}, address=address, headers=headers) as page:
            await page.once("config")
            return True
    except ConnectionRefused:
        return False


@pytest.mark.parametrize(
    ("address", "headers", "is_let_in"),
    [
        ("127.0.0.1", {"Host": "localhost:3000"}, True),
        ("127.0.0.1", {"Host": "127.0.0.1"}, True),
        ("::1", {"Host": "[::1]:3000"}, True),
        ("192.0.2.1", {"Host": "localhost"}, False),
        ("test", {"Host": "localhost"}, False),
        # A page whose own name points to this machine (DNS rebinding).
        ("127.0.0.1", {"Host": "rebound.example:3000"}, False),
        # A proxy on this machine, which everybody reaches.
        ("127.0.0.1", {"Host": "localhost", "X-Forwarded-For": "192.0.2.1"}, False),
        ("127.0.0.1", {"Host": "localhost", "Forwarded": "for=127.0.0.1"}, False),
        ("127.0.0.1", {"Host": "localhost", "X-Real-IP": "127.0.0.1"}, False),
        ("127.0.0.1", {"Host": "localhost", "Via": "1.1 proxy"}, False),
        ("127.0.0.1", {"Host": "localhost", "X-Forwarded-Proto": "https"}, False),
        ("127.0.0.1", {"Host": "localhost", "X-Forwarded-Host": "chat.example"}, False),
    ],
)
@pytest.mark.hostile("O25")
async def test_without_a_password_it_is_for_this_machine(address: str, headers: dict[str, str], is_let_in: bool) -> None:
    async with open_admin(auth=None) as administered:
        assert await accepts(administered.host, address, headers) is is_let_in
        assert administered.counts.refused_logins == (0 if is_let_in else 1)


OFFICIAL = "https://admin.socket.io"
ANY = "https://any.example"


@pytest.mark.parametrize(
    ("origins", "origin", "is_let_in"),
    [
        (OFFICIAL, OFFICIAL, True),
        ([ANY, OFFICIAL], OFFICIAL, True),
        (OFFICIAL, "http://localhost:3000", True),
        ("*", "http://localhost:5173", True),
        # Whatever page this machine's browser has open may talk to the server then; to look after it is another matter.
        ("*", ANY, False),
        ("*", OFFICIAL, False),
        ("*", "null", False),
        (re.compile(".*"), ANY, False),
        (lambda origin: True, ANY, False),
        (["null"], "null", False),
    ],
)
@pytest.mark.hostile("O25")
async def test_without_a_password_no_page_on_the_web_comes_in_through_the_browser_of_this_machine(
    origins: Any, origin: str, is_let_in: bool
) -> None:
    async with open_admin(make_server(Config(cors=CORS(origins=origins))), auth=None) as administered:
        assert await accepts(administered.host, "127.0.0.1", {"Host": "localhost:3000", "Origin": origin}) is is_let_in
        async with connect(administered.host, "/", None, address="127.0.0.1", headers={"Host": "localhost:3000", "Origin": origin}):
            pass  # it is no stranger to the application


# How it stands beside the application.


async def test_middleware_of_the_application_is_not_for_the_page() -> None:
    async def refuse(ctx: Any, call_next: Any) -> object:
        raise ConnectionRefused("nobody")

    server = Server(RoutingTable(Route("/", Controller), connection_middleware=[refuse], message_middleware=[refuse]))
    async with open_admin(server) as administered, administered.page() as page:
        await page.once("config")
        with pytest.raises(ConnectionRefused, match="nobody"):
            async with administered.client():
                pass
    assert "/admin" not in server.routes.describe()


async def test_the_namespace_is_not_shared_with_the_application() -> None:
    server = make_server()
    server.of("/admin").on("mine", lambda socket: None)
    admin(server, auth=AUTH)
    with pytest.RaisesGroup(
        pytest.RaisesExc(ConfigurationError, match="both the admin page and handlers of yours"), flatten_subgroups=True
    ):
        async with server:
            await trio.sleep_forever()


def test_nor_with_its_routes() -> None:
    with pytest.raises(ConfigurationError, match="both the admin page and handlers of yours"):
        admin(Server(RoutingTable(Route("/admin", Controller))), auth=AUTH)


def test_twice_is_once_too_often() -> None:
    server = make_server()
    admin(server, auth=AUTH)
    with pytest.raises(ConfigurationError, match="call admin\\(\\) once"):
        admin(server, auth=AUTH)


async def test_it_is_there_before_the_server_starts() -> None:
    server = make_server()
    async with server:
        with pytest.raises(RuntimeError, match="before"):
            admin(server, auth=AUTH)


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        ({"auth": False}, "auth=None for this machine only"),
        ({"auth": ("ada", "x")}, "BasicAuth"),
        ({"auth": AUTH, "readonly": "yes"}, "readonly='yes'"),
        ({"auth": AUTH, "mode": "debug"}, "mode='debug'"),
    ],
)
def test_misuse_is_a_sentence(arguments: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(why)):
        admin(make_server(), **arguments)


async def test_off_by_default() -> None:
    async with open_test_server(make_server()) as host:
        with pytest.raises(ConnectionRefused, match="Invalid namespace"):
            async with connect(host, "/admin", LOGIN):
                pass


@pytest.mark.parametrize("recovery", [None, Recovery()])
async def test_the_session_arrives_where_clients_may_come_back(recovery: Recovery | None) -> None:
    """With Node's connection state recovery it is lost."""
    server = make_server(Config(connection_state_recovery=recovery, limits=Limits()))
    async with open_admin(server) as administered, administered.page() as page:
        await told(page, "session")

"""One user with a password: what is a hash, who matches, and what it costs."""

from __future__ import annotations

import sys
import threading

import bcrypt
import pytest
import trio
import trio.testing

from tests.admin.opening import AUTH, PASSWORD
from trio_sio import ConfigurationError, ConnectionRefused
from trio_sio.admin import BasicAuth
from trio_sio.admin.basic_auth import MOST_WAITING, Passwords

HASH = AUTH.password


@pytest.mark.parametrize(
    "password",
    ["", "secret", HASH[:-1], HASH + "=", HASH.replace("$2b$", "$1$"), "$2b$99$" + HASH[7:], "$2b$17$" + HASH[7:], None, b"x"],
)
def test_what_is_no_hash_is_refused_with_a_sentence(password: str) -> None:
    with pytest.raises(ConfigurationError, match="bcrypt hash") as refused:
        BasicAuth("ada", password)
    assert not password or str(password) not in str(refused.value)


@pytest.mark.parametrize("username", ["", None, 5])
def test_nobody_is_no_user(username: str) -> None:
    with pytest.raises(ConfigurationError, match="names nobody"):
        BasicAuth(username, HASH)


def test_the_hash_is_not_shown() -> None:
    assert HASH not in repr(AUTH)


def test_without_bcrypt_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "bcrypt", None)
    with pytest.raises(ConfigurationError, match=r"trio-sio\[admin\]"):
        BasicAuth("ada", HASH)


@pytest.mark.parametrize("prefix", ["$2a$", "$2b$", "$2y$"])
def test_hashes_of_htpasswd_and_node_are_hashes(prefix: str) -> None:
    assert BasicAuth("ada", HASH.replace("$2b$", prefix)).matches("ada", PASSWORD)


@pytest.mark.parametrize(
    ("username", "password"),
    [
        ("ada", "wrong"),
        ("grace", PASSWORD),
        ("grace", "wrong"),
        ("", ""),
        ("ada", ""),
        ("ada", "\0"),
        ("\ud800", "\ud800"),
        ("ada", "x" * 65_000),
    ],
)
@pytest.mark.hostile("O21")
def test_who_is_wrong_does_not_match(username: str, password: str) -> None:
    assert not AUTH.matches(username, password)


def test_of_a_long_password_as_much_counts_as_in_node() -> None:
    long = "ä" * 100
    auth = BasicAuth("ada", bcrypt.hashpw(long.encode()[:72], bcrypt.gensalt(4)).decode())
    assert auth.matches("ada", long)
    assert auth.matches("ada", "ä" * 36 + "b")
    assert not auth.matches("ada", "ä" * 35)


@pytest.mark.hostile("O21")
def test_an_unknown_user_takes_as_long_as_a_wrong_password(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = list[bytes]()
    check = bcrypt.checkpw

    def count(given: bytes, hashed: bytes) -> bool:
        checked.append(given)
        return check(given, hashed)

    monkeypatch.setattr(bcrypt, "checkpw", count)
    assert not AUTH.matches("nobody", "wrong")
    assert not AUTH.matches("ada", "wrong")
    assert not AUTH.matches("nobody", PASSWORD)
    assert len(checked) == 3


class Slow(BasicAuth):
    """Takes its time, as a hash of a high cost does."""

    def matches(self, username: str, password: str) -> bool:
        _running.append(threading.get_ident())
        _started.set()
        _go_on.wait(30)
        return False


_running: list[int] = []
_started = threading.Event()
_go_on = threading.Event()


@pytest.mark.hostile("O22")
async def test_a_bomb_of_logins_takes_one_thread_and_a_short_queue() -> None:
    _running.clear()
    _started.clear()
    _go_on.clear()
    passwords = Passwords(Slow("ada", HASH))
    refused = 0
    try:
        async with trio.open_nursery() as nursery:
            for _ in range(MOST_WAITING):
                nursery.start_soon(passwords.match, "ada", "x")
            await trio.testing.wait_all_tasks_blocked()
            for _ in range(100):
                with pytest.raises(ConnectionRefused, match="Too many logins"):
                    await passwords.match("ada", "x")
                refused += 1
            assert await trio.to_thread.run_sync(_started.wait, 10)
            assert len(_running) == 1
            # Who goes makes room at once; the thread keeps its place until it is through.
            nursery.cancel_scope.cancel()
        with trio.move_on_after(0.01):
            await passwords.match("ada", "x")
        assert len(_running) == 1
    finally:
        _go_on.set()
    with trio.fail_after(10):
        assert await passwords.match("ada", "x") is False
    assert refused == 100

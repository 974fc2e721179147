"""Where a Redis is."""

from __future__ import annotations

import ssl

import pytest

from trio_sio.cluster.redis.address import RedisAddress
from trio_sio.errors import ConfigurationError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("redis://host", RedisAddress(host="host")),
        ("redis://host:1/2", RedisAddress(host="host", port=1)),
        ("redis://", RedisAddress(host="localhost")),
        ("redis://:a%40b@host", RedisAddress(host="host", password="a@b")),
        ("redis://user:secret@[::1]:7", RedisAddress(host="::1", port=7, username="user", password="secret")),
        ("unix:///run/redis.sock", RedisAddress(path="/run/redis.sock")),
        ("unix://:secret@/run/redis.sock?db=1", RedisAddress(path="/run/redis.sock", password="secret")),
    ],
)
def test_a_url_says_where(url: str, address: RedisAddress) -> None:
    assert RedisAddress.parse(url) == address


def test_tls_is_pythons_unless_it_is_given() -> None:
    context = ssl.create_default_context()
    assert RedisAddress.parse("rediss://host", context).tls is context
    default = RedisAddress.parse("rediss://host").tls
    assert default is not None
    assert default.verify_mode is ssl.CERT_REQUIRED
    assert RedisAddress.parse("redis://host", context).tls is None


@pytest.mark.parametrize(
    "url", ["", "host", "localhost:6379", "http://host", "redis+sentinel://host", "unix://", "redis://host:port", "redis://[::1"]
)
def test_another_url_is_refused_with_a_sentence(url: str) -> None:
    with pytest.raises(ConfigurationError, match="redis://host:6379"):
        RedisAddress.parse(url)


def test_a_password_is_in_no_text() -> None:
    address = RedisAddress.parse("redis://user:secret@host:1")
    assert "secret" not in repr(address) + str(address)
    assert str(address) == "host:1"

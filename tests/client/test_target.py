"""Where a client connects to: what is said in a URL, what is refused, and which cookies come back."""

from __future__ import annotations

import ssl
from typing import Any

import pytest
import trio
import trio.testing

from trio_sio import Server
from trio_sio.client.target import Target
from trio_sio.errors import ConfigurationError, ConnectFailed


@pytest.mark.parametrize(
    ("url", "host", "secure"),
    [
        ("http://localhost", "localhost", False),
        ("http://localhost:80/", "localhost", False),
        ("ws://localhost:3000", "localhost:3000", False),
        ("https://chat.example", "chat.example", True),
        ("wss://chat.example:443", "chat.example", True),
        ("https://chat.example:80", "chat.example:80", True),
        ("http://[::1]:3000", "[::1]:3000", False),
        ("HTTPS://Chat.Example", "chat.example", True),
    ],
)
def test_urls(url: str, host: str, secure: bool) -> None:
    target = Target(url)
    assert (target.host, target.secure) == (host, secure)
    assert target.headers() == [("Host", host)]
    assert target.resource("polling") == "/socket.io/?EIO=4&transport=polling"


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("localhost:3000", 'write it as in "https://chat.example"'),
        ("//localhost", 'write it as in "https://chat.example"'),
        ("http://", 'write it as in "https://chat.example"'),
        ("ftp://localhost", 'write it as in "https://chat.example"'),
        ("http://localhost:99999", "is not valid"),
        ("http://[::1", "is not valid"),
        ("http://localhost/chat", "namespace= .* path="),
        ("http://me:secret@localhost", "headers= or auth="),
        ("http://b\xfccher.example", "begins with xn--"),
        ("http://a b", "is no host name"),
        ("http://a..b", "1 to 63 characters between two dots"),
        ("http://.example", "1 to 63 characters between two dots"),
        (f"http://{'a' * 64}.example", "1 to 63 characters between two dots"),
    ],
)
def test_urls_that_are_refused(url: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message) as caught:
        Target(url)
    assert "secret" not in str(caught.value)


def test_a_query_value_may_be_blank() -> None:
    assert Target("http://localhost?token=&room=1").resource("polling") == "/socket.io/?token=&room=1&EIO=4&transport=polling"


def test_path_and_query() -> None:
    target = Target("http://localhost?room=1&token=a%26b", path="/api/io/", query={"room": "2", "name": "x y"})
    assert target.resource("websocket", sid="s+/") == "/api/io/?room=2&token=a%26b&name=x+y&EIO=4&transport=websocket&sid=s%2B%2F"


@pytest.mark.parametrize(
    "path", ["", "socket.io", "/socket.io?x=1", "/socket.io#top", "/socket io", "/socket.io/\n", "/\xfc", "http://localhost"]
)
def test_paths_that_are_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^path is .*; write an absolute path without a query") as caught:
        Target("http://localhost", path=path)
    assert repr(path) in str(caught.value)


@pytest.mark.parametrize("path", ["/", "/socket.io", "/socket.io/", "/a%20b/~c"])
def test_paths_end_with_one_slash(path: str) -> None:
    assert Target("http://localhost", path=path).resource("polling").startswith(f"{path.rstrip('/')}/?EIO=4")


@pytest.mark.parametrize("name", ["EIO", "transport", "sid", "t"])
def test_query_parameters_of_the_protocol_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match=f"'{name}' belongs to Engine.IO"):
        Target("http://localhost", query={name: "x"})


@pytest.mark.parametrize("name", ["Host", "connection", "Upgrade", "Content-Length", "Sec-WebSocket-Key", "Cookie"])
def test_headers_of_the_transports_are_refused(name: str) -> None:
    with pytest.raises(ConfigurationError):
        Target("http://localhost", headers={name: "x"})


@pytest.mark.parametrize(("name", "value"), [("X", "a\r\nY: b"), ("X Y", "a"), ("X", "a\0"), ("", "a")])
def test_headers_that_would_break_the_request_are_refused(name: str, value: str) -> None:
    with pytest.raises(ConfigurationError, match="No valid request"):
        Target("http://localhost", headers={name: value})
    with pytest.raises(ConfigurationError, match="No valid request"):
        Target("http://localhost", cookies={"a": "b\r\nX: y"})


def test_an_ssl_context_needs_a_url_that_wants_it() -> None:
    with pytest.raises(ConfigurationError, match="https://"):
        Target("http://localhost", ssl_context=ssl.create_default_context())


def test_cookies_that_the_server_sets_are_sent_back() -> None:
    target = Target("http://localhost", cookies={"own": "1"})
    target.keep_cookies(["io=abc; Path=/; HttpOnly; SameSite=Lax", 'quoted="x y"; Secure'])
    assert ("Cookie", 'own=1; io=abc; quoted="x y"') in target.headers()
    target.keep_cookies(["io=def", "own=2; Partitioned"])
    assert target.cookies == {"quoted": '"x y"', "io": "def", "own": "2"}


@pytest.mark.parametrize(
    "field",
    [
        "",
        ";",
        "=x",
        "novalue",
        "a=" + "x" * 5_000,
        "b\xfc=1",
        "a,b=c",
        "\0=\0",
        "a=b\r\nX: y",
        'a="\xe9"',
        'a="\udcc3"',
        'a="\x7f"',
        'a="\t"',
    ],
)
def test_cookies_that_are_none_do_no_harm(field: str) -> None:
    target = Target("http://localhost")
    target.keep_cookies([field])
    target._check()
    assert sum(map(len, target.cookies.values())) < 100


def test_the_oldest_of_too_many_cookies_go() -> None:
    target = Target("http://localhost")
    for number in range(1_000):
        target.keep_cookies([f"c{number}={number}"])
    assert list(target.cookies) == [f"c{number}" for number in range(950, 1_000)]


async def test_an_object_connects_by_itself() -> None:
    ours, theirs = trio.testing.memory_stream_pair()

    class Server:
        async def connect_stream(self) -> trio.abc.Stream:
            return ours

    target = Target(Server())
    assert (target.host, target.description) == ("localhost", "Server")
    assert await target.connect_stream() is ours
    await trio.aclose_forcefully(theirs)


@pytest.mark.parametrize("error", [OSError("no route"), trio.BrokenResourceError("gone"), trio.ClosedResourceError("closed")])
async def test_an_object_that_cannot_connect(error: Exception) -> None:
    class Server:
        async def connect_stream(self) -> trio.abc.Stream:
            raise error

    with pytest.raises(ConnectFailed, match="No connection to Server") as caught:
        await Target(Server()).connect_stream()
    assert caught.value.retryable


def test_a_server_has_no_address() -> None:
    server: Any = Server()
    with pytest.raises(ConfigurationError, match="open_test_server"):
        Target(server)

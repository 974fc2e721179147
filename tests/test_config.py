"""Every value that cannot be right is refused when it is written, in a sentence that says what to write instead."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from trio_sio import CORS, Compression, Config, ConfigurationError, Cookie, Limits, PerMessageDeflate, Recovery
from trio_sio.config import generate_id

MakeAny = Callable[..., Any]


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (
            Config,
            {"path": "socket.io"},
            "Config.path is 'socket.io'; write an absolute path without a trailing slash, such as \"/socket.io\".",
        ),
        (Config, {"path": "/socket.io/"}, "Config.path is '/socket.io/'; write an absolute path without a trailing slash"),
        (Config, {"path": ""}, "Config.path is ''"),
        (Config, {"path": "//"}, "Config.path is '//'"),
        (Config, {"path": "/a b"}, "Config.path is '/a b'"),
        (Config, {"path": "/a?b"}, "Config.path is '/a?b'"),
        (Config, {"transports": ()}, 'Config.transports is (); choose from ("polling", "websocket").'),
        (Config, {"transports": ("webtransport",)}, "Config.transports is ('webtransport',); choose from"),
        (Config, {"parser": "xml"}, 'Config.parser is \'xml\'; choose "json" or "msgpack".'),
        (Config, {"slow_consumer": "wait"}, 'Config.slow_consumer is \'wait\'; choose "disconnect" or "drop".'),
        (Config, {"max_http_buffer_size": 0}, "Config.max_http_buffer_size is 0; it must be an integer of at least 1."),
        (Config, {"max_http_buffer_size": 1.5}, "Config.max_http_buffer_size is 1.5; it must be an integer of at least 1."),
        (Config, {"ping_interval": -1}, "Config.ping_interval is -1; it must be a number of at least 0."),
        (Config, {"ping_timeout": math.nan}, "Config.ping_timeout is nan; it must be a number of at least 0."),
        (Config, {"ping_timeout": "20"}, "Config.ping_timeout is '20'; it must be a number of at least 0."),
        (Config, {"close_timeout": True}, "Config.close_timeout is True; it must be a number of at least 0."),
        (Config, {"drain_timeout": None}, "Config.drain_timeout is None; it must be a number of at least 0."),
        (Config, {"connection_state_recovery": True}, "Config.connection_state_recovery is True; it must be a Recovery or None."),
        (Recovery, {"max_disconnection": -1}, "Recovery.max_disconnection is -1; it must be a number of at least 0."),
        (Recovery, {"packets": 0}, "Recovery.packets is 0; it must be an integer of at least 1."),
        (Recovery, {"bytes": 0.5}, "Recovery.bytes is 0.5; it must be an integer of at least 1."),
        (Recovery, {"sessions": None}, "Recovery.sessions is None; it must be an integer of at least 1."),
        (
            Config,
            {"per_message_deflate": {"threshold": 0}},
            "Config.per_message_deflate is {'threshold': 0}; it must be True, False or a PerMessageDeflate.",
        ),
        (PerMessageDeflate, {"threshold": -1}, "PerMessageDeflate.threshold is -1; it must be an integer of at least 0."),
        (PerMessageDeflate, {"treshold": 1}, "PerMessageDeflate has no field 'treshold'; did you mean 'threshold'?"),
        (Limits, {"connections": 0}, "Limits.connections is 0; it must be an integer of at least 1."),
        (Limits, {"attachments": None}, "Limits.attachments is None; it must be an integer of at least 1."),
        (Limits, {"outbox_bytes": math.inf}, "Limits.outbox_bytes is inf; it must be an integer of at least 1."),
        (Limits, {"outbox_age": 0}, "Limits.outbox_age is 0; it must be a number of at least 1."),
        (
            CORS,
            {"origins": "*", "credentials": True},
            'CORS(origins="*", credentials=True) would let every page on the web act as the logged-in user; list the origins that may',
        ),
        (
            CORS,
            {"origins": "app.example"},
            "CORS origin 'app.example' is not an origin; write scheme, host and port only, as in \"https://app.example\" or",
        ),
        (CORS, {"origins": ["https://a.example", "https://b.example/"]}, "CORS origin 'https://b.example/' is not an origin"),
        (CORS, {"origins": ["https://a.example/path"]}, "CORS origin 'https://a.example/path' is not an origin"),
        (
            CORS,
            {"origins": ["https://*.a.example"]},
            "CORS origin 'https://*.a.example' has a wildcard, which means nothing here; give a pattern",
        ),
        (CORS, {"origins": ["https://a.example:443"]}, "'https://a.example:443' is not as browsers send it; write 'https://a.example'."),
        (CORS, {"origins": "http://a.example:80"}, "'http://a.example:80' is not as browsers send it; write 'http://a.example'."),
        (CORS, {"origins": "https://A.example:8443"}, "is not as browsers send it; write 'https://a.example:8443'."),
        (CORS, {"origins": "HTTPS://a.example"}, "is not as browsers send it; write 'https://a.example'."),
        (CORS, {"origins": "Capacitor://localhost"}, "is not as it is sent; write 'capacitor://localhost'."),
        (CORS, {"origins": "wss://a.example:1"}, "is a WebSocket's, but browsers send the page's; write 'https://a.example:1'."),
        (CORS, {"origins": [" https://a.example"]}, "' https://a.example' has blanks around it; write 'https://a.example'."),
        (CORS, {"origins": "https://a.example, https://b.example"}, "is not an origin"),
        (CORS, {"origins": "https://user:secret@a.example"}, "has a user name, which browsers leave out; write 'https://a.example'."),
        (CORS, {"origins": "https://a.example:0"}, "has the port '0', which there is not; write a number from 1 to 65535, or no colon."),
        (CORS, {"origins": "https://a.example:65536"}, "has the port '65536', which there is not"),
        (CORS, {"origins": "https://a.example:08443"}, "has the port '08443', which there is not"),
        (CORS, {"origins": "https://a.example:"}, "has the port '', which there is not"),
        (CORS, {"origins": "https://a.example:x"}, "has the port 'x', which there is not"),
        (
            CORS,
            {"origins": "http://2001:db8::1"},
            'has more than one colon; an address of version 6 stands in brackets, as in "[::1]:3000".',
        ),
        (CORS, {"origins": "http://[2001:DB8:0::1]"}, "is not as browsers send it; write 'http://[2001:db8::1]'."),
        (CORS, {"origins": "http://[::ffff:192.0.2.1]"}, "is not as browsers send it; write 'http://[::ffff:c000:201]'."),
        (CORS, {"origins": "http://[a.example]"}, "has no address that a browser would send in this form"),
        (CORS, {"origins": "http://[::1"}, "has no host that a browser could ask for."),
        (CORS, {"origins": "http://127.1"}, "has no address that a browser would send in this form"),
        (CORS, {"origins": "http://0x7f000001"}, "has no address that a browser would send in this form"),
        (CORS, {"origins": "https://m\xfcnchen.example"}, 'has letters beyond ASCII, which browsers send as "xn--..."'),
        (CORS, {"origins": "https://"}, "has no host that a browser could ask for."),
        (CORS, {"origins": "https://a%2eb"}, "has no host that a browser could ask for."),
        (CORS, {"origins": "NULL"}, "CORS origin 'NULL' is not an origin"),
        (CORS, {"origins": "file:///"}, "CORS origin 'file:///' is not an origin"),
        (CORS, {"origins": ""}, "CORS origin '' is not an origin"),
        (CORS, {"origins": [re.compile("x")]}, "is a pattern, which stands alone: CORS(origins=pattern), without a list around it."),
        (CORS, {"origins": [len]}, "is a function, which stands alone: CORS(origins=function), without a list around it."),
        (CORS, {"origins": [b"https://a.example"]}, "CORS origin b'https://a.example' is not text"),
        (CORS, {"origins": b"https://a.example"}, "CORS.origins is b'https://a.example'; write \"*\", an origin such as"),
        (CORS, {"origins": None}, 'CORS.origins is None; write "*", an origin such as'),
        (CORS, {"origins": re.compile(b".*")}, "CORS.origins is re.compile(b'.*'), a pattern of bytes; compile one of text."),
        (CORS, {"origins": "*", "methods": "GET"}, "CORS.methods is 'GET'; write a list of names, such as [\"GET\"]."),
        (CORS, {"origins": "*", "methods": ["GET\r\nX: 1"]}, "CORS.methods is ['GET\\r\\nX: 1']; write a list of names"),
        (CORS, {"origins": "*", "headers": "X-Token"}, "CORS.headers is 'X-Token'; write a list of names, such as [\"X-Token\"]."),
        (CORS, {"origins": "*", "credentials": "no"}, "CORS.credentials is 'no'; it must be True or False."),
        (CORS, {"origins": "*", "max_age": -1}, "CORS.max_age is -1; it must be a number of at least 0."),
        (CORS, {"origins": "*", "max_age": math.inf}, "CORS.max_age is inf; browsers want a number"),
        (Config, {"cors": "*"}, "Config.cors is '*'; it must be a CORS, such as CORS(origins="),
        (Config, {"allow_loopback_origins": "false"}, "Config.allow_loopback_origins is 'false'; it must be True or False."),
        (Config, {"generate_id": None}, "Config.generate_id is None; it must be a function."),
        (Config, {"allow_request": True}, "Config.allow_request is True; it must be a function or None."),
        (
            Config,
            {"allowed_hosts": "a.example"},
            "Config.allowed_hosts is 'a.example'; write a list of host names, such as [\"app.example\"], or None.",
        ),
        (Config, {"allowed_hosts": []}, "Config.allowed_hosts is []; write a list of host names"),
        (
            Config,
            {"allowed_hosts": ["*"]},
            "Config.allowed_hosts has '*', which has a wildcard; list every name, or leave Config.allowed_hosts out",
        ),
        (Config, {"allowed_hosts": ["http://a.example"]}, "which is not a host; write name and port only"),
        (Config, {"allowed_hosts": ["a.example/"]}, "which is not a host; write name and port only"),
        (Config, {"allowed_hosts": [""]}, "Config.allowed_hosts has '', which is not a host"),
        (Config, {"allowed_hosts": ["a.example "]}, "which has blanks around it; write 'a.example'."),
        (Config, {"allowed_hosts": ["::1"]}, "which has more than one colon; an address of version 6 stands in brackets"),
        (Config, {"allowed_hosts": ["[0::1]:3"]}, "which is not as browsers send it; write '[::1]:3'."),
        (Config, {"allowed_hosts": ["a.example:0"]}, "which has the port '0', which there is not"),
        (Config, {"allowed_hosts": [b"a.example"]}, "Config.allowed_hosts has b'a.example', which is not text"),
    ],
)
@pytest.mark.hostile("R23")
def test_what_cannot_be_right_is_refused(make: MakeAny, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make(**options)


@pytest.mark.parametrize(
    "origins",
    [
        "*",
        ["*"],
        ("https://a.example", "*"),
        {"*"},
        frozenset({"*"}),
        iter(["*"]),
        re.compile(".*"),
        re.compile("https?://.+"),
        re.compile(r"https://[^/]+", re.IGNORECASE),
        re.compile(r"https://\w+\.\w+"),
        re.compile(r"https://app\.example|null"),
        "null",
        ["https://a.example", "null"],
    ],
    ids=lambda origins: type(origins).__name__ if isinstance(origins, Iterator) else repr(origins),
)
def test_nobody_gets_credentials_from_every_page_however_it_is_spelled(origins: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"CORS\(origins=.*, credentials=True\) would let every page on the web act as"):
        CORS(origins=origins, credentials=True)


@pytest.mark.parametrize(
    "origins",
    ["file://", ["https://a.example"], re.compile(r"https://([a-z0-9-]+\.)?app\.example"), lambda origin: True],
    ids=["file", "list", "pattern", "function"],
)
def test_pages_that_one_has_named_may_send_credentials(origins: Any) -> None:
    assert CORS(origins=origins, credentials=True).credentials


PAGE = "https://app.example"
# What differs from PAGE, or from what a page could be, by one thing each.
STRANGERS = [
    "",
    "null",
    "file://",
    "https://",
    "http://app.example",
    "https://app.example.evil.example",
    "https://evil-app.example",
    "https://app.examplf",
    "https://app.example:8443",
    "https://app.example:443",
    "https://app.example/",
    "https://app.example\n",
    " https://app.example",
    "HTTPS://APP.EXAMPLE",
    "app.example",
    "https://app.example, https://app.example",
    "*",
]

ORIGINS: dict[str, Any] = {
    "one": PAGE,
    "a list": ["https://other.example", PAGE],
    "a tuple": (PAGE,),
    "a set": {PAGE},
    "a generator": (origin for origin in (PAGE,)),
    "a pattern": re.compile(r"https://app\.example"),
    "a pattern that matches the beginning": re.compile(r"https://app\.exampl|https://app\.example"),
    "a function": lambda origin: origin == PAGE,
}


@pytest.mark.parametrize("origins", ORIGINS.values(), ids=ORIGINS)
def test_the_page_that_is_listed_is_let_in_and_what_is_nearly_it_is_not(origins: Any) -> None:
    cors = CORS(origins=origins)
    assert cors.allows(PAGE)
    # Twice, as what was given may be used up by the first.
    for _ in range(2):
        assert [stranger for stranger in STRANGERS if cors.allows(stranger)] == []
    assert cors.allows(PAGE)


@pytest.mark.parametrize("origins", ["*", ["*"], ["https://other.example", "*"]])
def test_a_star_lets_every_page_in(origins: Any) -> None:
    cors = CORS(origins=origins)
    assert all(map(cors.allows, [PAGE, *STRANGERS]))


def test_none_of_no_origins_is_let_in() -> None:
    cors = CORS(origins=[])
    assert not any(map(cors.allows, [PAGE, *STRANGERS]))


@pytest.mark.parametrize("origin", ["null", "file://"])
def test_what_devices_send_is_let_in_where_it_is_listed(origin: str) -> None:
    for cors in (CORS(origins=origin), CORS(origins=[origin])):
        assert [other for other in (PAGE, *STRANGERS) if cors.allows(other)] == [origin]


@pytest.mark.parametrize(
    ("answer", "message"),
    [(1, "returned 1,"), ("yes", "returned 'yes',"), ([PAGE], "returned ['https://app.example'],"), (None, None), (False, None), (0, None)],
)
def test_only_true_is_a_yes_of_a_function(answer: Any, message: str | None, caplog: pytest.LogCaptureFixture) -> None:
    assert not CORS(origins=lambda origin: answer).allows(PAGE)
    assert [record.getMessage() for record in caplog.records] == (
        [] if message is None else [f"The function of CORS.origins {message} which counts as no: only True is yes."]
    )


def test_what_is_to_be_awaited_is_no_yes(caplog: pytest.LogCaptureFixture) -> None:
    async def decide() -> bool:
        return True

    def origins(origin: str) -> Any:
        return decide()

    assert not CORS(origins=origins).allows(PAGE)
    assert [record.getMessage() for record in caplog.records] == [
        "The function of CORS.origins returned something that is still to be awaited, which is no answer, so it counts as no."
    ]


def test_what_a_function_raises_is_left_to_whoever_asks() -> None:
    def origins(origin: str) -> bool:
        raise LookupError(origin)

    with pytest.raises(LookupError, match=PAGE):
        CORS(origins=origins).allows(PAGE)


def test_a_list_that_changes_later_changes_nothing() -> None:
    origins = ["https://a.example"]
    cors = CORS(origins=origins, credentials=True)
    origins.append("*")
    assert not cors.allows("https://b.example")
    assert dataclasses.replace(cors, max_age=5).allows("https://a.example")


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Config) if field.name.endswith(("_timeout", "_interval"))])
def test_every_time_may_be_nothing_or_infinite_and_no_less_than_nothing(name: str) -> None:
    make: MakeAny = Config
    assert getattr(make(**{name: 0}), name) == 0
    assert getattr(make(**{name: math.inf}), name) == math.inf
    with pytest.raises(ConfigurationError, match=f"Config.{name} is -0.1; it must be a number of at least 0"):
        make(**{name: -0.1})


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(Limits)])
def test_every_limit_lets_at_least_one_pass(name: str) -> None:
    make: MakeAny = Limits
    assert getattr(make(**{name: 1}), name) == 1
    with pytest.raises(ConfigurationError, match=f"Limits.{name} is 0; it must be an? "):
        make(**{name: 0})


@pytest.mark.parametrize(
    ("make", "name", "message"),
    [
        (Config, "ping_intervall", "Config has no field 'ping_intervall'; did you mean 'ping_interval'?"),
        (Config, "pingTimeout", "Config has no field 'pingTimeout'; did you mean 'ping_timeout'?"),
        (Config, "maxHttpBufferSize", "Config has no field 'maxHttpBufferSize'; did you mean 'max_http_buffer_size'?"),
        (Limits, "outbox_packet", "Limits has no field 'outbox_packet'; did you mean 'outbox_packets'?"),
        (CORS, "origin", "CORS has no field 'origin'; did you mean 'origins'?"),
        (CORS, "xyz", "CORS has no field 'xyz'; it has origins, methods, headers, credentials, max_age."),
    ],
)
def test_an_unknown_name_is_answered_with_the_nearest(make: MakeAny, name: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=f"^{re.escape(message)}$"):
        make(**{name: 1})


def test_a_changed_copy_is_checked_like_the_original() -> None:
    change: MakeAny = dataclasses.replace
    assert change(Config(), ping_interval=3).ping_interval == 3
    with pytest.raises(ConfigurationError, match="did you mean 'ping_interval'"):
        change(Config(), ping_intervall=3)


@pytest.mark.parametrize("make", [Config, Limits, CORS, Cookie, Compression])
def test_fields_are_given_by_name(make: MakeAny) -> None:
    with pytest.raises(TypeError, match="positional"):
        make("/socket.io")
    assert {parameter.kind.name for parameter in inspect.signature(make).parameters.values()} == {"KEYWORD_ONLY"}


def test_a_configuration_does_not_change() -> None:
    config = Config()
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.path = "/other"  # type: ignore[misc]
    with pytest.raises(dataclasses.FrozenInstanceError):
        config.limits.headers = 1  # type: ignore[misc]


@pytest.mark.parametrize("path", ["/socket.io", "/a", "/a/b_c/d-e.f~g", "/"])
def test_paths_that_are_right(path: str) -> None:
    assert Config(path=path).path == path


@pytest.mark.parametrize(
    ("config", "upgrades"),
    [
        (Config(), ("websocket",)),
        (Config(allow_upgrades=False), ()),
        (Config(transports=("polling",)), ()),
        (Config(transports=("websocket",)), ("websocket",)),
    ],
)
def test_what_a_polling_session_may_move_to(config: Config, upgrades: tuple[str, ...]) -> None:
    assert config.upgrades == upgrades


def test_ids_are_long_random_and_fit_a_url() -> None:
    ids = {generate_id() for _ in range(1_000)}

    assert len(ids) == 1_000
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{20}", one) for one in ids)

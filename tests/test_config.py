"""Every value that cannot be right is refused when it is written, in a sentence that says what to write instead."""

from __future__ import annotations

import dataclasses
import inspect
import math
import re
from collections.abc import Callable
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
    ],
)
def test_what_cannot_be_right_is_refused(make: MakeAny, options: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=re.escape(message)):
        make(**options)


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

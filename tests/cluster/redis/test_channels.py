"""Names of channels, as Node gives them, and what they say."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.cluster.recordings import load
from trio_sio.cluster.redis.channels import Channels, escape_pattern, namespace_of


def test_channels_are_named_as_in_node() -> None:
    channels = Channels("socket.io", "/chat")
    assert channels.broadcasts == "socket.io#/chat#"
    assert channels.room("a#b") == "socket.io#/chat#a#b#"
    assert channels.requests == "socket.io-request#/chat#"
    assert channels.responses == "socket.io-response#/chat#"
    assert channels.responses_to("uid") == "socket.io-response#/chat#uid#"


@pytest.mark.parametrize(("name", "key"), [("classic", "socket.io"), ("classic_specific", "other"), ("sharded", "socket.io")])
def test_every_channel_that_node_publishes_on_is_one_of_ours(name: str, key: str) -> None:
    for recorded in load(name).messages:
        found = namespace_of(key, recorded.channel)
        assert found is not None
        kind, namespace, rest = found
        channels = Channels(key, namespace)
        names = {
            "broadcast": channels.room(rest) if rest else channels.broadcasts,
            "request": channels.requests,
            "response": channels.responses_to(rest) if rest else channels.responses,
        }
        assert recorded.channel == names[kind]


@given(st.text(), st.text(), st.text())
def test_a_room_is_found_again_whatever_is_in_its_name(key: str, namespace: str, room: str) -> None:
    channels = Channels(key, f"/{namespace}")
    assert channels.room_of(channels.room(room)) == room
    assert channels.room_of(channels.broadcasts) == ""
    assert channels.uid_of(channels.responses_to(room)) == room
    assert channels.uid_of(channels.responses) == ""


@pytest.mark.parametrize("channel", ["", "socket.io#/chat", "socket.io#/#", "socket.io#/chat#a", "socketio", "socket.io-request#/chat#"])
def test_other_channels_are_none_of_ours(channel: str) -> None:
    channels = Channels("socket.io", "/chat")
    assert channels.room_of(channel) is None
    assert channels.uid_of(channel) is None


@pytest.mark.parametrize(
    ("channel", "found"),
    [
        ("socket.io#/#", ("broadcast", "/", "")),
        ("socket.io#/#a#b#", ("broadcast", "/", "a#b")),
        ("socket.io#/chat#a#", ("broadcast", "/chat", "a")),
        ("socket.io-request#/chat#", ("request", "/chat", "")),
        ("socket.io-request#/chat#a#", None),
        ("socket.io-response#/chat#uid#", ("response", "/chat", "uid")),
        ("socket.io#/chat##", None),
        ("socket.io#/chat", None),
        ("socket.io#chat#", None),
        ("socketio", None),
        ("other#/#", None),
        ("", None),
    ],
)
def test_a_name_says_what_it_is_for(channel: str, found: object) -> None:
    assert namespace_of("socket.io", channel) == found


def test_nothing_in_a_pattern_has_a_meaning_of_its_own() -> None:
    assert Channels("k", "/a*[b]?^c\\").pattern == "k#/a\\*\\[b\\]\\?\\^c\\\\#*"
    assert escape_pattern("socket.io#/chat#") == "socket.io#/chat#"

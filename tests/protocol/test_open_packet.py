"""Open packets that are good; the bad ones are in tests/client/test_hostile_server.py."""

from __future__ import annotations

import math

import pytest

from tests.client.fake_server import SID, open_packet
from trio_sio.errors import PacketError
from trio_sio.protocol import engineio
from trio_sio.protocol.engineio import parse_open_packet


def test_times_are_seconds() -> None:
    handshake = parse_open_packet(open_packet(upgrades=["websocket", "webtransport"]).decode())
    assert tuple(handshake) == (SID, ("websocket", "webtransport"), 25, 20, 1_000_000)
    assert handshake.patience == 45


def test_what_is_not_known_is_passed_over() -> None:
    assert parse_open_packet(open_packet(more={"a": 1}).decode()).sid == SID


def test_old_servers_do_not_say_how_much_they_take() -> None:
    packet = b'0{"sid":"x","upgrades":[],"pingInterval":1.5,"pingTimeout":1}'
    assert parse_open_packet(packet.decode()).max_payload > 2**50


def test_our_own_server_may_send_no_pings() -> None:
    """Such a heartbeat of twelve days is no lie: it is how infinity is announced."""
    packet = engineio.open_packet("x", [], math.inf, 20, 1_000)
    assert packet.text is not None
    assert parse_open_packet(packet.text.decode()).ping_interval > 1e6


@pytest.mark.parametrize(("length", "fits"), [(255, True), (256, False)])
def test_the_longest_id(length: int, fits: bool) -> None:
    packet = open_packet(sid="x" * length).decode()
    if fits:
        assert len(parse_open_packet(packet).sid) == length
    else:
        with pytest.raises(PacketError, match="1 to 255 printable characters"):
            parse_open_packet(packet)


@pytest.mark.parametrize(
    ("interval", "timeout", "fits"), [(2**31 - 2, 1, True), (2**31 - 1, 1, False), (1e9, 1e9, True), (1e9, 2e9, False)]
)
def test_the_longest_heartbeat(interval: float, timeout: float, fits: bool) -> None:
    packet = open_packet(pingInterval=interval, pingTimeout=timeout).decode()
    if fits:
        assert parse_open_packet(packet).patience == pytest.approx((interval + timeout) / 1_000)
    else:
        with pytest.raises(PacketError, match="would never notice"):
            parse_open_packet(packet)

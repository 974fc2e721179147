"""The one table from fault to reason, and the hierarchy around it."""

from __future__ import annotations

import logging

import pytest

from trio_sio import errors
from trio_sio.errors import (
    OUTCOMES,
    BadMessage,
    ConnectionFault,
    ConnectionRefused,
    ConnectionReset,
    DecodeError,
    DisconnectReason,
    EncodeError,
    ProtocolViolation,
    ServerShuttingDown,
    TransportError,
    TrioSioError,
    outcome_of,
)

FAULTS = [
    kind
    for name in errors.__all__
    if isinstance(kind := getattr(errors, name), type) and issubclass(kind, ConnectionFault) and kind is not ConnectionFault
]


def test_every_public_name_exists_and_every_exception_is_public() -> None:
    public = {getattr(errors, name) for name in errors.__all__ if isinstance(getattr(errors, name), type)}
    defined = {item for item in vars(errors).values() if isinstance(item, type) and item.__module__ == errors.__name__}

    assert defined == {item for item in public if item.__module__ == errors.__name__}
    assert all(issubclass(item, TrioSioError) for item in defined if issubclass(item, Exception))


@pytest.mark.parametrize("kind", FAULTS)
def test_every_fault_has_a_row_of_its_own(kind: type[ConnectionFault]) -> None:
    assert outcome_of(kind("why")) is OUTCOMES[kind]


def test_a_fault_without_a_row_means_what_its_nearest_ancestor_does() -> None:
    class Unlisted(ConnectionReset):
        pass

    assert outcome_of(Unlisted()) is OUTCOMES[ConnectionReset]
    with pytest.raises(AssertionError, match="ConnectionFault has no row in OUTCOMES"):
        outcome_of(ConnectionFault())


def test_every_reason_for_a_whole_connection_is_reached() -> None:
    of_one_namespace = {
        DisconnectReason.CLIENT_NAMESPACE_DISCONNECT,
        DisconnectReason.SERVER_NAMESPACE_DISCONNECT,
        DisconnectReason.TOKEN_EXPIRED,
    }

    assert {outcome.reason for outcome in OUTCOMES.values()} == set(DisconnectReason) - of_one_namespace


def test_what_clients_cause_is_never_louder_than_info() -> None:
    assert max(outcome.log_level for outcome in OUTCOMES.values()) == logging.INFO


def test_the_ends_that_let_earlier_events_run() -> None:
    orderly = {kind.__name__ for kind, outcome in OUTCOMES.items() if outcome.orderly}

    assert orderly == {"PacketError", "DecodeError", "InvalidState", "HeartbeatError", "ProtocolViolation", "TransportClosed"}


def test_only_a_server_that_stops_says_so_with_a_code() -> None:
    assert {kind: outcome.close_code for kind, outcome in OUTCOMES.items() if outcome.close_code} == {ServerShuttingDown: 1001}


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        (DecodeError, "forced close"),
        (TransportError, "transport error"),
        (ConnectionReset, "transport close"),
        (ProtocolViolation, "transport error"),
    ],
)
def test_reasons_are_the_words_of_the_official_server(kind: type[ConnectionFault], reason: str) -> None:
    assert outcome_of(kind()).reason == reason


def test_what_applications_raise_carries_what_the_client_sees() -> None:
    refused, bad = ConnectionRefused("no", data=[1]), BadMessage("not a number", "$[0]")

    assert (str(refused), refused.message, refused.data) == ("no", "no", [1])
    assert (ConnectionRefused().message, ConnectionRefused().data) == ("Connection refused", None)
    assert (str(bad), bad.path, BadMessage("too few").path) == ("not a number", "$[0]", "")


def test_errors_can_be_caught_under_their_usual_names() -> None:
    assert issubclass(errors.ConfigurationError, ValueError)
    assert issubclass(EncodeError, TypeError)

"""Answers of clients here to what another server has asked."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

from trio_sio.cluster import messages, relay
from trio_sio.cluster.relay import LONGEST, Relay, Relays
from trio_sio.namespaces.adapter import Questions
from trio_sio.namespaces.answers import Respondent

Clock = trio.testing.MockClock


class Client:
    """Whose answer can be waited for."""

    def __init__(self, id: str) -> None:
        self.id = id
        self.waiters = dict[int, Any]()

    def expect_answer(self, number: int, waiter: Any) -> None:
        self.waiters[number] = waiter

    def forget_answer(self, number: int) -> None:
        self.waiters.pop(number, None)


class Asker:
    """Writes down what is answered; whose answers cannot be sent says so."""

    def __init__(self) -> None:
        self.heard = list[tuple[object, ...]]()
        self.unsendable: object = None

    def __call__(self, kind: type[messages.Message], **fields: Any) -> bool:
        if self.unsendable is not None and fields.get("value") is self.unsendable:
            return False
        assert fields.pop("request_id") == "q"
        self.heard.append((kind.__name__, *fields.values()))
        return True


def ask(relays: Relays, asker: Asker, *clients: Client, uid: str = "peer", timeout: float = 10) -> Relay:
    opened = relays.open(uid, "q", asker, timeout)
    assert opened is not None
    opened.questions = Questions(7, opened)
    respondents: list[Respondent] = [*clients]
    opened.questions.put(respondents)
    return opened


async def test_the_number_of_clients_comes_first_and_then_each_answer_with_its_number() -> None:
    asker, clients = Asker(), [Client("a"), Client("b"), Client("c"), Client("d")]
    opened = ask(Relays(), asker, *clients)
    for client, values in zip(clients, ([1], [], [1, 2]), strict=False):
        client.waiters[7].arrive(values)
    assert opened.questions is not None
    assert opened.questions.missing == ["d"]
    clients[3].waiters[7].fail()
    assert asker.heard == [
        ("BroadcastClientCount", 4),
        ("BroadcastAck", 1, 1),
        ("BroadcastAck", 2, None),
        ("BroadcastAck", 3, [1, 2]),
        ("AnswerLost", 4),
    ]
    assert opened.is_over
    assert not any(client.waiters for client in clients)


async def test_an_answer_that_cannot_be_sent_is_lost_and_not_waited_for() -> None:
    asker, client = Asker(), Client("a")
    asker.unsendable = object()
    ask(Relays(), asker, client)
    client.waiters[7].arrive([asker.unsendable])
    assert asker.heard == [("BroadcastClientCount", 1), ("AnswerLost", 2)]


async def test_they_expire(mock_clock: Clock) -> None:
    relays, clients = Relays(), [Client("a"), Client("b"), Client("c")]
    ask(relays, Asker(), clients[0], timeout=10)
    ask(relays, Asker(), clients[1], uid="other", timeout=20)
    ask(relays, Asker(), clients[2], uid="for ever", timeout=1e300)
    mock_clock.jump(10)
    relays.expire()
    assert (len(relays), [len(client.waiters) for client in clients]) == (2, [0, 1, 1])
    clients[1].waiters[7].arrive([1])
    relays.expire()
    assert len(relays) == 1
    mock_clock.jump(LONGEST)
    relays.expire()
    assert (len(relays), [len(client.waiters) for client in clients]) == (0, [0, 0, 0])


async def test_those_of_a_server_that_is_gone_are_closed() -> None:
    relays, clients = Relays(), [Client("a"), Client("b")]
    for uid, client in zip(("peer", "other"), clients, strict=True):
        ask(relays, Asker(), client, uid=uid)
    relays.lose("peer")
    assert (len(relays), [len(client.waiters) for client in clients]) == (1, [0, 1])
    relays.close()
    assert (len(relays), [len(client.waiters) for client in clients]) == (0, [0, 0])


@pytest.mark.hostile("B06")
async def test_what_is_asked_twice_is_asked_once_and_not_too_much_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "MOST", 2)
    relays, asker = Relays(), Asker()
    assert relays.open("peer", "q", asker, 10) is not None
    assert relays.open("peer", "q", asker, 10) is None
    assert relays.open("other", "q", asker, 10) is not None
    assert relays.open("peer", "more", asker, 10) is None
    assert (len(relays), relays.knows("peer", "q"), relays.knows("peer", "more")) == (2, True, False)
    relays.forget("peer", "q")
    assert relays.open("peer", "more", asker, 10) is not None

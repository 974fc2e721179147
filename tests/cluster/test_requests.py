"""What one server has asked the others: whatever comes in whatever order, everybody who waits comes to an end."""

from __future__ import annotations

from collections.abc import Sequence

import hypothesis
import pytest
import trio
import trio.testing
from hypothesis import strategies

from trio_sio.cluster.peers import MOST
from trio_sio.cluster.requests import Collected, EmittedToClients, EmittedToServers, Requests

Clock = trio.testing.MockClock


class Sum:
    """A sink that counts."""

    def __init__(self) -> None:
        self.expected = self.lowest = 0
        self.answers = list[object]()

    def expect(self, change: int) -> None:
        self.expected += change
        self.lowest = min(self.lowest, self.expected)

    def arrive(self, sid: str | None, args: Sequence[object]) -> None:
        assert sid is None
        self.answers.append(args[0])
        self.expect(-1)

    def lose(self, sid: str) -> None:
        raise AssertionError("a client of this server")


def emitted(*peers: str) -> tuple[EmittedToClients, Sum]:
    sink = Sum()
    return EmittedToClients(peers, sink), sink


# One answer of each server.


async def test_one_answer_of_each_is_waited_for(autojump_clock: Clock) -> None:
    request = Collected[str](["a", "b", "c"])

    async def answer() -> None:
        for uid, text in (("a", "1"), ("a", "twice"), ("unknown", "2")):
            await trio.sleep(1)
            request.arrive(uid, text)
        request.lose("b", is_dead=False)
        await trio.sleep(1)
        request.lose("c", is_dead=True)
        request.lose("c", is_dead=True)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(answer)
        await request.wait(5)
        assert trio.current_time() == 4
    assert (request.answers, request.missing) == (["1", "2"], ("c",))
    request.arrive("c", "not dead at all")
    assert (request.answers, request.missing) == (["1", "2", "not dead at all"], ())


async def test_who_is_slow_is_missing(autojump_clock: Clock) -> None:
    request = Collected[str](["a", "b"])
    request.arrive("b", "1")
    await request.wait(5)
    assert (trio.current_time(), request.answers, request.missing) == (5, ["1"], ("a",))


@pytest.mark.hostile("B24")
def test_answers_of_invented_servers_are_bounded() -> None:
    request = Collected[int](["a"])
    for number in range(3 * MOST):
        request.arrive(f"invented {number}", number)
    assert len(request.answers) == len(request._answered) == MOST
    to_clients, sink = emitted("a")
    for number in range(3 * MOST):
        to_clients.arrive(f"invented {number}", number, 1)
        to_clients.lose_client(f"invented {number}", 2)
        to_clients.count(f"invented too {number}", 2**53)
        to_clients.lose(f"never heard of {number}", is_dead=True)
    assert max(map(len, (to_clients._counted, to_clients._owed, to_clients._numbers))) <= MOST
    to_clients.count("a", 1)
    to_clients.arrive("a", "the real one", 1)
    assert sink.answers[-1] == "the real one"


# Servers.


def test_each_server_answers_once() -> None:
    sink = Sum()
    request = EmittedToServers(["a", "b", "c", "d"], sink)
    request.arrive("a", 1)
    request.arrive("a", 1)
    request.arrive("unknown", 2)
    request.lose("b", is_dead=False)
    request.lose("c", is_dead=True)
    request.arrive("c", 3)
    request.lose("a", is_dead=True)
    assert (sink.answers, sink.expected, sink.lowest, request.missing) == ([1], 1, 0, ("c", "d"))


# Clients.


def test_each_client_answers_once() -> None:
    request, sink = emitted("a", "b")
    request.count("a", 2)
    request.count("a", 2)
    request.arrive("a", 1, 1)
    request.arrive("a", "twice", 1)
    assert (sink.answers, sink.expected, request.missing) == ([1], 2, ("b", "a"))
    request.lose_client("a", 2)
    request.lose_client("a", 2)
    request.count("b", 0)
    assert (sink.answers, sink.expected, request.missing) == ([1], 0, ())


def test_answers_may_overtake_the_number_of_clients() -> None:
    request, sink = emitted("a")
    request.arrive("a", 1, None)
    request.arrive("a", 2, None)
    assert sink.expected == 1
    request.count("a", 3)
    assert sink.expected == 1
    request.arrive("a", 3, None)
    request.arrive("a", "one too many", None)
    assert (sink.answers, sink.expected, sink.lowest) == ([1, 2, 3], 0, 0)


@pytest.mark.hostile("B24")
def test_a_server_that_says_too_few_takes_nothing_from_the_others() -> None:
    request, sink = emitted("liar", "a")
    for number in range(3):
        request.arrive("liar", number, None)
    request.count("liar", 0)
    assert (sink.expected, request.missing) == (1, ("a",))
    request.count("a", 1)
    request.arrive("a", "a", None)
    assert (sink.answers, sink.expected, sink.lowest) == ([0, 1, 2, "a"], 0, 0)


def test_a_server_that_was_not_known_counts_from_what_it_says() -> None:
    request, sink = emitted()
    request.count("new", 2)
    request.arrive("new", 1, None)
    assert (sink.answers, sink.expected, request.missing) == ([1], 1, ("new",))


@pytest.mark.parametrize("is_dead", [False, True])
@pytest.mark.parametrize("first", ["nothing", "the number", "an answer", "both", "all"])
def test_a_server_that_goes_is_not_waited_for(first: str, is_dead: bool) -> None:
    request, sink = emitted("a")
    if first != "nothing":
        if first != "the number":
            request.arrive("a", 1, 1)
        if first != "an answer":
            request.count("a", 1 if first == "all" else 2)
    request.lose("a", is_dead=is_dead)
    assert (sink.expected, request.missing) == (0, ("a",) if is_dead and first != "all" else ())
    # Should it be there after all, it has come too late.
    request.count("a", 5)
    request.arrive("a", 2, 2)
    request.lose("a", is_dead=is_dead)
    assert (sink.expected, sink.lowest, request.missing) == (0, 0, ("a",) if is_dead and first != "all" else ())


class Model:
    """What one server does for one question."""

    def __init__(self, clients: int, gone: int, counts: bool) -> None:
        self.clients = clients
        self.gone = gone  # of these, how many do not answer
        self.counts = counts


SERVERS = strategies.lists(
    strategies.builds(Model, strategies.integers(0, 4), strategies.integers(0, 4), strategies.booleans()), max_size=4
)


@hypothesis.given(SERVERS, strategies.data())
def test_in_any_order_everybody_is_heard_and_nobody_waits_for_ever(servers: list[Model], data: strategies.DataObject) -> None:
    # Each server says its number and its answers in its order, but any may be overtaken by the number; each may come twice where they
    # are numbered; and it may die at any point.
    known = data.draw(strategies.sets(strategies.sampled_from(range(len(servers))))) if servers else set[int]()
    request, sink = emitted(*map(str, known))
    left = list[list[tuple[str, int]]]()
    for server in servers:
        steps = [("lost" if number <= server.gone else "answer", number) for number in range(1, server.clients + 1)]
        steps.insert(data.draw(strategies.integers(0, len(steps))), ("count", server.clients))
        left.append(steps)
    answered, dead = list[tuple[str, int]](), set[str]()
    while any(left):
        number = data.draw(strategies.sampled_from([number for number, steps in enumerate(left) if steps]))
        uid, server = str(number), servers[number]
        if not data.draw(strategies.integers(0, 7)):
            request.lose(uid, is_dead=True)
            left[number].clear()
            dead.add(uid)
            continue
        what, place = left[number].pop(0)
        for _ in range(1 + (data.draw(strategies.booleans()) and (server.counts or what == "count"))):
            if what == "count":
                request.count(uid, place)
            elif what == "lost":
                request.lose_client(uid, place if server.counts else None)
            else:
                request.arrive(uid, (uid, place), place if server.counts else None)
        if what == "answer":
            answered.append((uid, place))
        assert sink.expected >= 0
    assert sink.answers == answered
    assert sink.expected == 0
    assert sink.lowest == 0
    assert set(request.missing) <= dead


@hypothesis.given(
    strategies.lists(
        strategies.tuples(
            strategies.sampled_from(["count", "arrive", "lose_client", "lose"]),
            strategies.sampled_from("abc"),
            strategies.sampled_from([0, 1, 2, 2**53]),
            strategies.sampled_from([None, 0, 1, 2, 2**53]),
        ),
        max_size=30,
    )
)
def test_whatever_is_said_of_a_question_it_is_never_over_for_those_who_say_nothing(said: list[tuple[str, str, int, int | None]]) -> None:
    request, sink = emitted("a", "b", "honest")
    for what, uid, clients, number in said:
        match what:
            case "count":
                request.count(uid, clients)
            case "arrive":
                request.arrive(uid, "x", number)
            case "lose_client":
                request.lose_client(uid, number)
            case _:
                request.lose(uid, is_dead=False)
        assert sink.expected >= 1
        assert "honest" in request.missing
    for uid in ("a", "b", "c"):
        request.lose(uid, is_dead=False)
    assert (sink.expected, request.missing) == (1, ("honest",))


def test_what_is_closed_hears_nothing_more() -> None:
    requests, sink = Requests(), Sum()
    first, second = (requests.open(EmittedToServers(["a"], sink)) for _ in range(2))
    assert len({first, second}) == len(requests) == 2
    requests.close(first)
    requests.close(first)
    assert (requests.get(first), requests.get("unknown"), len(requests)) == (None, None, 1)
    requests.lose("a", is_dead=True)
    assert sink.expected == 1

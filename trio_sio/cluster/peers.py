"""Which other servers there are, as far as one adapter has heard from them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from itertools import count, islice
from typing import Final

import trio

__all__ = ["MOST", "Peers", "Span"]

MOST: Final = 1_000  # servers that one adapter believes in: whoever invents more on the bus costs no memory
MOST_TOLD: Final = 200  # of those who are gone, whose numbers others are told


class Span:
    """Which messages of one server have come, from one on without a gap.

    Attributes:
      first: The number of that one.
      last: That of the newest.
      came: Its place in the order in which servers came and went.
      left: The same, once it has left.
      left_at: When that was.
      said_goodbye: Whether it did.
    """

    __slots__ = ("came", "first", "last", "left", "left_at", "said_goodbye")

    def __init__(self, number: int, came: int) -> None:
        self.first = self.last = number
        self.came = came
        self.left: int | None = None
        self.left_at = 0.0
        self.said_goodbye = False


class Peers:
    """Those who were heard of within ``timeout``, by what they call themselves (Node: ``nodesMap``).

    Each numbers what it publishes, where it is one of ours, so it is known what was lost on the way, and what came twice. The
    numbers of those who fell silent are kept: when they are heard again, it shows what was not heard meanwhile. Those of who
    has said goodbye are kept, too, for those who ask what was heard of it.

    Args:
      timeout: Seconds of silence after which a server counts as dead.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._seen: dict[str, float] = {}
        self._numbers: OrderedDict[str, Span] = OrderedDict()  # those that were heard last are last
        self._events = count()

    def __len__(self) -> int:
        """How many there are."""
        return len(self._seen)

    def __iter__(self) -> Iterator[str]:
        return iter(tuple(self._seen))

    def __contains__(self, uid: object) -> bool:
        """Tell whether ``uid`` is one of them."""
        return uid in self._seen

    def heard(self, uid: str) -> bool:
        """Learn that ``uid`` lives; tell whether it is one more."""
        is_new = uid not in self._seen
        if is_new and len(self._seen) >= MOST:
            return False
        self._seen[uid] = trio.current_time()
        return is_new

    def numbered(self, uid: str, number: int) -> int:
        """Learn that ``uid`` has published ``number``; return how many are missing before it, -1: it came before."""
        span = self._numbers.get(uid)
        if span is not None and span.said_goodbye:
            span = None
        if span is not None and number <= span.last:
            return -1
        missing = 0 if span is None else number - span.last - 1
        if uid in self._seen:
            if span is None:
                span = self._numbers[uid] = Span(number, next(self._events))
            elif missing:
                span.first = number
            span.last, span.left = number, None
            self._numbers.move_to_end(uid)
            if len(self._numbers) > 2 * MOST:
                self._numbers.popitem(last=False)
        return missing

    def forget(self, uid: str, *, is_dead: bool) -> bool:
        """Learn that ``uid`` is gone, ``is_dead``: without a goodbye; tell whether it was there."""
        span = self._numbers.get(uid)
        if span is not None and span.left is None:
            span.left, span.left_at, span.said_goodbye = next(self._events), trio.current_time(), not is_dead
        return self._seen.pop(uid, None) is not None

    def dead(self) -> list[str]:
        """Return those who have been silent for too long."""
        then = trio.current_time() - self._timeout
        return [uid for uid, seen in self._seen.items() if seen < then]

    # What was heard of them.

    def span(self, uid: str) -> Span | None:
        """Return what has come of ``uid``, which may have left; ``None``: nothing that has a number."""
        return self._numbers.get(uid)

    def counting(self) -> list[str]:
        """Return those who number what they publish, and so are ours; who came last is last."""
        return [uid for uid in self._seen if uid in self._numbers]

    def heard_of_all(self) -> dict[str, int]:
        """Return the newest number of each of these."""
        return {uid: self._numbers[uid].last for uid in self.counting()}

    def heard_of_the_gone(self) -> dict[str, tuple[int, float]]:
        """Return the same of those who have left, the newest of them, and for how many seconds they are gone."""
        now = trio.current_time()
        gone = ((uid, span) for uid, span in reversed(self._numbers.items()) if span.left is not None)
        return {uid: (span.last, now - span.left_at) for uid, span in islice(gone, MOST_TOLD)}

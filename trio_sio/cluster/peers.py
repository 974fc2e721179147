"""Which other servers there are, as far as one adapter has heard from them."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

import trio

__all__ = ["Peers"]

MOST: Final = 1_000  # servers that one adapter believes in: whoever invents more on the bus costs no memory


class Peers:
    """Those who were heard of within ``timeout``, by what they call themselves (Node: ``nodesMap``).

    Each numbers what it publishes, where it is one of ours, so it is known what was lost on the way, and what came twice. The
    numbers of those who fell silent are kept: when they are heard again, it shows what was not heard meanwhile.

    Args:
      timeout: Seconds of silence after which a server counts as dead.
    """

    def __init__(self, timeout: float) -> None:
        self._timeout = timeout
        self._seen: dict[str, float] = {}
        self._numbers: OrderedDict[str, int] = OrderedDict()  # those that were heard last are last

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
        last = self._numbers.get(uid)
        if last is not None and number <= last:
            return -1
        if uid in self._seen:
            self._numbers[uid] = number
            self._numbers.move_to_end(uid)
            if len(self._numbers) > 2 * MOST:
                self._numbers.popitem(last=False)
        return 0 if last is None else number - last - 1

    def forget(self, uid: str, *, is_dead: bool) -> bool:
        """Learn that ``uid`` is gone, ``is_dead``: without a goodbye; tell whether it was there."""
        if not is_dead:
            self._numbers.pop(uid, None)
        return self._seen.pop(uid, None) is not None

    def dead(self) -> list[str]:
        """Return those who have been silent for too long."""
        then = trio.current_time() - self._timeout
        return [uid for uid, seen in self._seen.items() if seen < then]

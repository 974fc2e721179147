"""`rate_limit`: how often clients may ask, as middleware.

Each key, a socket, an address, or what a function says, has a bucket of ``burst`` tokens that fills at the rate. All that
is kept of it is when it will be full: from then on there is nothing to know, and the key is forgotten.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import OrderedDict
from collections.abc import Callable, Hashable, MutableMapping
from typing import Final, Literal, TypeVar
from weakref import WeakKeyDictionary

import trio

from ..concurrency.functions import fault_of_sync, let_go, name_of
from ..engine.addresses import network_of
from ..errors import RateLimited, RouteError
from ..namespaces.socket import Socket
from .middleware import Context, Next
from .refusals import refuses

__all__ = ["RateLimit", "rate_limit"]

Key = TypeVar("Key", bound=Hashable)

REMEMBERED_KEYS: Final = 65_536  # whose buckets are not full; who has more keys than that has no limit anyway

_LONG: Final = 128  # characters, or bytes, of a key from which on it is remembered by a digest: clients may choose it

_SECONDS: Final = {"s": 1, "min": 60, "h": 3600}
_ROUNDING: Final = 1e-6  # seconds by which what was added up may differ from the clock


def rate_limit(
    rate: str, *, burst: int | None = None, per: Literal["socket", "address"] | Callable[[Context], Hashable] = "socket"
) -> RateLimit:
    """Return middleware that lets only so many deliveries pass, and refuses the others with `RateLimited`.

    As message middleware it counts events, as connection middleware sockets that want to connect, which a limit per socket
    cannot refuse, as each connects once: that is a `RouteError` of the route. Each call makes buckets of
    its own; where one object stands in several places, these share them. Each process has its own.

    Args:
      rate: How many in the long run: ``"10/s"``, ``"100/min"`` or ``"1000/h"``.
      burst: How many at once after a pause; ``None``: as many as `rate` names.
      per: Who shares a bucket: ``"socket"``; ``"address"``, behind `Config.trusted_proxies` hops, IPv6 by /64 network; or a
        function of the context that returns a key, such as the user.

    Raises:
      RouteError: if one of these cannot be right.
    """
    given: tuple[object, object] = rate, burst  # which may be anything
    found = re.fullmatch(r"([1-9][0-9]*)/(s|min|h)", given[0]) if isinstance(given[0], str) else None
    if found is None:
        raise RouteError(f'rate_limit({rate!r:.80}) is no rate; write a number per s, min or h, as in "10/s".')
    count = int(found[1])
    if burst is None:
        burst = count
    elif isinstance(given[1], bool) or not isinstance(given[1], int) or burst < 1:
        raise RouteError(f"rate_limit(burst={burst!r:.80}) lets nothing pass; write a whole number from 1 on.")
    if per not in ("socket", "address"):
        if not callable(per):
            raise RouteError(f'rate_limit(per={per!r:.80}) is nobody; write "socket", "address", or a function of the context.')
        if (fault := fault_of_sync(per)) is not None:
            raise RouteError(f"rate_limit(per=...) is asked at once, but {fault}; write a plain function of the context.")
    return RateLimit(_SECONDS[found[2]] / count, burst, per)


@refuses(RateLimited)
class RateLimit:
    """What `rate_limit` returns.

    Args:
      interval: Seconds in which a bucket gets one token.
      burst: How many it holds.
      per: As for `rate_limit`.

    Attributes:
      refused: How many deliveries it has refused.
    """

    def __init__(self, interval: float, burst: int, per: Literal["socket", "address"] | Callable[[Context], Hashable]) -> None:
        self._interval = interval
        self._patience = interval * burst
        self._per = per
        self._sockets: WeakKeyDictionary[Socket, float] = WeakKeyDictionary()
        self._keys: OrderedDict[Hashable, float] = OrderedDict()  # the one that was used last is last
        self.refused = 0

    @property
    def is_per_socket(self) -> bool:
        """Whether each socket has a bucket of its own."""
        return self._per == "socket"

    def __len__(self) -> int:
        """How many buckets are remembered."""
        return len(self._sockets) + len(self._keys)

    async def __call__(self, ctx: Context, call_next: Next) -> object:
        """Go on with ``ctx``.

        Raises:
          RateLimited: if its bucket is empty.
        """
        wait = self._take(self._sockets, ctx.socket) if self._per == "socket" else self._take_of_key(self._key(ctx))
        if wait > 0:
            self.refused += 1
            raise RateLimited(math.ceil(wait * 1000) / 1000)
        return await call_next()

    def _key(self, ctx: Context) -> Hashable:
        if not callable(self._per):
            return network_of(ctx.socket.handshake.address)
        key = self._per(ctx)
        if let_go(key):
            raise TypeError(f"per={name_of(self._per)} is async; write a plain function of the context.")
        return _short(key)

    def _take_of_key(self, key: Hashable) -> float:
        wait = self._take(self._keys, key)
        if wait <= 0:
            self._keys.move_to_end(key)
            now = trio.current_time()
            # Who was used longer ago is full first, or nearly so.
            while len(self._keys) > 1 and (next(iter(self._keys.values())) <= now or len(self._keys) > REMEMBERED_KEYS):
                self._keys.popitem(last=False)
        return wait

    def _take(self, buckets: MutableMapping[Key, float], key: Key) -> float:
        """Take a token from the bucket of ``key``; return how many seconds there is none yet, nothing if there was one."""
        now = trio.current_time()
        full_at = max(buckets.get(key, now), now) + self._interval
        wait = full_at - now - self._patience
        if wait > _ROUNDING:
            return wait
        buckets[key] = full_at
        return 0.0


def _short(key: Hashable) -> Hashable:
    """Return what takes little memory and stands for ``key``."""
    if isinstance(key, tuple):
        return tuple(map(_short, key))
    if not isinstance(key, str | bytes) or len(key) < _LONG:
        return key
    data = key.encode(errors="surrogatepass") if isinstance(key, str) else key
    return type(key), hashlib.blake2b(data, digest_size=16).digest()

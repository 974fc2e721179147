"""Redis as the bus between servers, as Node's servers use it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .cluster import RedisCluster as RedisCluster
    from .emitter import Emitter as Emitter
    from .emitter import SyncEmitter as SyncEmitter

__all__ = ["Emitter", "RedisCluster", "SyncEmitter"]


def __getattr__(name: str) -> Any:
    # Who emits without a server needs no Trio.
    if name == "RedisCluster":
        from .cluster import RedisCluster

        return RedisCluster
    if name in __all__:
        from . import emitter

        return getattr(emitter, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")

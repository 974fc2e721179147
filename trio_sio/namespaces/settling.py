"""Which adapter can ask other servers something: the one that a namespace has, once it knows who they are."""

from __future__ import annotations

from typing import Protocol, TypeVar

__all__ = ["settled"]


class Settling(Protocol):
    """An adapter, as far as it may be new."""

    async def settled(self) -> None:
        """See `Adapter.settled`."""


A_co = TypeVar("A_co", bound=Settling, covariant=True)


class Attached(Protocol[A_co]):
    """A namespace."""

    @property
    def adapter(self) -> A_co:
        """See `Namespace.adapter`."""


async def settled(namespace: Attached[A_co]) -> A_co:
    """Return the adapter of ``namespace``, as soon as it knows which other servers there are."""
    while True:
        adapter = namespace.adapter
        await adapter.settled()
        # It may have been given up meanwhile, and asks nobody any more.
        if adapter is namespace.adapter:
            return adapter

"""What applications see of a mapping that changes whenever a client comes or goes."""

from __future__ import annotations

from collections.abc import ItemsView, Iterator, KeysView, Mapping, ValuesView
from typing import TypeVar

__all__ = ["Snapshots"]

K = TypeVar("K")
V = TypeVar("V")


class Snapshots(Mapping[K, V]):
    """Reads a mapping as it is, and iterates over it as it was when the iteration began: a loop may wait for something.

    Args:
      mapping: The mapping.
    """

    __slots__ = ("_mapping",)

    def __init__(self, mapping: Mapping[K, V]) -> None:
        self._mapping = mapping

    def __repr__(self) -> str:
        return repr(self._mapping)

    def __getitem__(self, key: K) -> V:
        return self._mapping[key]

    def __contains__(self, key: object) -> bool:
        return key in self._mapping

    def __len__(self) -> int:
        return len(self._mapping)

    def __iter__(self) -> Iterator[K]:
        return iter(tuple(self._mapping))

    def keys(self) -> KeysView[K]:
        """What one can ask for."""
        return dict(self._mapping).keys()

    def values(self) -> ValuesView[V]:
        """What there is now."""
        return dict(self._mapping).values()

    def items(self) -> ItemsView[K, V]:
        """Both."""
        return dict(self._mapping).items()

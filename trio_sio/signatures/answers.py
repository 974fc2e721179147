"""What one value is when it is sent, and several are when they come: a tuple is several, everything else is one."""

from __future__ import annotations

from collections.abc import Sequence

__all__ = ["acknowledged", "as_arguments"]


def acknowledged(values: Sequence[object]) -> object:
    """Return what was answered: the one value, a tuple of several, ``None`` for none."""
    return values[0] if len(values) == 1 else tuple(values) or None


def as_arguments(value: object) -> tuple[object, ...]:
    """Return the values to send for what a function of the application returned: a tuple is several, everything else is one."""
    return value if isinstance(value, tuple) else (value,)

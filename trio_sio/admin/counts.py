"""What the admin page has refused or left out."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Counts"]


@dataclass(slots=True)
class Counts:
    """Figures of one server's admin page, which only grow.

    Attributes:
      refused_logins: Pages that were not let in.
      commands: Commands of pages that were carried out.
      refused_commands: Commands that were not, as they were none, or not allowed.
      left_out: What pages were not told: events, as there were more than `MOST_EVENTS` in a second; and what could not be sent.
    """

    refused_logins: int = 0
    commands: int = 0
    refused_commands: int = 0
    left_out: int = 0

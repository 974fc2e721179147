"""What commands have in common: how they refuse, and types of options."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

__all__ = ["UsageError", "directory", "file", "port", "seconds", "worker_count"]


class UsageError(Exception):
    """What was asked for cannot be done; the message is a sentence for the terminal."""


def port(text: str) -> int:
    """Return the number of a port."""
    if text.isdecimal() and int(text) < 1 << 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number from 0 to 65535")


def seconds(text: str) -> float:
    """Return a time in seconds."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value < float("inf"):
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is not a time; write seconds, such as 10")


def worker_count(text: str) -> int:
    """Return a number of processes; of ``"auto"`` that of the cores that this process may use."""
    from ..workers import MOST_WORKERS

    if text == "auto":
        return min(len(os.sched_getaffinity(0)), MOST_WORKERS)
    if text.isdecimal() and 1 <= int(text) <= MOST_WORKERS:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a number of processes; write one from 1 to {MOST_WORKERS}, or 'auto'")


def directory(text: str) -> Path:
    """Return the path of a directory that exists."""
    path = Path(text)
    if path.is_dir():
        return path
    raise argparse.ArgumentTypeError(f"{text!r} is not a directory")


def file(text: str) -> Path:
    """Return the path of a file that exists."""
    path = Path(text)
    if path.is_file():
        return path
    raise argparse.ArgumentTypeError(f"{text!r} is not a file")

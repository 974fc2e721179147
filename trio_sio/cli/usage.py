"""What commands have in common: how they refuse, and types of options."""

from __future__ import annotations

import argparse
from pathlib import Path

__all__ = ["UsageError", "directory", "file", "port"]


class UsageError(Exception):
    """What was asked for cannot be done; the message is a sentence for the terminal."""


def port(text: str) -> int:
    """Return the number of a port."""
    if text.isdecimal() and int(text) < 1 << 16:
        return int(text)
    raise argparse.ArgumentTypeError(f"{text!r} is not a port; write a number from 0 to 65535")


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

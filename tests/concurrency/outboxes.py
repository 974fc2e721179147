"""Outboxes for tests, and packets of which only the size counts."""

from __future__ import annotations

from trio_sio.concurrency.outbox import Outbox
from trio_sio.protocol.frames import EncodedPacket

__all__ = ["make_outbox", "sized"]


def sized(size: int) -> EncodedPacket:
    return EncodedPacket(b"x" * size)


def make_outbox(packets: int = 3, size: int = 10) -> Outbox[EncodedPacket]:
    return Outbox(packets, size)

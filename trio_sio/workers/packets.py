"""Packets with descriptors, as one process receives them of another."""

from __future__ import annotations

import array
import socket
from typing import Final

__all__ = ["receive_packet"]

_FLAGS: Final = getattr(socket, "MSG_CMSG_CLOEXEC", 0)


def receive_packet(sock: socket.socket, size: int, most: int) -> tuple[bytes, list[int]]:
    """Return the next packet and the descriptors that came with it, which no program inherits that is started here.

    Not `socket.recv_fds`: that takes flags and passes none on. So a program that outlives its worker would keep the port, and clients
    who were handed over would not be told that they are gone.

    Args:
      sock: A SEQPACKET socket.
      size: Bytes of the largest packet.
      most: How many descriptors there may be; more are closed.

    Raises:
      OSError: if there is none.
    """
    descriptors = array.array("i")
    packet, ancillary, _, _ = sock.recvmsg(size, socket.CMSG_LEN(most * descriptors.itemsize), _FLAGS)
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            descriptors.frombytes(data[: len(data) - len(data) % descriptors.itemsize])
    return packet, list(descriptors)

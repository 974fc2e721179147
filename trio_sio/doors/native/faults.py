"""Requests that the native door answers itself, because they are not valid or ask for what it does not do."""

from __future__ import annotations

from ...protocol.http import plain_text

__all__ = ["RequestFault"]


class RequestFault(Exception):
    """What is wrong with a request; it is answered, and the connection closed.

    Args:
      status: The status code.
      message: A sentence for the client's developer; never text that the client sent.
      headers: Further header fields of the response.

    Attributes:
      response: The answer.
    """

    def __init__(self, status: int, message: str, headers: list[tuple[bytes, bytes]] | None = None) -> None:
        super().__init__(message)
        self.response = plain_text(status, message, headers, close=True)

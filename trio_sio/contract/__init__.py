"""What a server and its clients say to each other, as data: for TypeScript, for AsyncAPI, and for whoever wants JSON Schema."""

from __future__ import annotations

from .model import Argument, Contract, EventContract, NamespaceContract, Refusal

__all__ = ["Argument", "Contract", "EventContract", "NamespaceContract", "Refusal"]

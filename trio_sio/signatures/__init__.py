"""What the signature of a function says about a message: which arguments it has, and what makes them."""

from __future__ import annotations

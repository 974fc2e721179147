"""What makes the server of a worker is found again in another process, or is refused in this one."""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytest

from trio_sio import ConfigurationError, Server
from trio_sio.workers.factory import describe, find


def make_server() -> Server:
    """Return a server."""
    return Server()


@functools.cache
def make_one_server() -> Server:
    """Return the same one each time."""
    return Server()


def announced(make: Callable[[], Server]) -> Callable[[], Server]:
    """Return what does more than ``make``, under its name."""

    @functools.wraps(make)
    def wrapper() -> Server:
        return make()

    return wrapper


class Chat:
    """An application that is a class."""

    def make(self) -> Server:
        """Return a server that needs this object."""
        return Server()

    @classmethod
    def create(cls) -> Server:
        """Return a server that needs no object."""
        return Server()

    @staticmethod
    def assemble() -> Server:
        """Likewise."""
        return Server()


@pytest.mark.parametrize("factory", [make_server, make_one_server, Chat.create, Chat.assemble, Server])
def test_what_is_at_the_top_of_a_module_is_found(factory: Callable[[], Server]) -> None:
    assert find(describe(factory)) == factory


@pytest.mark.parametrize(
    "factory", [Chat().make, announced(make_server), functools.partial(make_server), lambda: [Server()], "tests", None]
)
def test_what_another_process_would_not_find_is_refused(factory: object) -> None:
    """Or where it would find another one of the same name, such as a method without its object."""
    with pytest.raises(ConfigurationError, match="give a function that is defined at the top of a module"):
        describe(factory)

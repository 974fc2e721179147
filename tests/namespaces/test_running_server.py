"""What handlers know of their server: `RunningServer` has what a `Server` can be asked for while it runs, and nothing else."""

from __future__ import annotations

import inspect
from typing import assert_type

import pytest

from trio_sio import BroadcastOperator, Context, Namespace, RunningServer, Server, Socket
from trio_sio.host import Host
from trio_sio.routing.registration import Registrar

# Registered is before it runs; doors and the scope are for who runs it.
BEFORE = {name for name in vars(Registrar) if not name.startswith("_")} | {"add_instrument", "compile_routes", "instruments", "routes"}
DOORS = {"run", "serve", "serve_listeners", "serve_until_signal", "asgi", "handle_trio_websocket", "pages", "docs_page", "metrics_page"}


def public(*classes: type) -> set[str]:
    return {name for cls in classes for name in (*dir(cls), *inspect.get_annotations(cls)) if not name.startswith("_")}


def test_it_has_all_that_is_of_use_while_the_server_runs() -> None:
    assert public(RunningServer) | BEFORE | DOORS == public(Server, Host) | set(inspect.get_annotations(RunningServer)) | {"routes"}
    assert not public(RunningServer) & (BEFORE | DOORS)


@pytest.mark.parametrize("name", sorted(name for name in RunningServer.__abstractmethods__ if not name.startswith("_")))
def test_its_methods_are_the_servers(name: str) -> None:
    promised, kept = inspect.getattr_static(RunningServer, name), inspect.getattr_static(Server, name)
    if isinstance(promised, property):
        promised, kept = promised.fget, kept.fget
    promise, keeping = inspect.signature(promised), inspect.signature(kept)
    assert list(promise.parameters.values()) == list(keeping.parameters.values())
    assert promise.return_annotation == keeping.return_annotation or name == "of"  # whose namespaces also have functions


def test_type_checkers_know_it() -> None:
    def ask(ctx: Context, socket: Socket) -> None:
        assert_type(ctx.server, RunningServer)
        assert_type(socket.server, RunningServer)
        assert_type(ctx.server.to("lobby"), BroadcastOperator)
        assert_type(socket.server.of("/chat"), Namespace)

    assert callable(ask)

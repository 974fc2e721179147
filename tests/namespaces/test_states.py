"""The table of a socket's states is what its sockets do."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext

import pytest

from tests.namespaces.standins import Standins
from trio_sio.errors import Disconnected, DisconnectReason
from trio_sio.namespaces.core import SocketCore
from trio_sio.namespaces.states import TRANSITIONS, SocketState, Step


def _end(core: SocketCore) -> None:
    core.end(DisconnectReason.TRANSPORT_CLOSE, orderly=True)


STEPS: dict[Step, Callable[[SocketCore], None]] = {Step.JOIN: SocketCore.join, Step.END: _end}
WAYS: dict[SocketState, list[Step]] = {
    SocketState.CONNECTING: [],
    SocketState.CONNECTED: [Step.JOIN],
    SocketState.DISCONNECTED: [Step.JOIN, Step.END],
    SocketState.NEVER_CONNECTED: [Step.END],
}


def _bring_to(state: SocketState) -> tuple[SocketCore, Standins]:
    standins = Standins(0)
    core = standins.connecting(0)
    for step in WAYS[state]:
        STEPS[step](core)
    assert core.state is state
    return core, standins


@pytest.mark.parametrize("step", Step)
@pytest.mark.parametrize("state", SocketState)
async def test_each_step_leads_where_the_table_says_and_nowhere_else(state: SocketState, step: Step) -> None:
    core, standins = _bring_to(state)
    there = set(standins.namespace.connected.values())
    if (led := TRANSITIONS[state].get(step)) is None:
        with pytest.raises(Disconnected) if step is Step.JOIN else nullcontext():
            STEPS[step](core)
        assert (core.state, set(standins.namespace.connected.values())) == (state, there)
    else:
        STEPS[step](core)
        assert core.state is led


@pytest.mark.parametrize("state", SocketState)
async def test_what_one_may_ask_about_a_state(state: SocketState) -> None:
    core, standins = _bring_to(state)
    assert core.is_connecting == (state is SocketState.CONNECTING)
    assert core.is_over == (not TRANSITIONS[state])
    assert core.has_joined == (Step.JOIN in WAYS[state])
    assert core.socket.connected == (state is SocketState.CONNECTED) == (core.socket.id in standins.namespace.connected)
    assert standins.namespace.population == (0 if core.is_over else 1)
    assert repr(core.socket) == f"<Socket {core.socket.id} '/' {state.value}>"

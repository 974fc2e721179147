"""What an application raised is found in the groups that nurseries put around it."""

from __future__ import annotations

import pytest

from trio_sio.concurrency.groups import raise_rest, unwrap
from trio_sio.errors import NoAck


@pytest.mark.hostile("P05")
def test_a_group_is_split_into_what_is_handled_and_what_goes_on() -> None:
    handled = list[Exception]()
    error, stop = ValueError("x"), KeyboardInterrupt()
    with pytest.RaisesGroup(KeyboardInterrupt) as caught:
        raise_rest(BaseExceptionGroup("", [error, stop]), handled.append)
    assert caught.value.exceptions == (stop,)
    (group,) = handled
    assert isinstance(group, ExceptionGroup)
    assert group.exceptions == (error,)
    with pytest.RaisesGroup(KeyboardInterrupt):
        raise_rest(BaseExceptionGroup("", [stop]), handled.append)
    assert handled == [group]


def test_groups_are_looked_through() -> None:
    one, two, error = NoAck(), NoAck(), ValueError()
    assert unwrap(one) is one
    assert unwrap(ExceptionGroup("", [ExceptionGroup("", [error])])) is error
    assert unwrap(ExceptionGroup("", [one, ExceptionGroup("", [two])])) is one
    for mixed in (ExceptionGroup("", [one, error]), ExceptionGroup("", [error, ValueError()])):
        assert unwrap(mixed) is mixed

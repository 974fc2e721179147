"""The conformance suite on the loopback cluster, over networks of several kinds."""

from __future__ import annotations

import pytest
import trio.testing

from trio_sio.namespaces.adapter import Cluster
from trio_sio.testing.adapter_suite import AdapterSuite
from trio_sio.testing.loopback import LoopbackNetwork


@pytest.fixture(autouse=True)
def clock(autojump_clock: trio.testing.MockClock) -> None:
    """Time passes at once."""


class TestLoopback(AdapterSuite):
    @pytest.fixture(autouse=True, params=[{}, {"delay": 0.1}, {"delay": 0.1, "jitter": 0.5}, {"duplication": 0.5, "jitter": 0.1}])
    def network(self, request: pytest.FixtureRequest) -> None:
        self._network = LoopbackNetwork(**request.param)

    def cluster(self) -> Cluster:
        return self._network.cluster()

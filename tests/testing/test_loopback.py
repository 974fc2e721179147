"""The conformance suite on the loopback cluster, over networks of several kinds."""

from __future__ import annotations

from typing import Any, Final

import pytest
import trio
import trio.testing

from trio_sio.namespaces.adapter import Cluster
from trio_sio.testing.adapter_suite import AdapterSuite
from trio_sio.testing.loopback import LoopbackNetwork


def run_on_mock_clock(function: Any, clock: None, instruments: Any) -> object:
    """What pytest-trio is to run the tests of the suite with, as none of them names a clock."""
    return trio.run(function, clock=trio.testing.MockClock(autojump_threshold=0), instruments=instruments)


NETWORKS: Final[list[dict[str, Any]]] = [
    {},
    {"delay": 0.1},
    {"delay": 0.1, "jitter": 0.5},
    {"duplication": 0.5, "jitter": 0.1},
    {"delay": 0.05, "jitter": 0.3, "duplication": 1.0, "seed": 1},
]


class TestLoopback(AdapterSuite):
    @pytest.fixture(autouse=True)
    def time_passes_at_once(self, request: pytest.FixtureRequest) -> None:
        request.node.add_marker(pytest.mark.trio(run=run_on_mock_clock), append=False)

    @pytest.fixture(autouse=True, params=NETWORKS)
    def network(self, request: pytest.FixtureRequest) -> None:
        self._network = LoopbackNetwork(**request.param)

    def cluster(self) -> Cluster:
        return self._network.cluster()

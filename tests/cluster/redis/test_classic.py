"""The conformance suite on a real Redis."""

from __future__ import annotations

import secrets

import pytest

from tests.cluster.redis_server import RedisServer
from trio_sio.cluster.redis import RedisCluster
from trio_sio.namespaces.adapter import Cluster
from trio_sio.testing.adapter_suite import AdapterSuite


class TestRedisCluster(AdapterSuite):
    RECOVERS_ELSEWHERE = False

    @pytest.fixture(autouse=True, params=[False, True], ids=["one channel", "specific"])
    def bus(self, redis_server: RedisServer, request: pytest.FixtureRequest) -> None:
        self._url = redis_server.url
        self._key = secrets.token_hex(8)
        self._specific = request.param

    def cluster(self) -> Cluster:
        return RedisCluster(self._url, key=self._key, specific_response_channel=self._specific)

"""What the tests of ``trio-sio connect`` share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.cli.serving import AUTHORITY, Site


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """Run a server for clients to connect to."""
    site = Site(AUTHORITY)
    with site.running():
        yield site

"""The conformance suite for clusters: what every one of them promises, whatever carries its messages.

Make a subclass in a test file and say there how to make one; pytest and pytest-trio run the rest::

    class TestMyCluster(AdapterSuite):
        def cluster(self) -> Cluster:
            return MyCluster("my://localhost")

A test that checks that something does not arrive lets something else follow it on the same way, so none of them depends on luck:
what one server emits reaches another in its order.
"""

from __future__ import annotations

from .answers import Answers
from .broadcasts import Broadcasts
from .listeners import Listeners
from .recovery import Comebacks
from .servers import Servers
from .sockets import Sockets

__all__ = ["AdapterSuite"]


class AdapterSuite(Broadcasts, Answers, Sockets, Servers, Listeners, Comebacks):
    """What every cluster promises; a subclass says in `cluster` how to make one, and may say where it cannot.

    Attributes:
      PATIENCE: Seconds after which an answer that has not come will not come.
      REPLAYS: Whether clients that come back to the server they were on get what others have emitted meanwhile.
      RECOVERS_ELSEWHERE: Whether clients that come back to another server are recovered as well.
      TELLS_OF_LOST_ANSWERS: Whether nobody waits for a client of another server that goes without an answer.
      NAMES_THE_MISSING: Whether it is known which servers did not answer.
    """

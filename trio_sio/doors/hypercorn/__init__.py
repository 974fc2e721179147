"""hypercorn as a component: what happens to one connection ends that connection, within a bound, and nobody else's.

`serve` stands in for ``hypercorn.trio.serve``, and adds to it:

* Our own listener: what is for a server of ours never reaches hypercorn, where that is certain when a request begins.
* A firewall: an exception that escapes from a connection ends that connection.
* A deadline: a write that makes no progress for ``write_stall_timeout`` ends its connection, also where nothing else can
  interrupt it.
* An early notice: servers of ours say goodbye to their clients while hypercorn still keeps all connections.
* Whole answers: an application hears that a request is over when its last message is out, and not while it is sent. So
  one that cancels itself then leaves the connection ready for the next request, or for its end.
* No file of a Unix socket is left behind.

Everything else that clients see of HTTP and WebSockets remains hypercorn's own. `serve` is made of the parts of its Trio worker,
so it refuses to work with a version that it was not tested with; nothing outside of this package knows them.
"""

from __future__ import annotations

from .serving import require_tested_version, serve

__all__ = ["require_tested_version", "serve"]

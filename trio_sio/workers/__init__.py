"""One machine, all its cores: several processes behind one port (``trio-sio run --workers 4``)."""

from __future__ import annotations

from .board import MOST_WORKERS
from .figures import WorkersStatistics
from .serving import serve, serve_listeners
from .supervisor import Workers, WorkersFailed
from .worker import worker_number

__all__ = ["MOST_WORKERS", "Workers", "WorkersFailed", "WorkersStatistics", "serve", "serve_listeners", "worker_number"]

"""Figures for Prometheus; needs ``prometheus_client``, the extra ``metrics``."""

try:
    import prometheus_client as _  # noqa: F401
except ImportError as error:
    raise ImportError("Metrics need prometheus_client; install it with `pip install 'trio-sio[metrics]'`") from error

from .metrics import Metrics

__all__ = ["Metrics"]

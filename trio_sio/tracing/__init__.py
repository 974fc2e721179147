"""Spans for OpenTelemetry; needs ``opentelemetry-api``, the extra ``tracing``."""

try:
    import opentelemetry.trace as _  # noqa: F401
except ImportError as error:
    raise ImportError("Tracing needs opentelemetry-api; install it with `pip install 'trio-sio[tracing]'`") from error

from .tracing import Tracing

__all__ = ["Tracing"]

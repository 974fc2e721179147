"""The log as evidence: every line at INFO and above must be one that the test expects."""

from __future__ import annotations

import logging
import re

__all__ = ["Journal"]


class Journal(logging.Handler):
    """Keeps what is logged, and knows which lines a test expects."""

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._records: list[logging.LogRecord] = []
        self._expected: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        """Keep ``record``, unless it is a line at DEBUG, of which there can be very many."""
        if record.levelno >= logging.INFO or record.exc_info:
            self._records.append(record)

    def expect(self, *patterns: str, times: int = 1) -> None:
        """Expect, for each regular expression, ``times`` lines at INFO or WARNING in which it is found."""
        self._expected += [pattern for pattern in patterns for _ in range(times)]

    def check(self) -> None:
        """Assert that nothing failed, and that there are the expected lines and no others, in whatever order."""
        failed = [record.getMessage() for record in self._records if record.exc_info or record.levelno >= logging.ERROR]
        assert not failed, failed
        surplus = [f"{record.levelname} {record.getMessage()}" for record in self._records]
        missing = []
        for pattern in self._expected:
            found = next((line for line in surplus if re.search(pattern, line)), None)
            if found is None:
                missing.append(pattern)
            else:
                surplus.remove(found)
        assert not missing, f"expected and not logged: {missing}; logged and not expected: {surplus}"
        assert not surplus, f"logged and not expected: {surplus}"

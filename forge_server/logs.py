"""Log lines that a stranger's input cannot break: one line each, no control characters, no
tokens."""

from __future__ import annotations

import logging
import sys

from .domain.text import one_log_line
from .domain.tokens import redact

LOGGER = logging.getLogger("forge_server")


class SafeFormatter(logging.Formatter):
    """Escapes control characters and blots out tokens in everything but our own tracebacks'
    line breaks."""

    def format(self, record: logging.LogRecord) -> str:
        lines = super().format(record).split("\n")
        first = one_log_line(record.getMessage())
        if "\n" not in record.getMessage():
            first = lines[0]
            rest = lines[1:]
        else:
            rest = []
        return redact("\n".join(one_log_line(line) for line in (first, *rest)))


def start_logging(level: int = logging.INFO) -> None:
    """Sends the registry's log lines to stderr."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(SafeFormatter("%(asctime)s %(levelname)s %(message)s"))
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False

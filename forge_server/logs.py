"""Log lines that a stranger's input cannot break: one line each, no control characters, no
tokens. As text for people, or as JSON for a machine that collects them."""

from __future__ import annotations

import json
import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime

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


class JsonFormatter(SafeFormatter):
    """One JSON object a line: ``time`` (UTC), ``level``, ``message``, and what `facts` were given
    to the line. A traceback stands in ``traceback``."""

    def format(self, record: logging.LogRecord) -> str:
        at = datetime.fromtimestamp(record.created, UTC)
        line: dict[str, object] = {
            "time": f"{at:%Y-%m-%dT%H:%M:%S}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "message": redact(one_log_line(record.getMessage())),
        }
        for name, value in getattr(record, "facts", {}).items():
            line[name] = redact(value) if isinstance(value, str) else value
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps(line, default=str)  # ASCII: control characters cannot get through


def facts(**values: object) -> Mapping[str, Mapping[str, object]]:
    """``extra=`` of a log line: members of its JSON form that are not in the text."""
    return {"facts": {name: value for name, value in values.items() if value is not None}}


def start_logging(level: int = logging.INFO, form: str = "text") -> None:
    """Sends the registry's log lines to stderr, as ``text`` or ``json``."""
    handler = logging.StreamHandler(sys.stderr)
    formatter = SafeFormatter("%(asctime)s %(levelname)s %(message)s")
    handler.setFormatter(JsonFormatter() if form == "json" else formatter)
    LOGGER.handlers[:] = [handler]
    LOGGER.setLevel(level)
    LOGGER.propagate = False

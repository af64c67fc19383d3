"""Where a registry's database is: a SQLite file, or a PostgreSQL server.

A PostgreSQL URL is handed to libpq as it is, so everything that libpq understands works: several
hosts, a socket folder, ``sslmode``, ``service``. A password is refused in it: the URL stands in a
settings file, in messages and in lists of processes. libpq finds passwords by itself, in
``PGPASSFILE``, ``~/.pgpass`` and ``PGPASSWORD``.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from signing.errors import MalformedError

_SQLITE: Final = "sqlite:///"
_POSTGRESQL: Final = ("postgresql://", "postgres://")
_SECRETS: Final = frozenset(("password", "sslpassword"))


@dataclass(frozen=True, slots=True)
class DatabaseUrl:
    """``text`` holds no password, so it may be shown."""

    text: str

    @classmethod
    def of_file(cls, path: Path) -> DatabaseUrl:
        """The SQLite database in the file ``path``."""
        return cls(f"{_SQLITE}{path}")

    @classmethod
    def parse(cls, text: str, where: str) -> DatabaseUrl:
        """The PostgreSQL database at the URL ``text``; ``where`` is for messages.

        Raises:
            MalformedError: no such URL, or one with a password in it, which is not repeated.
        """
        parts, secrets = None, False
        try:
            parts = urlsplit(text)
            secrets = any(name in _SECRETS for name, _ in parse_qsl(parts.query))
        except ValueError:
            pass
        if parts is None or not text.startswith(_POSTGRESQL) or not text.isprintable():
            raise MalformedError(where, "postgresql://USER@HOST/NAME", "something else")
        if secrets or parts.password is not None:
            raise MalformedError(
                where,
                "no password in the URL (libpq reads PGPASSFILE, ~/.pgpass and PGPASSWORD)",
                "one",
            )
        return cls(text)

    def __str__(self) -> str:
        return self.text if self.file is None else str(self.file)

    @property
    def file(self) -> Path | None:
        """The SQLite file; None when the database is on a PostgreSQL server."""
        if not self.text.startswith(_SQLITE):
            return None
        return Path(self.text.removeprefix(_SQLITE))

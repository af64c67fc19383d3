"""The index on SQLite: FTS5 over the lexemes of each component, another with trigrams of words."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from .bits import from_ids
from .documents import Document
from .engine import Pattern, missing_words

_AT_ONCE: Final = 400  # parts of one compound SELECT; SQLite takes 500
# One text of numbers instead of rows: of a common word there are a hundred thousand.
_ONE: Final = "SELECT {at}, group_concat(rowid) FROM search_fts WHERE search_fts MATCH ?"
_AMONG: Final = " AND rowid IN (SELECT value FROM json_each(?))"
_NEAR_PART: Final = "SELECT rowid AS id FROM search_words_fts WHERE search_words_fts MATCH ?"
_NEAR: Final = (
    "SELECT word FROM (SELECT id, count(*) AS shared FROM ({parts}) GROUP BY id "
    "ORDER BY shared DESC, id LIMIT ?) JOIN search_words USING (id) "
    "WHERE length(word) BETWEEN ? AND ?"
)


@dataclass(frozen=True, slots=True)
class SqliteEngine:
    """Everything that is handed to FTS5 is a string of its language: in double quotes, of which a
    lexeme has none (SQLite, "FTS5 Strings")."""

    def holders(
        self, session: Session, patterns: Sequence[Pattern], among: Collection[int] | None = None
    ) -> Mapping[Pattern, int]:
        """See `Engine.holders`."""
        found: dict[Pattern, int] = {}
        extra = () if among is None else (json.dumps(sorted(among)),)
        for start in range(0, len(patterns), _AT_ONCE):
            part = range(start, min(start + _AT_ONCE, len(patterns)))
            statement = " UNION ALL ".join(
                _ONE.format(at=at) + ("" if among is None else _AMONG) for at in part
            )
            values = [each for at in part for each in (_match(patterns[at]), *extra)]
            for at, numbers in _cursor(session).execute(statement, values):
                found[patterns[at]] = from_ids(json.loads(f"[{numbers or ''}]"))
        return found

    def near(self, session: Session, word: str, most: int) -> list[str]:
        """See `Engine.near`."""
        trigrams = sorted({word[at : at + 3] for at in range(len(word) - 2)})
        if not trigrams:
            return []
        statement = _NEAR.format(parts=" UNION ALL ".join([_NEAR_PART] * len(trigrams)))
        values = [*(f'"{each}"' for each in trigrams), most, len(word) - 2, len(word) + 2]
        return [found for (found,) in _cursor(session).execute(statement, values)]

    def put(self, session: Session, documents: Sequence[Document]) -> None:
        """See `Engine.put`."""
        cursor = _cursor(session)
        for document in documents:
            number = document.component_id
            old = cursor.execute(
                "SELECT lexemes FROM search_lexemes WHERE component_id = ?", (number,)
            ).fetchone()
            if old is not None:  # FTS5 must be told what it forgets ("external content tables")
                cursor.execute(
                    "INSERT INTO search_fts (search_fts, rowid, lexemes) VALUES ('delete', ?, ?)",
                    (number, old[0]),
                )
            lexemes = " ".join(sorted(document.lexemes))
            cursor.execute(
                "INSERT OR REPLACE INTO search_lexemes (component_id, lexemes) VALUES (?, ?)",
                (number, lexemes),
            )
            cursor.execute(
                "INSERT INTO search_fts (rowid, lexemes) VALUES (?, ?)", (number, lexemes)
            )
        self._add_words(cursor, documents)

    def _add_words(self, cursor: Any, documents: Sequence[Document]) -> None:
        wanted = json.dumps(missing_words((), documents))
        known = cursor.execute(
            "SELECT word FROM search_words WHERE word IN (SELECT value FROM json_each(?))",
            (wanted,),
        ).fetchall()
        for word in missing_words((word for (word,) in known), documents):
            cursor.execute("INSERT INTO search_words (word) VALUES (?)", (word,))
            cursor.execute(
                "INSERT INTO search_words_fts (rowid, word) VALUES (?, ?)",
                (cursor.lastrowid, word),
            )

    def clear(self, session: Session) -> None:
        """See `Engine.clear`."""
        cursor = _cursor(session)
        for table in ("search_fts", "search_words_fts"):
            cursor.execute(f"INSERT INTO {table} ({table}) VALUES ('delete-all')")  # noqa: S608
        cursor.execute("DELETE FROM search_lexemes")
        cursor.execute("DELETE FROM search_words")


def _match(pattern: Pattern) -> str:
    found = f'"{pattern.lexeme}"{" *" if pattern.prefix else ""}'
    return found if pattern.without is None else f'{found} NOT "{pattern.without}"'


def _cursor(session: Session) -> Any:
    """The driver's own cursor in the transaction of ``session``."""
    return session.connection().connection.cursor()

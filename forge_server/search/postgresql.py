"""The index on PostgreSQL: a tsvector of each component's lexemes, and pg_trgm over the words."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy.orm import Session

from .bits import from_ids
from .documents import Document
from .engine import Pattern, missing_words

# Four bytes of each id in one string: of a common word there are a hundred thousand.
_ONE: Final = (
    "SELECT {at}, string_agg(int4send(component_id::int), '') FROM search_lexemes "
    "WHERE lexemes @@ %s::tsquery"
)
_AMONG: Final = " AND component_id = ANY(%s)"
# Never a look at all rows: the estimate for the beginning of a word is a guess, and a bad one.
_BY_INDEX: Final = "SET LOCAL enable_seqscan = off"
_NEAR: Final = (
    "SELECT word FROM search_words WHERE word %% %s AND length(word) BETWEEN %s AND %s "
    "ORDER BY similarity(word, %s) DESC, word LIMIT %s"
)


@dataclass(frozen=True, slots=True)
class PostgresqlEngine:
    """Lexemes become a tsvector as they are, and patterns a tsquery: no dictionary, no
    configuration of the server has a say in what a word is (PostgreSQL §8.11)."""

    def holders(
        self, session: Session, patterns: Sequence[Pattern], among: Collection[int] | None = None
    ) -> Mapping[Pattern, int]:
        """See `Engine.holders`."""
        if not patterns:
            return {}
        statement = " UNION ALL ".join(
            _ONE.format(at=at) + ("" if among is None else _AMONG) for at in range(len(patterns))
        )
        extra = () if among is None else (sorted(among),)
        values = [each for pattern in patterns for each in (_match(pattern), *extra)]
        cursor = _cursor(session)
        cursor.execute(_BY_INDEX)
        # The plan is made for these very lexemes, here and below: a plan for any would be a guess.
        rows = cursor.execute(statement, values, prepare=False, binary=True).fetchall()
        return {patterns[at]: from_ids(_numbers(ids or b"")) for at, ids in rows}

    def near(self, session: Session, word: str, most: int) -> list[str]:
        """See `Engine.near`."""
        values = (word, len(word) - 2, len(word) + 2, word, most)
        rows = _cursor(session).execute(_NEAR, values, prepare=False)
        return [found for (found,) in rows]

    def put(self, session: Session, documents: Sequence[Document]) -> None:
        """See `Engine.put`."""
        cursor = _cursor(session)
        cursor.executemany(
            "INSERT INTO search_lexemes (component_id, lexemes) VALUES (%s, array_to_tsvector(%s)) "
            "ON CONFLICT (component_id) DO UPDATE SET lexemes = EXCLUDED.lexemes",
            [(document.component_id, sorted(document.lexemes)) for document in documents],
        )
        cursor.execute(
            "INSERT INTO search_words (word) SELECT unnest(%s::text[]) "
            "ON CONFLICT (word) DO NOTHING",
            (missing_words((), documents),),
        )

    def clear(self, session: Session) -> None:
        """See `Engine.clear`."""
        cursor = _cursor(session)
        cursor.execute("DELETE FROM search_lexemes")
        cursor.execute("DELETE FROM search_words")


def _match(pattern: Pattern) -> str:
    found = f"'{pattern.lexeme}'{':*' if pattern.prefix else ''}"
    return found if pattern.without is None else f"{found} & !'{pattern.without}'"


def _numbers(data: bytes) -> array[int]:
    """Numbers of four bytes each, the most significant first."""
    numbers = array("i", data)
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


def _cursor(session: Session) -> Any:
    """The driver's own cursor in the transaction of ``session``."""
    return session.connection().connection.cursor()

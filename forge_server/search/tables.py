"""The tables of the index. They are no part of the registry's own: a backup leaves them out, and
what is in them can be made again at any time.

``search_lexemes.lexemes`` is text on SQLite, over which the FTS5 table ``search_fts`` lies, and a
tsvector on PostgreSQL; ``search_words_fts`` and an index of pg_trgm find words that are near.
``search_waiting`` names the components that changed since they were indexed: a change puts its row
there in its own transaction, with a ``mark`` that is made up, so that one which came while the
component was being indexed is told from the one before.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import BigInteger, Column, MetaData, Table

from ..db.types import WHOLE_NUMBER, text_type

METADATA: Final = MetaData()

STATE: Final = Table(
    "search_state",
    METADATA,
    Column("id", WHOLE_NUMBER, primary_key=True),
    Column("epoch", BigInteger, nullable=False),
    Column("generation", BigInteger, nullable=False),
)
DOCUMENTS: Final = Table(
    "search_documents",
    METADATA,
    Column("component_id", WHOLE_NUMBER, primary_key=True),
    Column("generation", BigInteger, nullable=False),
    Column("name", text_type(40), nullable=False),
    Column("full_name", text_type(81), nullable=False),
    Column("updated", BigInteger, nullable=False),  # milliseconds since 1970
    Column("size", BigInteger, nullable=False),
    Column("facets", text_type(), nullable=False),
    Column("shown", text_type(), nullable=False),
    # In the same milliseconds: when the level that reviewers gave it falls by itself, and when it
    # must be looked at again, because a role that is renewed may have ended instead.
    Column("falls_at", BigInteger, nullable=True, index=True),
    Column("look_at", BigInteger, nullable=True, index=True),
)
LEXEMES: Final = Table(
    "search_lexemes",
    METADATA,
    Column("component_id", WHOLE_NUMBER, primary_key=True),
    Column("lexemes", text_type(), nullable=False),
)
WORDS: Final = Table(
    "search_words",
    METADATA,
    Column("id", WHOLE_NUMBER, primary_key=True),
    Column("word", text_type(40), nullable=False),
)
WAITING: Final = Table(
    "search_waiting",
    METADATA,
    Column("component_id", WHOLE_NUMBER, primary_key=True),
    Column("mark", BigInteger, nullable=False),
)

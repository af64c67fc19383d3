"""the search index's rows on PostgreSQL, small enough to be looked at by the ten thousand."""

from __future__ import annotations

from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# Whoever looks for a common word visits the rows of most components, and needs nothing of them but
# their ids: the index has compared the lexemes already. PostgreSQL puts long values aside only for
# rows of more than 2 kB (storage-toast), so a padding makes the row long; it shrinks to a few bytes
# where it stands, and the lexemes go aside. A row is then 90 bytes instead of 700.
POSTGRESQL = (
    "DROP TABLE search_lexemes",
    "CREATE TABLE search_lexemes (component_id BIGINT NOT NULL PRIMARY KEY, "
    "lexemes tsvector NOT NULL, padding text COLLATE \"C\" NOT NULL DEFAULT repeat(' ', 2048)) "
    "WITH (toast_tuple_target = 128)",
    "ALTER TABLE search_lexemes ALTER COLUMN lexemes SET STORAGE EXTERNAL",
    "CREATE INDEX ix_search_lexemes_lexemes ON search_lexemes USING gin (lexemes) "
    "WITH (fastupdate = off)",
    # What was in it is made again by the worker.
    "DELETE FROM search_documents",
    "DELETE FROM search_waiting",
    "INSERT INTO search_waiting (component_id, mark) SELECT id, id FROM components",
    "UPDATE search_state SET epoch = epoch + 1, generation = generation + 1",
)


def upgrade() -> None:
    if op.get_bind().dialect.name == "postgresql":
        for statement in POSTGRESQL:
            op.execute(statement)

"""the search index, what organisations say of themselves, requirements and counted downloads."""

from __future__ import annotations

import json

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.Text() if length is None else sa.String(length)
    by_code_point = plain.copy()
    by_code_point.collation = "C"
    return plain.with_variant(by_code_point, "postgresql")


REGISTRAR = (
    "SELECT metadata_versions.data FROM roles "
    "JOIN metadata_versions ON metadata_versions.id = roles.metadata_id "
    "WHERE roles.name = 'registrar'"
)
LATEST = (
    "SELECT components.id, releases.details FROM components JOIN releases "
    "ON releases.component_id = components.id AND releases.version = components.latest"
)
REQUIRE = "INSERT INTO requirements (component_id, required) VALUES (:number, :required)"
DESCRIBE = (
    "UPDATE organisations SET region = :region, contact = :contact, names = :names "
    "WHERE name = :name"
)


def upgrade() -> None:
    on_postgresql = op.get_bind().dialect.name == "postgresql"
    if on_postgresql:
        # `migrate` has seen that this can be done, or is done.
        op.execute("CREATE EXTENSION IF NOT EXISTS pg_trgm")
    _describe_organisations()
    op.create_table(
        "requirements",
        sa.Column("component_id", WHOLE_NUMBER, nullable=False),
        sa.Column("required", text_type(81), nullable=False),
        sa.ForeignKeyConstraint(
            ["component_id"], ["components.id"], name=op.f("fk_requirements_component_id")
        ),
        sa.PrimaryKeyConstraint("component_id", "required", name=op.f("pk_requirements")),
    )
    op.create_index(op.f("ix_requirements_required"), "requirements", ["required"])
    _note_requirements()
    op.create_table(
        "downloads",
        sa.Column("component_id", WHOLE_NUMBER, nullable=False),
        sa.Column("day", sa.Date(), nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["component_id"], ["components.id"], name=op.f("fk_downloads_component_id")
        ),
        sa.PrimaryKeyConstraint("component_id", "day", name=op.f("pk_downloads")),
    )
    op.create_index(op.f("ix_downloads_day"), "downloads", ["day"])
    op.create_index(op.f("ix_components_updated_at"), "components", ["updated_at"])
    op.create_index(op.f("ix_releases_published_at"), "releases", ["published_at"])
    op.create_index(op.f("ix_events_subject"), "events", ["subject"])
    _create_index_tables("tsvector" if on_postgresql else "text")
    statements = POSTGRESQL if on_postgresql else SQLITE
    for statement in statements:
        op.execute(statement)
    op.execute("INSERT INTO search_state (id, epoch, generation) VALUES (1, 1, 0)")
    op.execute("INSERT INTO search_waiting (component_id, mark) SELECT id, 0 FROM components")


def _describe_organisations() -> None:
    """What the registrar signed about each organisation, where pages and search find it."""
    op.add_column("organisations", sa.Column("region", text_type(10), nullable=True))
    op.add_column("organisations", sa.Column("contact", text_type(200), nullable=True))
    op.add_column("organisations", sa.Column("names", sa.JSON(), nullable=True))
    data = op.get_bind().scalar(sa.text(REGISTRAR))
    if data is None:
        return
    delegations = json.loads(bytes(data))["signed"].get("delegations") or {}
    for role in delegations.get("roles", ()):
        profile = role.get("forge")
        if isinstance(profile, dict):
            op.get_bind().execute(
                sa.text(DESCRIBE),
                {
                    "name": role["name"],
                    "region": profile.get("region"),
                    "contact": profile.get("contact"),
                    "names": json.dumps(profile.get("names") or {}),
                },
            )


def _note_requirements() -> None:
    rows = op.get_bind().execute(sa.text(LATEST)).all()
    for number, details in rows:
        value = json.loads(details) if isinstance(details, str) else details
        for required in value.get("requires") or ():
            op.get_bind().execute(sa.text(REQUIRE), {"number": number, "required": required})


def _create_index_tables(kind: str) -> None:
    op.create_table(
        "search_state",
        sa.Column("id", WHOLE_NUMBER, primary_key=True),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "search_documents",
        sa.Column("component_id", WHOLE_NUMBER, primary_key=True, autoincrement=False),
        sa.Column("generation", sa.BigInteger(), nullable=False),
        sa.Column("name", text_type(40), nullable=False),
        sa.Column("full_name", text_type(81), nullable=False),
        sa.Column("updated", sa.BigInteger(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("facets", text_type(), nullable=False),
        sa.Column("shown", text_type(), nullable=False),
    )
    op.create_index("ix_search_documents_generation", "search_documents", ["generation"])
    op.create_index("ix_search_documents_name", "search_documents", ["name"])
    op.create_index("ix_search_documents_full_name", "search_documents", ["full_name"])
    op.execute(
        "CREATE TABLE search_lexemes "
        f"(component_id BIGINT NOT NULL PRIMARY KEY, lexemes {kind} NOT NULL)"
        if kind == "tsvector"
        else "CREATE TABLE search_lexemes (component_id INTEGER PRIMARY KEY, lexemes TEXT NOT NULL)"
    )
    op.create_table(
        "search_words",
        sa.Column("id", WHOLE_NUMBER, primary_key=True),
        sa.Column("word", text_type(40), nullable=False),
    )
    op.create_index("uq_search_words_word", "search_words", ["word"], unique=True)
    op.create_table(
        "search_waiting",
        sa.Column("component_id", WHOLE_NUMBER, primary_key=True, autoincrement=False),
        sa.Column("mark", sa.BigInteger(), nullable=False),
    )


# Only whole lexemes and their beginnings are looked for, so no positions are kept.
SQLITE = (
    "CREATE VIRTUAL TABLE search_fts USING fts5(lexemes, content='search_lexemes', "
    "content_rowid='component_id', detail='none', columnsize=0, prefix='3 4', "
    'tokenize="unicode61 remove_diacritics 0")',
    "CREATE VIRTUAL TABLE search_words_fts USING fts5(word, content='search_words', "
    "content_rowid='id', detail='none', columnsize=0, tokenize='trigram case_sensitive 1')",
)
POSTGRESQL = (
    # What was just written must not wait in a list that every search then reads.
    "CREATE INDEX ix_search_lexemes_lexemes ON search_lexemes USING gin (lexemes) "
    "WITH (fastupdate = off)",
    "CREATE INDEX ix_search_words_trigrams ON search_words USING gin (word gin_trgm_ops)",
)

"""which chunk lists were compared with their files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


_DIGEST = sa.String(64).with_variant(sa.String(64, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "chunk_checks",
        sa.Column("list_sha256", _DIGEST, nullable=False),
        sa.Column("blob_sha256", _DIGEST, nullable=False),
        sa.Column("checked_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("list_sha256", "blob_sha256", name=op.f("pk_chunk_checks")),
    )

"""when the level that reviewers gave a component falls by itself, for search."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("search_documents", sa.Column("falls_at", sa.BigInteger(), nullable=True))
    op.create_index("ix_search_documents_falls_at", "search_documents", ["falls_at"])

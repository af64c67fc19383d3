"""when the level that reviewers gave a component falls, or may fall, by itself, for search."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    for name in ("falls_at", "look_at"):
        op.add_column("search_documents", sa.Column(name, sa.BigInteger(), nullable=True))
        op.create_index(f"ix_search_documents_{name}", "search_documents", [name])

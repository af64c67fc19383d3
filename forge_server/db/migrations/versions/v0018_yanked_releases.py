"""releases that are yanked are found without going through all others."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    yanked = sa.text("yanked IS NOT NULL")
    op.create_index(
        "ix_releases_yanked_at", "releases", ["published_at"],
        sqlite_where=yanked, postgresql_where=yanked,
    )  # fmt: skip

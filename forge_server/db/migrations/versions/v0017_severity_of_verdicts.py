"""which severity a verdict on an answer was given for, and since when a finding is that grave.

Of verdicts that there are, the severity is taken for that of today: what it was is written nowhere.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def text_type(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.add_column("findings", sa.Column("severity_since", sa.DateTime(), nullable=True))
    op.add_column("answers", sa.Column("verdict_severity", text_type(8), nullable=True))
    op.execute("UPDATE findings SET severity_since = first_seen_at")
    op.execute(
        "UPDATE answers SET verdict_severity = (SELECT findings.severity FROM findings"
        " WHERE findings.manifest_sha256 = answers.manifest_sha256"
        " AND findings.id = answers.finding) WHERE verdict IS NOT NULL"
    )

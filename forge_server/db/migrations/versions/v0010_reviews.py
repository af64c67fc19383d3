"""what reviewer bodies sign, and which release somebody is looking at."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def text_type(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    return sa.String(length).with_variant(sa.String(length, collation="C"), "postgresql")


def upgrade() -> None:
    op.create_table(
        "review_statements",
        sa.Column("path", text_type(200), nullable=False),
        sa.Column("body", text_type(40), nullable=False),
        sa.Column("kind", text_type(10), nullable=False),
        sa.Column("component", text_type(81), nullable=False),
        sa.Column("name", text_type(60), nullable=False),
        sa.Column("sha256", text_type(64), nullable=False),
        sa.Column("envelope", sa.LargeBinary(), nullable=False),
        sa.Column("signed_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=True),
        sa.Column("stored_at", sa.DateTime(), nullable=True),
        sa.Column(
            "noticed_days", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=True
        ),
        sa.PrimaryKeyConstraint("path", name=op.f("pk_review_statements")),
    )
    for columns in (["body"], ["component", "name"], ["expires_at"], ["stored_at"]):
        op.create_index(f"ix_review_statements_{'_'.join(columns)}", "review_statements", columns)
    op.create_table(
        "review_claims",
        sa.Column("component", text_type(81), nullable=False),
        sa.Column("version", text_type(60), nullable=False),
        sa.Column("body", text_type(40), nullable=False),
        sa.Column("claimed_by", text_type(40), nullable=False),
        sa.Column("until", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("component", "version", name=op.f("pk_review_claims")),
    )

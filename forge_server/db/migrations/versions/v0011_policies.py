"""the policies that organisations pinned."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def text_type(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.String(length)
    by_code_point = sa.String(length, collation="C")
    return plain.with_variant(by_code_point, "postgresql")


def upgrade() -> None:
    op.create_table(
        "organisation_policies",
        sa.Column("organisation", text_type(40), nullable=False),
        sa.Column("component", text_type(81), nullable=False),
        sa.Column("version", text_type(60), nullable=False),
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("pinned_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"],
            ["organisations.name"],
            name=op.f("fk_organisation_policies_organisation"),
        ),
        sa.PrimaryKeyConstraint("organisation", "component", name=op.f("pk_organisation_policies")),
    )

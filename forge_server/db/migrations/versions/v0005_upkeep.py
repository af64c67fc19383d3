"""what the operator's commands remember, blobs that no release refers to, and quotas."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.Text() if length is None else sa.String(length)
    by_code_point = plain.copy()
    by_code_point.collation = "C"
    return plain.with_variant(by_code_point, "postgresql")


COUNT = (
    "INSERT INTO quotas (organisation, used_bytes, used_releases) "
    "SELECT components.organisation, sum(releases.total_bytes), count(*) FROM releases "
    "JOIN components ON components.id = releases.component_id GROUP BY components.organisation"
)


def upgrade() -> None:
    op.create_table(
        "upkeep",
        sa.Column("name", text_type(40), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("changed_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_upkeep")),
    )
    op.create_table(
        "blob_leases",
        sa.Column("sha256", text_type(64), nullable=False),
        sa.Column("token", text_type(16), nullable=False),
        sa.Column("organisation", text_type(40), nullable=True),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("held_at", sa.DateTime(), nullable=False),
        sa.Column("doomed_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blob_leases")),
    )
    op.create_index(op.f("ix_blob_leases_organisation"), "blob_leases", ["organisation"])
    op.create_index(op.f("ix_blob_leases_doomed_at"), "blob_leases", ["doomed_at"])
    op.create_table(
        "blob_damage",
        sa.Column("sha256", text_type(64), nullable=False),
        sa.Column("problem", text_type(200), nullable=False),
        sa.Column("found_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_blob_damage")),
    )
    op.create_table(
        "quotas",
        sa.Column("organisation", text_type(40), nullable=False),
        sa.Column("max_bytes", sa.BigInteger(), nullable=True),
        sa.Column("max_releases", WHOLE_NUMBER, nullable=True),
        sa.Column("used_bytes", sa.BigInteger(), nullable=False),
        sa.Column("used_releases", WHOLE_NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.name"], name=op.f("fk_quotas_organisation")
        ),
        sa.PrimaryKeyConstraint("organisation", name=op.f("pk_quotas")),
    )
    op.execute(COUNT)

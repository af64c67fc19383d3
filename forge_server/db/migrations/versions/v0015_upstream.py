"""projects of another Python index that an operator lets through, and the pins of their files."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.Text() if length is None else sa.String(length)
    by_code_point = plain.copy()
    by_code_point.collation = "C"
    return plain.with_variant(by_code_point, "postgresql")


def upgrade() -> None:
    whole_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "upstream_projects",
        sa.Column("name", text_type(255), nullable=False),
        sa.Column("specifier", text_type(), nullable=False),
        sa.Column("cooldown_days", whole_number, nullable=False),
        sa.Column("allowed_at", sa.DateTime(), nullable=False),
        sa.Column("asked_at", sa.DateTime(), nullable=True),
        sa.Column("fetched_at", sa.DateTime(), nullable=True),
        sa.Column("problem", text_type(), nullable=True),
        sa.Column("status", text_type(20), nullable=False),
        sa.Column("status_reason", text_type(), nullable=True),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_upstream_projects")),
    )
    op.create_table(
        "upstream_files",
        sa.Column("project", text_type(255), nullable=False),
        sa.Column("filename", text_type(255), nullable=False),
        sa.Column("version", text_type(255), nullable=False),
        sa.Column("sha256", text_type(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("url", text_type(), nullable=False),
        sa.Column("uploaded_at", sa.DateTime(), nullable=False),
        sa.Column("requires_python", text_type(), nullable=True),
        sa.Column("metadata_sha256", text_type(64), nullable=True),
        sa.Column("metadata_bytes", sa.LargeBinary(), nullable=True),
        sa.Column("yanked", text_type(), nullable=True),
        sa.Column("gone_at", sa.DateTime(), nullable=True),
        sa.Column("pinned_at", sa.DateTime(), nullable=False),
        sa.Column("blob_sha256", text_type(64), nullable=True),
        sa.Column("refused", text_type(), nullable=True),
        sa.Column("changed_sha256", text_type(64), nullable=True),
        sa.Column("changed_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("project", "filename", name=op.f("pk_upstream_files")),
    )
    op.create_index(op.f("ix_upstream_files_sha256"), "upstream_files", ["sha256"])
    op.create_index(op.f("ix_upstream_files_blob_sha256"), "upstream_files", ["blob_sha256"])

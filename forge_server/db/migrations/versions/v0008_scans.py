"""what scanners said of releases, what they found, and who is scanning one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.Text() if length is None else sa.String(length)
    by_code_point = plain.copy()
    by_code_point.collation = "C"
    return plain.with_variant(by_code_point, "postgresql")


def upgrade() -> None:
    op.create_table(
        "scans",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("component", text_type(81), nullable=False),
        sa.Column("version", text_type(60), nullable=False),
        sa.Column("scanner", text_type(40), nullable=False),
        sa.Column("scanner_version", text_type(60), nullable=False),
        sa.Column("data_date", sa.Date(), nullable=True),
        sa.Column("state", text_type(12), nullable=False),
        sa.Column("detail", text_type(), nullable=False),
        sa.Column("report", sa.LargeBinary(), nullable=False),
        sa.Column("report_sha256", text_type(64), nullable=False),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.Column("finished_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_scans")),
        sa.UniqueConstraint("manifest_sha256", "scanner", name=op.f("uq_scans_manifest_sha256")),
    )
    op.create_table(
        "findings",
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("id", text_type(120), nullable=False),
        sa.Column("scanner", text_type(40), nullable=False),
        sa.Column("severity", text_type(8), nullable=False),
        sa.Column("path", text_type(), nullable=False),
        sa.Column("location", text_type(), nullable=False),
        sa.Column("title", text_type(), nullable=False),
        sa.Column("first_seen_at", sa.DateTime(), nullable=False),
        sa.Column("last_seen_at", sa.DateTime(), nullable=False),
        sa.Column("gone_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("manifest_sha256", "id", name=op.f("pk_findings")),
    )
    # Who scans a release at the moment, so that two workers do not do the same.
    op.create_table(
        "scan_claims",
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("token", text_type(16), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("manifest_sha256", name=op.f("pk_scan_claims")),
    )
    # Releases that were scanned by all that the last round had: ``round`` names its scanners.
    op.create_table(
        "scan_rounds",
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("round", text_type(64), nullable=False),
        sa.Column("scanned_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("manifest_sha256", name=op.f("pk_scan_rounds")),
    )

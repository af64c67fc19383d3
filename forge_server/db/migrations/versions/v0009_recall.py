"""deprecations, and what is said against releases after they were published."""

from __future__ import annotations

import json
from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.Text() if length is None else sa.String(length)
    by_code_point = plain.copy()
    by_code_point.collation = "C"
    return plain.with_variant(by_code_point, "postgresql")


ROLES = (
    "SELECT roles.name, metadata_versions.data FROM roles "
    "JOIN metadata_versions ON metadata_versions.id = roles.metadata_id "
    "WHERE roles.name IN ('status', 'targets')"
)


def upgrade() -> None:
    op.add_column("releases", sa.Column("yanked_successor", text_type(150), nullable=True))
    op.add_column("releases", sa.Column("deprecated", sa.JSON(), nullable=True))
    withheld = op.create_table(
        "withheld",
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("source", text_type(10), nullable=False),
        sa.Column("component", text_type(81), nullable=False),
        sa.Column("version", text_type(60), nullable=False),
        sa.Column("state", text_type(12), nullable=False),
        sa.Column("reason", text_type(), nullable=False),
        sa.Column("reference", text_type(200), nullable=True),
        sa.Column("since", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("manifest_sha256", "source", name=op.f("pk_withheld")),
    )
    rows = _withheld_by_status()
    if rows:
        op.bulk_insert(withheld, rows)
    op.create_table(
        "taken_blobs",
        sa.Column("sha256", text_type(64), nullable=False),
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_taken_blobs")),
    )
    op.create_index(op.f("ix_taken_blobs_manifest_sha256"), "taken_blobs", ["manifest_sha256"])
    op.create_table(
        "reports",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("component", text_type(81), nullable=False),
        sa.Column("version", text_type(60), nullable=False),
        sa.Column("kind", text_type(10), nullable=False),
        sa.Column("text", text_type(), nullable=False),
        sa.Column("user_id", WHOLE_NUMBER, nullable=True),
        sa.Column("address", text_type(64), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("closed_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_reports_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reports")),
    )
    for name in ("manifest_sha256", "address", "created_at"):
        op.create_index(op.f(f"ix_reports_{name}"), "reports", [name])
    op.create_index(
        op.f("ix_reports_user_id_manifest_sha256"), "reports", ["user_id", "manifest_sha256"]
    )
    op.create_table(
        "answers",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("finding", text_type(120), nullable=False),
        sa.Column("type", text_type(20), nullable=False),
        sa.Column("text", text_type(), nullable=False),
        sa.Column("links", sa.JSON(), nullable=False),
        sa.Column("user_id", WHOLE_NUMBER, nullable=False),
        sa.Column("answered_at", sa.DateTime(), nullable=False),
        sa.Column("verdict", text_type(10), nullable=True),
        sa.Column("verdict_reason", text_type(), nullable=True),
        sa.Column("verdict_body", text_type(40), nullable=True),
        sa.Column("verdict_user_id", WHOLE_NUMBER, nullable=True),
        sa.Column("verdict_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_answers_user_id")),
        sa.ForeignKeyConstraint(
            ["verdict_user_id"], ["users.id"], name=op.f("fk_answers_verdict_user_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_answers")),
    )
    op.create_index(op.f("ix_answers_manifest_sha256"), "answers", ["manifest_sha256", "finding"])
    _create_recall_tables()


def _create_recall_tables() -> None:
    op.create_table(
        "installations",
        sa.Column("organisation", text_type(40), nullable=False),
        sa.Column("host", text_type(60), nullable=False),
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("component", text_type(81), nullable=False),
        sa.Column("version", text_type(60), nullable=False),
        sa.Column("reported_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.name"], name=op.f("fk_installations_organisation")
        ),
        sa.PrimaryKeyConstraint(
            "organisation", "host", "manifest_sha256", name=op.f("pk_installations")
        ),
    )
    op.create_index(op.f("ix_installations_manifest_sha256"), "installations", ["manifest_sha256"])
    op.create_table(
        "recalls",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("component", text_type(81), nullable=False),
        sa.Column("version", text_type(60), nullable=False),
        sa.Column("reason", text_type(), nullable=False),
        sa.Column("organisation", text_type(40), nullable=True),
        sa.Column("started_at", sa.DateTime(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_recalls")),
        sa.UniqueConstraint("manifest_sha256", name=op.f("uq_recalls_manifest_sha256")),
    )
    op.create_table(
        "recall_notices",
        sa.Column("recall_id", WHOLE_NUMBER, nullable=False),
        sa.Column("organisation", text_type(40), nullable=False),
        sa.Column("host", text_type(60), nullable=False),
        sa.Column("notified_at", sa.DateTime(), nullable=True),
        sa.Column("acknowledged_at", sa.DateTime(), nullable=True),
        sa.Column("remedied_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["recall_id"], ["recalls.id"], name=op.f("fk_recall_notices_recall_id")
        ),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.name"], name=op.f("fk_recall_notices_organisation")
        ),
        sa.PrimaryKeyConstraint(
            "recall_id", "organisation", "host", name=op.f("pk_recall_notices")
        ),
    )
    op.create_index(op.f("ix_recall_notices_organisation"), "recall_notices", ["organisation"])


def _withheld_by_status() -> list[dict[str, object]]:
    """What the status host withholds already, from its signed word."""
    roles = {
        name: json.loads(bytes(data))["signed"]
        for name, data in op.get_bind().execute(sa.text(ROLES))
    }
    delegated = {role["name"] for role in roles.get("targets", {}).get("delegations", {}).get(
        "roles", ())}  # fmt: skip
    if "status" not in delegated or "status" not in roles:
        return []
    return [
        {
            "manifest_sha256": one["manifest_sha256"],
            "source": "status",
            "component": one["component"],
            "version": one["version"],
            "state": one["state"],
            "reason": one["reason"],
            "reference": None,
            "since": datetime.fromisoformat(one["since"]).replace(tzinfo=None),
        }
        for one in roles["status"]["forge"]["withheld"]
    ]

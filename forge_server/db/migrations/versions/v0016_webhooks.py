"""webhooks and what they are told; when waivers end, and which ends were told."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.Text() if length is None else sa.String(length)
    sorted_ = sa.Text(collation="C") if length is None else sa.String(length, collation="C")
    return plain.with_variant(sorted_, "postgresql")


def upgrade() -> None:
    op.create_table(
        "webhooks",
        sa.Column("id", text_type(24), nullable=False),
        sa.Column("organisation", text_type(40), nullable=True),
        sa.Column("about", text_type(81), nullable=False),
        sa.Column("events", sa.JSON(), nullable=False),
        sa.Column("url", text_type(), nullable=False),
        sa.Column("secret", text_type(80), nullable=False),
        sa.Column("old_secret", text_type(80), nullable=True),
        sa.Column("old_secret_until", sa.DateTime(), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("failing_since", sa.DateTime(), nullable=True),
        sa.Column("resting_until", sa.DateTime(), nullable=True),
        sa.Column("ended_at", sa.DateTime(), nullable=True),
        sa.Column("ended_why", text_type(200), nullable=True),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.name"], name=op.f("fk_webhooks_organisation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhooks")),
    )
    for column in ("organisation", "about"):
        op.create_index(f"ix_webhooks_{column}", "webhooks", [column])
    op.create_table(
        "webhook_deliveries",
        sa.Column("id", text_type(40), nullable=False),
        sa.Column("webhook_id", text_type(24), nullable=False),
        sa.Column("event", text_type(40), nullable=False),
        sa.Column("subject", text_type(), nullable=True),
        sa.Column("body", text_type(), nullable=False),
        sa.Column("awaits", text_type(64), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("state", text_type(10), nullable=False),
        sa.Column("due_at", sa.DateTime(), nullable=False),
        sa.Column("claim", text_type(16), nullable=True),
        sa.Column("claimed_at", sa.DateTime(), nullable=True),
        sa.Column("tries", _NUMBER, nullable=False),
        sa.Column("tried_at", sa.DateTime(), nullable=True),
        sa.Column("status", _NUMBER, nullable=True),
        sa.Column("milliseconds", _NUMBER, nullable=True),
        sa.Column("answer", text_type(), nullable=True),
        sa.Column("problem", text_type(200), nullable=True),
        sa.ForeignKeyConstraint(
            ["webhook_id"], ["webhooks.id"], name=op.f("fk_webhook_deliveries_webhook_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_webhook_deliveries")),
    )
    for columns in (["webhook_id", "created_at"], ["state", "due_at"], ["created_at"]):
        op.create_index(f"ix_webhook_deliveries_{'_'.join(columns)}", "webhook_deliveries", columns)
    op.add_column("roles", sa.Column("noticed_days", _NUMBER, nullable=True))
    _waivers_end()
    _what_ended_is_old_news()


def _waivers_end() -> None:
    """The end of each waiver, out of what was signed."""
    connection = op.get_bind()
    table = sa.table(
        "review_statements", sa.column("path", sa.String()), sa.column("kind", sa.String()),
        sa.column("envelope", sa.LargeBinary()), sa.column("expires_at", sa.DateTime()),
    )  # fmt: skip
    rows = connection.execute(
        sa.select(table.c.path, table.c.envelope).where(table.c.kind == "waiver")
    ).all()
    for path, envelope in rows:
        statement = json.loads(base64.b64decode(json.loads(envelope)["payload"]))
        ends = datetime.fromisoformat(statement["predicate"]["expires"])
        connection.execute(
            sa.update(table)
            .where(table.c.path == path)
            .values(expires_at=ends.astimezone(UTC).replace(tzinfo=None))
        )


def _what_ended_is_old_news() -> None:
    """Nobody is told now of what ended long ago."""
    now = datetime.now(UTC).replace(tzinfo=None)
    for name in ("review_statements", "roles"):
        table = sa.table(
            name, sa.column("expires_at", sa.DateTime()), sa.column("noticed_days", sa.Integer())
        )
        op.get_bind().execute(
            sa.update(table).where(table.c.expires_at <= now).values(noticed_days=0)
        )

"""logins that wait for approval on another machine."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def text_type(length: int) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.String(length)
    by_code_point = sa.String(length, collation="C")
    return plain.with_variant(by_code_point, "postgresql")


def upgrade() -> None:
    whole_number = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "device_codes",
        sa.Column("id", whole_number, nullable=False),
        sa.Column("digest", text_type(64), nullable=False),
        sa.Column("user_code", text_type(8), nullable=False),
        sa.Column("client", text_type(10), nullable=False),
        sa.Column("device", text_type(63), nullable=True),
        sa.Column("address", text_type(64), nullable=True),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("approved", sa.Boolean(), nullable=True),
        sa.Column("decided_at", sa.DateTime(), nullable=True),
        sa.Column("user_id", whole_number, nullable=True),
        sa.Column("token_id", whole_number, nullable=True),
        sa.Column("taken_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_device_codes_user_id")),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"], name=op.f("fk_device_codes_token_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_device_codes")),
        sa.UniqueConstraint("digest", name=op.f("uq_device_codes_digest")),
        sa.UniqueConstraint("user_code", name=op.f("uq_device_codes_user_code")),
    )
    for column in ("address", "created_at"):
        op.create_index(op.f(f"ix_device_codes_{column}"), "device_codes", [column])

"""applications that the registrar refused, and when each role expires."""

from __future__ import annotations

import json
from datetime import datetime

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("organisations", sa.Column("refusal", sa.LargeBinary(), nullable=True))
    op.add_column("roles", sa.Column("expires_at", sa.DateTime(), nullable=True))
    connection = op.get_bind()
    rows = connection.execute(
        sa.text(
            "SELECT roles.name, metadata_versions.data FROM roles "
            "JOIN metadata_versions ON metadata_versions.id = roles.metadata_id"
        )
    )
    roles = sa.table("roles", sa.column("name", sa.String), sa.column("expires_at", sa.DateTime))
    for name, data in rows.all():
        expires = datetime.strptime(json.loads(data)["signed"]["expires"], "%Y-%m-%dT%H:%M:%SZ")
        connection.execute(sa.update(roles).where(roles.c.name == name).values(expires_at=expires))
    with op.batch_alter_table("roles") as batch:
        batch.alter_column("expires_at", nullable=False)
        batch.create_index(op.f("ix_roles_expires_at"), ["expires_at"], unique=False)

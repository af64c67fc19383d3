"""the first schema."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

# As in `db.types`, as it was when this was written: a migration never changes.
WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    plain = sa.Text() if length is None else sa.String(length)
    by_code_point = plain.copy()
    by_code_point.collation = "C"
    return plain.with_variant(by_code_point, "postgresql")


def upgrade() -> None:
    op.create_table(
        "events",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("at", sa.DateTime(), nullable=False),
        sa.Column("actor", text_type(40), nullable=True),
        sa.Column("token_id", WHOLE_NUMBER, nullable=True),
        sa.Column("address", text_type(64), nullable=True),
        sa.Column("request_id", text_type(40), nullable=True),
        sa.Column("action", text_type(60), nullable=False),
        sa.Column("subject", text_type(), nullable=True),
        sa.Column("outcome", text_type(60), nullable=False),
        sa.Column("detail", sa.JSON(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_events")),
    )
    op.create_index(op.f("ix_events_action"), "events", ["action"], unique=False)
    op.create_index(op.f("ix_events_actor"), "events", ["actor"], unique=False)
    op.create_index(op.f("ix_events_at"), "events", ["at"], unique=False)

    op.create_table(
        "metadata_versions",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("role", text_type(81), nullable=False),
        sa.Column("version", WHOLE_NUMBER, nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("published_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_metadata_versions")),
        sa.UniqueConstraint("role", "version", name=op.f("uq_metadata_versions_role")),
    )
    op.create_index(
        "ix_metadata_versions_published_at", "metadata_versions", ["published_at"], unique=False
    )

    op.create_table(
        "users",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("name", text_type(40), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("disabled_at", sa.DateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_users")),
        sa.UniqueConstraint("name", name=op.f("uq_users_name")),
    )
    op.create_table(
        "organisations",
        sa.Column("name", text_type(40), nullable=False),
        sa.Column("skeleton", text_type(40), nullable=False),
        sa.Column("state", text_type(10), nullable=False),
        sa.Column("kind", text_type(20), nullable=False),
        sa.Column("display_name", text_type(120), nullable=False),
        sa.Column("application", sa.LargeBinary(), nullable=True),
        sa.Column("first_role", sa.LargeBinary(), nullable=True),
        sa.Column("applicant_id", WHOLE_NUMBER, nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("approved_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["applicant_id"], ["users.id"], name=op.f("fk_organisations_applicant_id")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_organisations")),
        sa.UniqueConstraint("skeleton", name=op.f("uq_organisations_skeleton")),
    )
    op.create_index(
        op.f("ix_organisations_applicant_id"), "organisations", ["applicant_id"], unique=False
    )
    op.create_index(op.f("ix_organisations_state"), "organisations", ["state"], unique=False)

    op.create_table(
        "roles",
        sa.Column("name", text_type(81), nullable=False),
        sa.Column("version", WHOLE_NUMBER, nullable=False),
        sa.Column("metadata_id", WHOLE_NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["metadata_id"], ["metadata_versions.id"], name=op.f("fk_roles_metadata_id")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_roles")),
    )
    op.create_table(
        "tokens",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("user_id", WHOLE_NUMBER, nullable=False),
        sa.Column("name", text_type(100), nullable=False),
        sa.Column("digest", text_type(64), nullable=False),
        sa.Column("actions", sa.JSON(), nullable=False),
        sa.Column("organisation", text_type(40), nullable=True),
        sa.Column("component", text_type(81), nullable=True),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("expires_at", sa.DateTime(), nullable=False),
        sa.Column("last_used_at", sa.DateTime(), nullable=True),
        sa.Column("revoked_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_tokens_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_tokens")),
        sa.UniqueConstraint("digest", name=op.f("uq_tokens_digest")),
    )
    op.create_index(op.f("ix_tokens_user_id"), "tokens", ["user_id"], unique=False)

    op.create_table(
        "components",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("organisation", text_type(40), nullable=False),
        sa.Column("name", text_type(40), nullable=False),
        sa.Column("kind", text_type(10), nullable=False),
        sa.Column("summary", text_type(), nullable=False),
        sa.Column("license", text_type(), nullable=False),
        sa.Column("languages", sa.JSON(), nullable=False),
        sa.Column("tasks", sa.JSON(), nullable=False),
        sa.Column("latest", text_type(60), nullable=False),
        sa.Column("versions", WHOLE_NUMBER, nullable=False),
        sa.Column("search_text", text_type(), nullable=False),
        sa.Column("created_at", sa.DateTime(), nullable=False),
        sa.Column("updated_at", sa.DateTime(), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.name"], name=op.f("fk_components_organisation")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_components")),
        sa.UniqueConstraint("organisation", "name", name=op.f("uq_components_organisation")),
    )
    op.create_table(
        "members",
        sa.Column("organisation", text_type(40), nullable=False),
        sa.Column("user_id", WHOLE_NUMBER, nullable=False),
        sa.Column("role", text_type(10), nullable=False),
        sa.ForeignKeyConstraint(
            ["organisation"], ["organisations.name"], name=op.f("fk_members_organisation")
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_members_user_id")),
        sa.PrimaryKeyConstraint("organisation", "user_id", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_user_id"), "members", ["user_id"], unique=False)

    op.create_table(
        "releases",
        sa.Column("id", WHOLE_NUMBER, nullable=False),
        sa.Column("component_id", WHOLE_NUMBER, nullable=False),
        sa.Column("version", text_type(60), nullable=False),
        sa.Column("kind", text_type(10), nullable=False),
        sa.Column("details", sa.JSON(), nullable=False),
        sa.Column("manifest_sha256", text_type(64), nullable=False),
        sa.Column("bundle_sha256", text_type(64), nullable=False),
        sa.Column("total_bytes", sa.BigInteger(), nullable=False),
        sa.Column("file_count", WHOLE_NUMBER, nullable=False),
        sa.Column("publisher_id", WHOLE_NUMBER, nullable=False),
        sa.Column("publisher_key", text_type(64), nullable=False),
        sa.Column("role", text_type(81), nullable=False),
        sa.Column("role_version", WHOLE_NUMBER, nullable=False),
        sa.Column("snapshot_version", WHOLE_NUMBER, nullable=False),
        sa.Column("yanked", text_type(), nullable=True),
        sa.Column("published_at", sa.DateTime(), nullable=False),
        sa.Column("stored_at", sa.DateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["component_id"], ["components.id"], name=op.f("fk_releases_component_id")
        ),
        sa.ForeignKeyConstraint(
            ["publisher_id"], ["users.id"], name=op.f("fk_releases_publisher_id")
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_releases")),
        sa.UniqueConstraint("component_id", "version", name=op.f("uq_releases_component_id")),
    )
    op.create_index(op.f("ix_releases_bundle_sha256"), "releases", ["bundle_sha256"], unique=False)
    op.create_index(
        op.f("ix_releases_manifest_sha256"), "releases", ["manifest_sha256"], unique=False
    )
    op.create_index("ix_releases_stored_at", "releases", ["stored_at"], unique=False)

    op.create_table(
        "release_files",
        sa.Column("release_id", WHOLE_NUMBER, nullable=False),
        sa.Column("path", text_type(), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.Column("sha256", text_type(64), nullable=False),
        sa.Column("chunks", text_type(64), nullable=True),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_release_files_release_id")
        ),
        sa.PrimaryKeyConstraint("release_id", "path", name=op.f("pk_release_files")),
    )
    op.create_index(op.f("ix_release_files_chunks"), "release_files", ["chunks"], unique=False)
    op.create_index(op.f("ix_release_files_sha256"), "release_files", ["sha256"], unique=False)


def downgrade() -> None:
    op.drop_table("release_files")
    op.drop_table("releases")
    op.drop_table("members")
    op.drop_table("components")
    op.drop_table("tokens")
    op.drop_table("roles")
    op.drop_table("organisations")
    op.drop_table("users")
    op.drop_table("metadata_versions")
    op.drop_table("events")

"""the names of Python distributions, and the components that they belong to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from packaging.utils import parse_sdist_filename, parse_wheel_filename

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

WHOLE_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def text_type(length: int | None = None) -> sa.types.TypeEngine[str]:
    """Text that sorts by code point on both databases; here as it was when this was written."""
    plain = sa.Text() if length is None else sa.String(length)
    by_code_point = plain.copy()
    by_code_point.collation = "C"
    return plain.with_variant(by_code_point, "postgresql")


PUBLISHED = (
    "SELECT releases.id, releases.component_id, release_files.path, release_files.sha256, "
    "release_files.size FROM releases "
    "JOIN release_files ON release_files.release_id = releases.id "
    "WHERE releases.kind = 'library' AND "
    "(release_files.path LIKE '%.whl' OR release_files.path LIKE '%.tar.gz') "
    "ORDER BY releases.id, release_files.path"
)
RESERVE = "INSERT INTO distributions (name, component_id) VALUES (:name, :component)"
ADD = (
    "INSERT INTO distribution_files "
    "(release_id, path, distribution, filename, version, sha256, size) "
    "VALUES (:release, :path, :name, :filename, :version, :sha256, :size)"
)


def upgrade() -> None:
    op.create_table(
        "distributions",
        sa.Column("name", text_type(255), nullable=False),
        sa.Column("component_id", WHOLE_NUMBER, nullable=False),
        sa.ForeignKeyConstraint(
            ["component_id"], ["components.id"], name=op.f("fk_distributions_component_id")
        ),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_distributions")),
    )
    op.create_index(op.f("ix_distributions_component_id"), "distributions", ["component_id"])
    op.create_table(
        "distribution_files",
        sa.Column("release_id", WHOLE_NUMBER, nullable=False),
        sa.Column("path", text_type(), nullable=False),
        sa.Column("distribution", text_type(255), nullable=False),
        sa.Column("filename", text_type(255), nullable=False),
        sa.Column("version", text_type(255), nullable=False),
        sa.Column("sha256", text_type(64), nullable=False),
        sa.Column("size", sa.BigInteger(), nullable=False),
        sa.ForeignKeyConstraint(
            ["release_id"], ["releases.id"], name=op.f("fk_distribution_files_release_id")
        ),
        sa.ForeignKeyConstraint(
            ["distribution"], ["distributions.name"],
            name=op.f("fk_distribution_files_distribution"),
        ),
        sa.PrimaryKeyConstraint("release_id", "path", name=op.f("pk_distribution_files")),
    )  # fmt: skip
    op.create_index(
        op.f("ix_distribution_files_distribution"), "distribution_files", ["distribution"]
    )
    op.create_index(op.f("ix_distribution_files_sha256"), "distribution_files", ["sha256"])
    op.create_table(
        "wheel_metadata",
        sa.Column("sha256", text_type(64), nullable=False),
        sa.Column("data", sa.LargeBinary(), nullable=True),
        sa.Column("data_sha256", text_type(64), nullable=True),
        sa.Column("requires_python", text_type(), nullable=True),
        sa.Column("refused", text_type(), nullable=True),
        sa.PrimaryKeyConstraint("sha256", name=op.f("pk_wheel_metadata")),
    )
    _take_over()


def _take_over() -> None:
    """Gives each name to the component that published it first; what is in the wheels themselves
    is read when somebody first asks for them."""
    connection = op.get_bind()
    owners: dict[str, int] = {}
    for release, component, path, sha256, size in connection.execute(sa.text(PUBLISHED)).all():
        filename = path.rpartition("/")[2]
        try:
            parse = parse_wheel_filename if filename.endswith(".whl") else parse_sdist_filename
            name, version = parse(filename)[:2]
        except ValueError:
            continue
        if name not in owners:
            owners[name] = component
            connection.execute(sa.text(RESERVE), {"name": name, "component": component})
        if owners[name] == component:
            row = {
                "release": release, "path": path, "name": name, "filename": filename,
                "version": str(version), "sha256": sha256, "size": size,
            }  # fmt: skip
            connection.execute(sa.text(ADD), row)

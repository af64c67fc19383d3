"""All blobs that releases and copies refer to, however many: page by page, in short
transactions."""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from ..db.engine import Database
from ..db.models import Release, ReleaseFile
from ..db.upstream_models import UpstreamFile

_PAGE = 1000
Column = InstrumentedAttribute[str] | InstrumentedAttribute[str | None]
COLUMNS: tuple[Column, ...] = (
    ReleaseFile.sha256,
    ReleaseFile.chunks,
    Release.manifest_sha256,
    Release.bundle_sha256,
    UpstreamFile.blob_sha256,
)


def iter_wanted(database: Database) -> Iterator[str]:
    """Each digest at least once: files, chunk lists, manifests, bundles, copies. What is published
    meanwhile may or may not appear; no transaction is open between two digests."""
    for column in COLUMNS:
        last = ""
        while True:
            with database.read() as session:
                page = _page(session, column, column > last)
            if not page:
                break
            yield from page
            last = page[-1]


def _page(session: Session, column: Column, condition: ColumnElement[bool]) -> list[str]:
    query = select(column).where(condition).distinct().order_by(column).limit(_PAGE)
    return [str(digest) for digest in session.scalars(query)]

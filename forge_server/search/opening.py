"""The index of a registry, as its database needs it."""

from __future__ import annotations

from storage import BlobStore

from ..db.engine import Database
from ..services.clock import Clock
from ..services.review_desk import ReviewDesk
from .engine import Engine
from .filling import Filling
from .index import ComponentIndex
from .postgresql import PostgresqlEngine
from .sqlite import SqliteEngine


def open_index(
    database: Database, blobs: BlobStore, desk: ReviewDesk, clock: Clock
) -> ComponentIndex:
    """The index in ``database``; cards are read from ``blobs``, levels from ``desk``."""
    engine: Engine = PostgresqlEngine() if database.url.file is None else SqliteEngine()
    return ComponentIndex(database, engine, Filling(database, blobs, engine, desk, clock))

"""Registries of many components, made up: the rows that publishing would have left.

Every project has a role of its own, of the version that as many publications leave; organisations
and the registrar have theirs; each role and each publication is a leaf of the public log, and each
publication an event. Made by the server's own functions are roles, leaves, checkpoints and the list
of what waits to be indexed; the other rows are inserted as those functions leave them.

Not real: of each role there is the newest version alone, where publishing leaves one for each
release; organisations came a few dozen to a transaction, and with as few snapshots, timestamps and
checkpoints, where publishing leaves one of each for every group of publishers.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from server_fixtures import World
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from forge_server.db.models import Event, MetadataVersion
from forge_server.services.log import append_act, append_role
from forge_server.services.rolebook import add_role
from signing.keys import PrivateKey, generate_key
from signing.profile import OrgProfile
from signing.role_edits import delegate, sign_role
from signing.roles import EXPIRY, parse_targets, verify_role

from .made_up import FILE_BYTES, FILES, PROJECTS, Pattern, name_of, org_of, summary_of
from .snapshot import new_targets

_BATCH = 25  # organisations in one transaction
_CACHE_KB = 500_000
_TABLES = {
    "metadata_versions": "id, role, version, data, log_index, created_at, published_at",
    "roles": "name, version, metadata_id, expires_at",
    "components": "id, organisation, name, kind, summary, license, languages, tasks, latest,"
    " versions, search_text, created_at, updated_at",
    "releases": "id, component_id, version, kind, details, manifest_sha256, bundle_sha256,"
    " total_bytes, file_count, publisher_id, publisher_key, role, role_version, snapshot_version,"
    " published_at, stored_at",
    "release_files": "release_id, path, size, sha256",
    "events": "id, at, actor, action, subject, outcome, detail",
}

Rows = dict[str, list[tuple[object, ...]]]


@dataclass
class Filled:
    """Fills a registry with ``components``; ``digests`` is the file that names their blobs."""

    components: int
    pattern: Pattern
    digests: Path
    role_bytes: int = 0  # of a project
    registrar_bytes: int = 0
    tree_files: int = 0  # of what the published tree would hold: how many, and of how many bytes
    tree_bytes: int = 0
    _ids: dict[str, int] = field(default_factory=dict)

    def fill(self, world: World, user: int) -> None:
        registry, now = world.registry, world.clock()
        registrar_key = world.authority_key("registrar")
        registrar = parse_targets(registry.roles.current("registrar"), "registrar").signed
        with registry.database.read() as session:
            self._ids = {
                "metadata": session.scalar(select(func.max(MetadataVersion.id))) or 0,
                "event": session.scalar(select(func.max(Event.id))) or 0,
                "component": 0,
                "release": 0,
            }
        organisations = -(-self.components // PROJECTS)
        with self.digests.open("wb") as digests, _in_bulk(world):
            for first in range(0, organisations, _BATCH):
                with registry.database.write() as session:
                    _hasty(session)
                    for number in range(first, min(first + _BATCH, organisations)):
                        key = generate_key("p256")
                        org = org_of(number)
                        delegate(registrar, org.decode(), [key.public], 1)
                        profile = OrgProfile(kind="academic", display_name=f"Institute {number}")
                        extra = registrar.delegations.roles[org.decode()].unrecognized_fields
                        extra["forge"] = profile.to_json()
                        found = self._organisation(session, number, key, now, user)
                        digests.write("".join(f"{each}\n" for each in found).encode())
        registrar.version += 1
        with registry.database.write() as session:
            data = sign_role(registrar, [registrar_key])
            add_role(session, "registrar", registrar.version, data, now)
            self.registrar_bytes = len(data)

    def _organisation(
        self, session: Session, number: int, key: PrivateKey, now: datetime, user: int
    ) -> list[str]:
        """Inserts it with its projects; returns the digests of their blobs."""
        org, at = org_of(number).decode(), _stored(now)
        session.connection().exec_driver_sql(
            "INSERT INTO organisations (name, skeleton, state, kind, display_name, created_at)"
            " VALUES (?, ?, 'approved', 'academic', ?, ?)",
            (org, org, f"Institute {number}", at),
        )
        rows: Rows = {table: [] for table in _TABLES}
        own, digests = new_targets(now), []
        for each in range(min(PROJECTS, self.components - number * PROJECTS)):
            name = name_of(each).decode()
            delegate(own, f"{org}.{name}", [key.public], 1)
            digests += self._component(session, rows, org, name, key, now, user)
        data = sign_role(own, [key])
        if number == 0:  # what a client would establish
            # A row is typed by none of its columns, being a tuple for one statement.
            for _, role, _, signed, *_ in rows["metadata_versions"]:
                verify_role(data, str(role), bytes(signed))  # type: ignore[call-overload]
        self._role(session, rows, org, 1, data, now)
        _insert(session, rows)
        return digests

    def _component(
        self,
        session: Session,
        rows: Rows,
        org: str,
        name: str,
        key: PrivateKey,
        now: datetime,
        user: int,
    ) -> list[str]:
        """Adds the rows of a component; returns the digests of its blobs."""
        at, pattern = _stored(now), self.pattern
        text = summary_of(org.encode(), name.encode())
        made = pattern.project(org.encode(), name.encode(), text, key)
        details = json.dumps({**pattern.details, "summary": text})
        id_ = self._next("component")
        rows["components"].append(
            (id_, org, name, "model", text, "Apache-2.0", '["ary"]', '["text-classification"]',
             pattern.versions[-1], len(made.releases),
             f"{org}/{name} {text} ary text-classification".casefold(), at, at)
        )  # fmt: skip
        digests = []
        for version, (manifest, bundle, files) in enumerate(made.releases):
            release, subject = self._next("release"), f"{org}/{name}=={pattern.versions[version]}"
            rows["releases"].append(
                (release, id_, pattern.versions[version], "model", details, manifest, bundle,
                 FILE_BYTES * len(FILES), len(FILES), user, key.public.keyid, f"{org}.{name}",
                 version + 1, 1, at, at)
            )  # fmt: skip
            for path, digest in zip(FILES, files, strict=True):
                rows["release_files"].append((release, path, FILE_BYTES, digest))
            said = {"manifest_sha256": manifest, "files": len(FILES), "bytes": 2 * FILE_BYTES}
            rows["events"].append(
                (self._next("event"), at, "sara", "release.publish", subject, "done",
                 json.dumps(said))
            )  # fmt: skip
            append_act(session, "release.publish", subject, manifest, now)
            digests += [manifest, bundle, *files]
        self._role(session, rows, f"{org}.{name}", len(made.releases), made.role, now)
        self.role_bytes = len(made.role)
        return digests

    def _role(
        self, session: Session, rows: Rows, role: str, version: int, data: bytes, now: datetime
    ) -> None:
        id_, at = self._next("metadata"), _stored(now)
        index = append_role(session, role, version, data)
        rows["metadata_versions"].append((id_, role, version, data, index, at, at))
        rows["roles"].append((role, version, id_, _stored(now + EXPIRY["project"])))
        self.tree_files += 2
        self.tree_bytes += len(data) + len(f"{index}\n")

    def _next(self, what: str) -> int:
        self._ids[what] += 1
        return self._ids[what]


@contextmanager
def _in_bulk(world: World) -> Iterator[None]:
    """Without the indexes that a row may be anywhere in: those are made at the end, each at once.
    What is unique stays so throughout."""
    database = world.registry.database
    query = "SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql NOT NULL AND tbl_name"
    marks = ", ".join("?" * len(_TABLES))
    with database.write() as session:
        _hasty(session)
        run = session.connection().exec_driver_sql
        rows: Sequence[Any] = run(f"{query} IN ({marks})", tuple(_TABLES)).all()
        indexes = [(name, sql) for name, sql in rows if not sql.startswith("CREATE UNIQUE")]
        for name, _ in indexes:
            run(f"DROP INDEX {name}")
    yield
    for _, sql in indexes:
        with database.write() as session:
            _hasty(session)
            session.connection().exec_driver_sql(sql)
    with database.write() as session:
        session.connection().exec_driver_sql(
            "INSERT INTO search_waiting (component_id, mark) SELECT id, id FROM components"
        )
    database.dispose()  # what comes now is as durable as ever


def _hasty(session: Session) -> None:
    """What is half made when the machine stops is thrown away: nothing has to be on the disk."""
    connection = session.connection().connection.driver_connection
    assert connection is not None
    # Not in a transaction, in which it changes nothing.
    connection.execute("COMMIT")
    for pragma in ("synchronous = OFF", f"cache_size = -{_CACHE_KB}", "foreign_keys = OFF"):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN IMMEDIATE")


def _insert(session: Session, rows: Rows) -> None:
    for table, columns in _TABLES.items():
        marks = ", ".join("?" * (columns.count(",") + 1))
        session.connection().exec_driver_sql(
            f"INSERT INTO {table} ({columns}) VALUES ({marks})",
            rows[table],
        )


def _stored(at: datetime) -> str:
    return f"{at.astimezone(UTC):%F %H:%M:%S.%f}"

"""A registry of an older version: what its rows become when it is migrated."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from server_fixtures import engine_of, new_database
from sqlalchemy import Connection, text

from forge_server.db import migrate
from forge_server.db.engine import open_database
from forge_server.db.url import DatabaseUrl
from forge_server.services.pages_component import ComponentPages
from forge_server.services.withheld import withheld_by_digest
from signing.names import ComponentName

AT = "2026-01-01 00:00:00"
PROFILE = {
    "kind": "academic", "display_name": "Lab", "region": "MA-04", "contact": "lab@example",
    "names": {"ar": "مختبر"},
}  # fmt: skip
ROWS: dict[str, list[dict[str, Any]]] = {
    "users": [{"id": 1, "name": "sara", "created_at": AT}],
    "organisations": [
        {
            "name": name, "skeleton": name, "state": "approved", "kind": "academic",
            "display_name": "Lab", "created_at": AT,
        }
        for name in ("lab", "old-lab")
    ],
    "metadata_versions": [
        {
            "id": 1, "role": "registrar", "version": 2, "created_at": AT,
            "data": json.dumps(
                {"signed": {"delegations": {"roles": [
                    {"name": "lab", "forge": PROFILE},
                    {"name": "old-lab", "forge": {"kind": "academic", "display_name": "Lab"}},
                ]}}}
            ).encode(),
        }
    ],
    "roles": [{"name": "registrar", "version": 2, "metadata_id": 1, "expires_at": AT}],
    "components": [
        {
            "id": number, "organisation": "lab", "name": name, "kind": "model", "summary": "s",
            "license": "MIT", "languages": "[]", "tasks": "[]", "latest": "2.0.0", "versions": 2,
            "search_text": "", "created_at": AT, "updated_at": AT,
        }
        for number, name in ((1, "base"), (2, "tuned"))
    ],
    "releases": [
        {
            "id": number * 10 + version, "component_id": number, "version": f"{version}.0.0",
            "kind": "model", "manifest_sha256": f"{number}{version}" * 32,
            "bundle_sha256": "b" * 64, "total_bytes": 1, "file_count": 1, "publisher_id": 1,
            "publisher_key": "k", "role": "lab.x", "role_version": 1, "snapshot_version": 1,
            "published_at": AT,
            "details": json.dumps(
                {"summary": "s", "license": "MIT", "languages": [], "tasks": [],
                 "requires": {"lab/base": ">=1"} if (number, version) == (2, 2) else {}}
            ),
        }
        for number in (1, 2)
        for version in (1, 2)
    ],
}  # fmt: skip


@pytest.fixture(params=["sqlite", "postgresql"])
def old(request: pytest.FixtureRequest, tmp_path: Path) -> DatabaseUrl:
    """A database at revision 0005 with some rows."""
    made = new_database(request, request.param)
    url = DatabaseUrl.of_file(tmp_path / "x.db") if made is None else DatabaseUrl(made)
    config = migrate._config()
    with engine_of(url) as engine, engine.begin() as connection:
        config.attributes["connection"] = connection
        config.attributes["target_metadata"] = None
        command.upgrade(config, "0005")
        _insert(connection)
    return url


def _insert(connection: Connection) -> None:
    for table, rows in ROWS.items():
        for row in rows:
            names = ", ".join(row)
            values = ", ".join(f":{name}" for name in row)
            connection.execute(
                text(f"INSERT INTO {table} ({names}) VALUES ({values})"),
                row,
            )


def test_what_the_registrar_signed_and_what_is_required_is_taken_over(old: DatabaseUrl) -> None:
    assert migrate.migrate(old)[0] == "0005"
    database = open_database(old)
    try:
        pages = ComponentPages(database)
        owner = pages.owner("lab")
        assert (owner.region, owner.contact, owner.names) == (
            "MA-04", "lab@example", {"ar": "مختبر"},
        )  # fmt: skip
        assert (pages.owner("old-lab").region, pages.owner("old-lab").names) == (None, {})
        required = ComponentName.parse("lab/base")
        assert [one.component for one in pages.required_by(required)] == ["lab/tuned"]
    finally:
        database.dispose()


def test_every_component_waits_to_be_indexed(old: DatabaseUrl) -> None:
    migrate.migrate(old)
    with engine_of(old) as engine, engine.connect() as connection:
        waiting = connection.execute(text("SELECT component_id FROM search_waiting"))
        assert sorted(waiting.scalars()) == [1, 2]


WITHHELD = {
    "component": "lab/base", "version": "1.0.0", "manifest_sha256": "11" * 32, "reason": "odd",
    "since": "2026-01-31T12:00:00Z", "state": "revoked",
}  # fmt: skip


@pytest.mark.parametrize("named", [True, False], ids=["named", "not named"])
def test_what_the_status_host_withholds_is_taken_over(old: DatabaseUrl, named: bool) -> None:
    """From its signed word, if the authority names a status host."""
    signed: dict[str, Any] = {
        "targets": {"delegations": {"roles": [{"name": "status"}] if named else []}},
        "status": {"forge": {"withheld": [WITHHELD]}},
    }
    with engine_of(old) as engine, engine.begin() as connection:
        for number, (role, content) in enumerate(signed.items(), 2):
            data = json.dumps({"signed": content}).encode()
            connection.execute(
                text("INSERT INTO metadata_versions (id, role, version, created_at, data) "
                     "VALUES (:id, :role, 1, :at, :data)"),
                {"id": number, "role": role, "at": AT, "data": data},
            )  # fmt: skip
            connection.execute(
                text("INSERT INTO roles (name, version, metadata_id, expires_at) "
                     "VALUES (:role, 1, :id, :at)"),
                {"id": number, "role": role, "at": AT},
            )  # fmt: skip
    migrate.migrate(old)
    database = open_database(old)
    try:
        with database.read() as session:
            found = withheld_by_digest(session)
    finally:
        database.dispose()
    shown = {digest: (one.release, str(one)) for digest, one in found.items()}
    expected = ("lab/base==1.0.0", "revoked since 2026-01-31 12:00 UTC: odd")
    assert shown == ({"11" * 32: expected} if named else {})


def test_names_of_distributions_go_to_who_published_them_first(old: DatabaseUrl) -> None:
    with engine_of(old) as engine, engine.begin() as connection:
        for component, release, path in (
            (2, 22, "dist/Gov_Demo-2.0-py3-none-any.whl"),
            (1, 11, "gov_demo-1.0-py3-none-any.whl"),
            (1, 11, "gov_other-1.0.tar.gz"),
            (2, 21, "no-name.whl"),
        ):
            connection.execute(
                text("UPDATE releases SET kind = 'library' WHERE id = :id AND component_id = :c"),
                {"id": release, "c": component},
            )
            connection.execute(
                text(
                    "INSERT INTO release_files (release_id, path, size, sha256) "
                    "VALUES (:id, :path, 1, :sha256)"
                ),
                {"id": release, "path": path, "sha256": "a" * 64},
            )
    migrate.migrate(old)
    with engine_of(old) as engine, engine.connect() as connection:
        names = connection.execute(text("SELECT name, component_id FROM distributions"))
        assert sorted(map(tuple, names)) == [("gov-demo", 1), ("gov-other", 1)]
        files = connection.execute(text("SELECT release_id, path FROM distribution_files"))
        assert sorted(map(tuple, files)) == [
            (11, "gov_demo-1.0-py3-none-any.whl"), (11, "gov_other-1.0.tar.gz"),
        ]  # fmt: skip


def test_verdicts_are_taken_to_be_about_the_severity_of_today(old: DatabaseUrl) -> None:
    config, digest = migrate._config(), "11" * 32
    with engine_of(old) as engine, engine.begin() as connection:
        config.attributes["connection"] = connection
        config.attributes["target_metadata"] = None
        command.upgrade(config, "0016")
        for number, verdict in ((1, "'verified'"), (2, "NULL")):
            connection.execute(
                text(
                    "INSERT INTO findings (manifest_sha256, id, scanner, severity, path, location,"
                    f" title, first_seen_at, last_seen_at) VALUES ('{digest}', 'x:{number}',"
                    f" 'x', 'high', 'p', '', 't', '{AT}', '{AT}')"
                )
            )
            connection.execute(
                text(
                    "INSERT INTO answers (id, manifest_sha256, finding, type, text, links, user_id,"
                    f" answered_at, verdict) VALUES ({number}, '{digest}', 'x:{number}',"
                    f" 'mitigated', 't', '[]', 1, '{AT}', {verdict})"
                )
            )
    migrate.migrate(old)
    with engine_of(old) as engine, engine.connect() as connection:
        judged = connection.execute(text("SELECT verdict_severity FROM answers ORDER BY id"))
        assert list(judged.scalars()) == ["high", None]
        same = text("SELECT count(*) FROM findings WHERE severity_since = first_seen_at")
        assert connection.execute(same).scalar() == 2

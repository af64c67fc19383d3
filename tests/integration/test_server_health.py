"""The health page and what the interface says of roles that expire."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from server_fixtures import (  # noqa: F401
    ORG,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    schema_engine,
    url_of,
    world,
)
from sqlalchemy import text

from forge_server.db.migrate import migrate
from signing.renewal import signed_expiry


@pytest.mark.parametrize(
    ("days", "status", "roles"),
    [
        (0, "ok", []),
        (29, "ok", []),
        (31, "warning", ["registrar"]),
        (91, "problem", ["registrar"]),
        (341, "problem", ["registrar", "root", "targets", ORG, f"{ORG}.my-model"]),
    ],
)
def test_roles_are_named_from_sixty_days_ahead(
    world: World, sara: Client, days: int, status: str, roles: list[str]
) -> None:
    sara.publish(world.release())
    world.clock.ahead += timedelta(days=days, minutes=5)
    stranger = Client(sara.flask)
    health = stranger.get("/api/v1/health", expect=200)
    assert health["status"] == status
    assert sorted(item["role"] for item in health["expiring"]) == sorted(roles)
    for path, named in (
        (f"/api/v1/organisations/{ORG}", {ORG, f"{ORG}.my-model"}),
        (f"/api/v1/components/{ORG}/my-model", {ORG, f"{ORG}.my-model"}),
    ):
        shown = stranger.get(path, expect=200)["expiring"]
        assert {item["role"] for item in shown} == named & set(roles)


def test_the_page_is_for_people_and_for_programs(world: World, client: Client) -> None:
    world.clock.ahead += timedelta(days=40)
    page = client.flask.get("/health", headers={"Accept": "text/html"})
    assert (page.status_code, "registrar" in page.text) == (200, True)
    assert "Health: warning" in page.text
    answer = client.flask.get("/health", headers={"Accept": "application/json"})
    assert answer.json["status"] == "warning"  # type: ignore[index]
    assert answer.headers["Vary"] == "Accept"


def test_a_role_that_was_signed_anew_is_no_longer_named(world: World, sara: Client) -> None:
    from signing.renewal import renew_role

    sara.publish(world.release())
    world.clock.ahead += timedelta(days=350)
    new = renew_role(world.registry.roles.current(ORG), ORG, [world.key(ORG)], world.clock())
    current = {item["role"] for item in sara.get("/api/v1/health")["expiring"]}
    assert ORG in current
    # The registrar's role has expired by now; what is below it is checked by its signatures.
    sara.post("/api/v1/roles", {"roles": {ORG: new.decode()}}, expect=200)
    assert ORG not in {item["role"] for item in sara.get("/api/v1/health")["expiring"]}


_LATER_TABLES = (
    "webhook_deliveries", "webhooks", "upstream_files", "upstream_projects", "device_codes",
    "chunk_checks", "upkeep", "blob_leases", "blob_damage", "quotas", "downloads", "requirements",
    "search_fts", "search_words_fts", "search_lexemes", "search_words", "search_waiting",
    "search_documents", "search_state",
    "wheel_metadata", "distribution_files", "distributions", "organisation_policies",
    "review_claims", "review_statements", "recall_notices", "recalls", "installations", "answers",
    "reports", "taken_blobs", "withheld", "scan_rounds", "scan_claims", "findings", "scans",
)  # fmt: skip
_LATER_INDEXES = (
    "ix_components_updated_at",
    "ix_releases_published_at",
    "ix_events_subject",
    "ix_releases_yanked_at",
)


def test_a_database_from_before_learns_when_its_roles_expire(
    world: World, sara: Client, tmp_path: Path
) -> None:
    sara.publish(world.release())
    expected = {
        name: signed_expiry(world.registry.roles.current(name), name)
        for name in ("root", ORG, f"{ORG}.my-model")
    }
    world.close()
    with schema_engine(world.root) as engine, engine.begin() as connection:
        for later in _LATER_TABLES:
            connection.execute(text(f"DROP TABLE IF EXISTS {later}"))
        for later in _LATER_INDEXES:
            connection.execute(text(f"DROP INDEX {later}"))
        for later in ("yanked_successor", "deprecated"):
            connection.execute(text(f"ALTER TABLE releases DROP COLUMN {later}"))
        for later in ("region", "contact", "names"):
            connection.execute(text(f"ALTER TABLE organisations DROP COLUMN {later}"))
        connection.execute(text("DROP INDEX ix_roles_expires_at"))
        for later in ("expires_at", "noticed_days"):
            connection.execute(text(f"ALTER TABLE roles DROP COLUMN {later}"))
        connection.execute(text("ALTER TABLE organisations DROP COLUMN refusal"))
        connection.execute(text("UPDATE alembic_version SET version_num = '0002'"))
    assert migrate(url_of(world.root))[0] == "0002"
    from forge_server.services.rolebook import expiries

    with world.reopen().database.read() as session:
        assert expiries(session, expected) == expected

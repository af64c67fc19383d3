"""What grows with the releases is asked by an index, whoever asks: a page that went through all
releases would take seconds of a processor at a million of them, for anybody who opens it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from server_fixtures import ON_SQLITE, ORG, Client, World, _fresh_registry, client, sara, world
from sqlalchemy import Engine, event

from forge_server.app import create_app
from forge_server.services import pages_registry

__all__ = ["_fresh_registry", "client", "sara", "world"]

# Tables with a row, or several, for each release.
GROWING = ("releases", "release_files", "events", "metadata_versions", "log_entries", "log_hashes")
NAME = f"{ORG}/my-model"
# Counts of everything: kept for an hour where there are many, and asked by operators.
COUNTS = ("/en/statistics", "/metrics")
ADDRESSES = (
    "/en/", "/en/search?q=model", "/en/log", "/en/reviews", "/en/tombstones", "/en/trust",
    "/en/regions/", "/en/regions/MA-04", f"/en/{ORG}", f"/en/{ORG}.atom", "/en/tombstones.atom",
    f"/en/{NAME}", f"/en/{NAME}/versions", f"/en/{NAME}/files", f"/en/{NAME}/lineage",
    f"/en/{NAME}/security", f"/en/{NAME}/use", f"/en/{NAME}/history", f"/en/{NAME}/1.0.0",
    f"/en/{NAME}.atom", f"/en/{NAME}.jsonld", f"/en/{NAME}/badge.svg", "/sitemap.xml",
    "/sitemaps/1.xml", "/health", "/api/v1/components?q=model", f"/api/v1/components/{NAME}",
    "/hf/api/models?search=model", f"/hf/api/models/{NAME}", "/simple/", "/v2/_catalog",
    f"/v2/{NAME}/tags/list", f"/en/verify?sha256={'0' * 64}", f"/blobs/{'0' * 64}",
    "/osv/v1/vulns/nothing",
)  # fmt: skip


class Plans:
    """How SQLite would answer each statement that it was asked."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine
        self.asked: dict[str, Any] = {}

    def _note(self, *arguments: Any) -> None:
        self.asked.setdefault(arguments[2], arguments[3])

    @contextmanager
    def noted(self) -> Iterator[None]:
        self.asked.clear()
        event.listen(self.engine, "before_cursor_execute", self._note)
        try:
            yield
        finally:
            event.remove(self.engine, "before_cursor_execute", self._note)

    def walks(self) -> list[tuple[str, str]]:
        """(step of the plan, statement) of all that walk through a whole table that grows."""
        found = []
        with self.engine.connect() as connection:
            for statement, values in self.asked.items():
                plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", values)
                found += [
                    (step[3], statement)
                    for step in plan
                    if step[3].startswith("SCAN")
                    and step[3].split()[1] in GROWING
                    # Nothing but what it is over is in this one.
                    and "ix_releases_yanked_at" not in step[3]
                ]
        return found


@pytest.fixture
def plans(world: World, sara: Client) -> Plans:
    sara.publish(world.release())
    engine = world.registry.database.reading.kw["bind"]
    return Plans(engine)


@ON_SQLITE  # the plans of PostgreSQL depend on how many rows there are
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_address_walks_through_what_grows(world: World, plans: Plans, address: str) -> None:
    browser = create_app(world.registry).test_client()
    with plans.noted():
        answer = browser.get(address)
    assert answer.status_code in (200, 404), answer.text
    assert plans.asked
    assert plans.walks() == []


@ON_SQLITE
@pytest.mark.parametrize("address", COUNTS)
def test_counts_are_the_only_ones_that_do(world: World, plans: Plans, address: str) -> None:
    """So this would notice if plans were told in other words."""
    browser = create_app(world.registry).test_client()
    with plans.noted():
        assert browser.get(address).status_code == 200
    assert plans.walks()


def test_figures_of_many_releases_are_counted_once_an_hour(
    world: World, sara: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    pages = world.registry.registry_pages
    sara.publish(world.release())
    assert pages.figures().versions == 1
    sara.publish(world.release(version="1.1.0"))
    assert pages.figures().versions == 2, "of few each is counted"
    monkeypatch.setattr(pages_registry, "_MANY", 2)
    sara.publish(world.release(version="1.2.0"))
    assert pages.figures().versions == 2
    world.clock.ahead += timedelta(minutes=59)
    assert pages.figures().versions == 2
    world.clock.ahead += timedelta(minutes=2)
    assert pages.figures().versions == 3


@ON_SQLITE
def test_nothing_is_read_beside_the_components_before_a_page(world: World, plans: Plans) -> None:
    """Of half a million the releases and organisations of all were joined, to count and to skip."""
    with plans.noted():
        assert world.registry.catalogue.search("model", limit=5, offset=0).total == 1
    counting = [each for each in plans.asked if "count(" in each]
    skipping = [each.rpartition("(SELECT")[2] for each in plans.asked if "OFFSET" in each]
    assert len(counting) == len(skipping) == 1
    for statement in (*counting, *skipping):
        assert "JOIN" not in statement
        assert "releases" not in statement

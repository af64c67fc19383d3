"""Offers of releases, through the API."""

from __future__ import annotations

from typing import Any

from server_fixtures import ORG, Built, Client, World

from forge_server.operate.check import check_registry

NAME = f"{ORG}/my-model"
ROLE = f"{ORG}.my-model"


def offer(who: Client, built: Built, **expected: Any) -> Any:
    return who.post("/api/v1/releases", built.body(), **expected)


def assert_nothing_happened(world: World) -> None:
    assert world.registry.catalogue.search("", limit=10, offset=0).total == 0
    assert world.current(ROLE) is None
    assert check_registry(world.registry, deep=True).problems == ()

"""New signatures over published releases: who may send them, and what they may change."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from server_fixtures import (  # noqa: F401
    ORG,
    Built,
    Client,
    World,
    _fresh_registry,
    client,
    sara,
    world,
)

from signing.keys import generate_key
from signing.names import ComponentName
from signing.oms import sign_bundle
from signing.publisher_edits import revoke_publisher, set_publishers
from signing.role_edits import replace_bundles

NAME = ComponentName.parse(f"{ORG}/my-model")
NEW = generate_key("p256")


@pytest.fixture
def revoked(world: World, sara: Client) -> Built:
    """A release whose publisher's key the organisation revoked; `NEW` publishes now."""
    old = generate_key("p256")
    built = world.release(key=old)
    sara.publish(built)
    org_key, now = world.key(ORG), world.clock()
    role = world.registry.roles.current(ORG)
    both = set_publishers(role, NAME, [old.public, NEW.public], 1, [org_key], now)
    sara.post("/api/v1/roles", {"roles": {ORG: both.decode()}}, expect=200)
    at = now - timedelta(days=1)
    without = revoke_publisher(both, NAME, old.public, at, "stolen", [org_key], now)
    sara.post("/api/v1/roles", {"roles": {ORG: without.decode()}}, expect=200)
    return built


def resigned(world: World, built: Built) -> tuple[dict[str, Any], bytes]:
    manifest = built.manifest
    bundle = sign_bundle(manifest.files, str(manifest), NEW)
    current = world.registry.roles.current(NAME.role)
    role = replace_bundles(current, NAME, {"1.0.0": bundle}, [NEW], world.clock())
    body = {
        "component": str(NAME),
        "role": role.decode(),
        "bundles": {"1.0.0": bundle.decode()},
    }
    return body, bundle


def bundle_path(bundle: bytes) -> str:
    import hashlib

    digest = hashlib.sha256(bundle).hexdigest()
    return f"/tuf/targets/{NAME}/1.0.0/{digest}.release.sigstore.json"


def test_a_new_bundle_is_published(world: World, sara: Client, revoked: Built) -> None:
    body, bundle = resigned(world, revoked)
    answer = sara.post("/api/v1/signatures", body, expect=200)
    assert answer["versions"] == ["1.0.0"]
    assert sara.get(bundle_path(bundle), expect=200)
    shown = sara.get(f"/api/v1/components/{NAME}", expect=200)
    assert shown["versions"][0]["publisher_key"] == NEW.public.keyid
    assert shown["versions"][0]["manifest_sha256"] == revoked.manifest.digest
    # Somebody was faster: the same again is too late.
    sara.post("/api/v1/signatures", body, expect=409, code="role-version")


def test_a_bundle_that_came_while_the_tree_was_written_is_published_too(
    world: World, sara: Client, revoked: Built
) -> None:
    """What another process read before the change must not mark the new bundle as written."""
    publication = world.registry.publication
    body, bundle = resigned(world, revoked)
    with world.registry.database.write() as session:
        from forge_server.db.models import Release

        session.query(Release).update({"stored_at": None})
    slow = publication._todo()
    materialise = type(publication).materialise
    type(publication).materialise = lambda self: 0  # type: ignore[method-assign,assignment]
    try:
        sara.post("/api/v1/signatures", body, expect=200)
    finally:
        type(publication).materialise = materialise  # type: ignore[method-assign]
    publication._mark(slow, None)
    publication.materialise()
    assert sara.get(bundle_path(bundle), expect=200)


@pytest.mark.parametrize("who", ["nobody", "stranger"])
def test_only_publishers_may(world: World, sara: Client, revoked: Built, who: str) -> None:
    body, _ = resigned(world, revoked)
    other = Client(sara.flask, None if who == "nobody" else world.user("other"))
    code = {"nobody": "not-authenticated", "stranger": "not-a-member"}[who]
    other.post("/api/v1/signatures", body, code=code)


def test_what_does_not_hold_is_refused(world: World, sara: Client, revoked: Built) -> None:
    body, _ = resigned(world, revoked)
    old = revoked.bundle.decode()
    sara.post("/api/v1/signatures", {**body, "bundles": {"1.0.0": old}}, expect=422)
    sara.post("/api/v1/signatures", {**body, "bundles": {}}, expect=400, code="malformed")
    sara.post(
        "/api/v1/signatures",
        {**body, "bundles": {"9.9.9": old}},
        expect=404,
        code="component-not-found",
    )
    sara.post("/api/v1/signatures", {**body, "bundles": {"1.0.0": 5}}, expect=400, code="malformed")
    # A role update alone cannot bring a bundle that is not here.
    roles = {NAME.role: body["role"]}
    sara.post("/api/v1/roles", {"roles": roles}, expect=409, code="version-taken")

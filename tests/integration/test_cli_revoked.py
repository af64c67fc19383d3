"""Revoked keys against a server that wishes they were not: genuine bytes, wrongly mixed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from builders import NAME, Release, World, changed_role, signed_release, static_files, tree
from cli_fixtures import Forge, new_world
from forge_client import forge
from static_server import StaticServer

from signing.keys import PrivateKey, generate_key
from signing.oms import sign_bundle
from signing.publisher_edits import revoke_publisher, set_publishers
from signing.role_edits import add_release, replace_bundles

__all__ = ["forge"]


class Revoked:
    """A world in which the publisher's key was stolen, revoked and replaced."""

    def __init__(self) -> None:
        self.world: World = new_world()
        self.release = self.world.publish(tree())
        self.stolen: PrivateKey = self.world.project_keys[str(NAME)]
        self.fresh = generate_key("p256")
        self.before = {role: self.world.roles[role] for role in (NAME.org, NAME.role)}
        org_key, now = self.world.org_keys[NAME.org], self.world.now
        keys = [self.stolen.public, self.fresh.public]
        both = set_publishers(self.world.roles[NAME.org], NAME, keys, 1, [org_key], now)
        self.world.set_role(NAME.org, both)
        at = now - timedelta(days=2)
        self.world.set_role(
            NAME.org,
            revoke_publisher(both, NAME, self.stolen.public, at, "stolen", [org_key], now),
        )

    def resign(self) -> None:
        manifest = self.release.manifest
        bundle = sign_bundle(manifest.files, str(manifest), self.fresh)
        current = self.world.roles[NAME.role]
        self.world.set_role(
            NAME.role,
            replace_bundles(current, NAME, {"1.0.0": bundle}, [self.fresh], self.world.now),
        )
        self.world.releases["resigned"] = Release(
            files=self.release.files, manifest=manifest, bundle=bundle
        )

    def steal(self, version: str) -> Release:
        """A release that the thief signed after the revocation."""
        evil = signed_release(tree(version=version), self.stolen)
        self.world.releases[version] = evil
        return evil


def install(forge: Forge, world: World, version: str = "1.0.0") -> Any:
    with StaticServer(world.files()) as server:
        forge.trust(server, world)
        return forge("install", f"{NAME}=={version}", "--into", "out")


def refused(forge: Forge, ran: Any, *words: str) -> None:
    assert ran.code == 3, ran.err
    for word in words:
        assert word in ran.err, ran.err
    assert forge.nothing_installed()


def test_signed_before_the_revocation_and_by_nobody_since(forge: Forge) -> None:
    case = Revoked()
    case.world.publish_metadata()
    keyid = case.stolen.public.keyid[:12]
    refused(forge, install(forge, case.world), keyid, "revoked since", "forge resign")


def test_signed_before_and_listed_by_the_new_publisher_without_a_new_signature(
    forge: Forge,
) -> None:
    case = Revoked()
    role = replace_bundles(case.before[NAME.role], NAME, {}, [case.fresh], case.world.now)
    case.world.set_role(NAME.role, role)
    case.world.publish_metadata()
    refused(forge, install(forge, case.world), "revoked since", f"forge resign {NAME}==1.0.0")


def test_signed_again_by_the_new_key(forge: Forge) -> None:
    case = Revoked()
    case.resign()
    case.world.publish_metadata()
    assert install(forge, case.world).code == 0


def test_signed_after_the_revocation_with_the_stolen_key(forge: Forge) -> None:
    """The thief holds the publisher's key and the server's two: still nothing new."""
    case = Revoked()
    evil = case.steal("6.6.6")
    role = add_release(
        case.before[NAME.role], evil.manifest, evil.bundle, [case.stolen], case.world.now
    )
    case.world.set_role(NAME.role, role)
    case.world.publish_metadata()
    refused(forge, install(forge, case.world, "6.6.6"), "revoked since")


def test_the_new_publisher_was_tricked_into_listing_what_the_thief_signed(forge: Forge) -> None:
    case = Revoked()
    case.resign()
    evil = case.steal("6.6.6")
    role = add_release(
        case.world.roles[NAME.role], evil.manifest, evil.bundle, [case.fresh], case.world.now
    )
    case.world.set_role(NAME.role, role)
    case.world.publish_metadata()
    refused(forge, install(forge, case.world, "6.6.6"), "revoked since")


def test_the_index_is_new_but_the_old_bundle_is_served(forge: Forge) -> None:
    case = Revoked()
    case.resign()
    case.world.publish_metadata()
    resigned = case.world.releases["resigned"]
    path = next(path for path in static_files(resigned) if path.endswith("sigstore.json"))
    served = {**case.world.files(), path: case.release.bundle}
    with StaticServer(served) as server:
        forge.trust(server, case.world)
        ran = forge("install", str(NAME), "--into", "out")
    refused(forge, ran, "release.sigstore.json")


def test_a_server_cannot_take_the_revocation_back(forge: Forge) -> None:
    case = Revoked()

    def forget(signed: dict[str, Any]) -> None:
        role = signed["delegations"]["roles"][0]
        del role["forge"]
        role["keyids"] = [case.stolen.public.keyid]

    genuine = case.world.roles[NAME.org]
    for key in (case.stolen, case.world.snapshot_key, case.world.timestamp_key):
        forged = changed_role(genuine, [key], forget)
        case.world.set_role(NAME.org, forged)
        case.world.publish_metadata()
        refused(forge, install(forge, case.world), NAME.org)


def test_a_returning_client_is_not_shown_the_time_before(forge: Forge) -> None:
    """The genuine roles from before the revocation, announced by the stolen server keys."""
    case = Revoked()
    case.world.publish_metadata()
    with StaticServer(case.world.files()) as server:
        forge.trust(server, case.world)
        first = forge("info", str(NAME))
        assert (first.code, "revoked since" in first.err) == (3, True)
        for role, data in case.before.items():
            case.world.roles[role] = data
        case.world.publish_metadata()
        server.files.update(case.world.files())
        ran = forge("install", str(NAME), "--into", "out")
    refused(forge, ran, "no older than")


def test_what_is_kept_in_the_cache_does_not_outlive_a_revocation(forge: Forge) -> None:
    """Verified once and kept; then the key is revoked, and the registry is asked again."""
    case = Revoked()
    after = dict(case.world.roles)
    case.world.roles.update(case.before)
    case.world.publish_metadata()
    with StaticServer(case.world.files()) as server:
        forge.trust(server, case.world)
        forge.ok("install", str(NAME), "--into", "first")
        case.world.roles.update(after)
        # The index as the new publisher signed it: only the release itself is the stolen key's.
        role = replace_bundles(case.before[NAME.role], NAME, {}, [case.fresh], case.world.now)
        case.world.set_role(NAME.role, role)
        case.world.publish_metadata()
        server.files.update(case.world.files())
        ran = forge("install", str(NAME), "--into", "out")
    refused(forge, ran, "revoked since")

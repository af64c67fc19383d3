"""What a registry checks before it accepts a role or a release."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any

import pytest
from builders import NAME, NOW, World, changed_role, later, manifest_of, signed_release, tree

from signing.errors import ConflictError, SigningError, VerificationError
from signing.keys import PrivateKey, generate_key
from signing.names import ComponentName, parse_version
from signing.oms import sign_bundle
from signing.profile import OrgProfile
from signing.role_edits import add_organisation, add_project, add_release, new_role, set_yanked
from signing.roles import EXPIRY, parse_targets, releases_of, role_version
from signing.updates import CLOCK_SKEW, check_offer, check_role_update, check_shape

Change = Callable[[dict[str, Any]], object]
WORLD = World()
RELEASE = WORLD.publish(tree(requires={"a/b": ">=1"}))
WORLD.publish(tree(version="1.1.0"))
ORG_KEY, PUBLISHER = WORLD.org_keys[NAME.org], WORLD.project_keys[str(NAME)]
REGISTRAR_KEY, TARGETS_KEY = WORLD.authority.registrar_key, WORLD.authority.targets_key
TARGETS, REGISTRAR = WORLD.roles["targets"], WORLD.roles["registrar"]
ORG, PROJECT = WORLD.roles[NAME.org], WORLD.roles[NAME.role]
STRANGER = generate_key("p256")
OTHER = ComponentName.parse("minds-lab/other")

ROLES = {
    "registrar": (REGISTRAR, TARGETS, REGISTRAR_KEY),
    "organisation": (ORG, REGISTRAR, ORG_KEY),
    "project": (PROJECT, ORG, PUBLISHER),
}
NAMES = {"registrar": "registrar", "organisation": NAME.org, "project": NAME.role}
EVERY_LEVEL = pytest.mark.parametrize("level", ROLES)


def next_of(level: str, change: Change = lambda s: None, *keys: PrivateKey) -> bytes:
    """The next version of the role, changed, signed by its own key or by ``keys``."""
    data, _, key = ROLES[level]

    def apply(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        change(signed)

    return changed_role(data, keys or [key], apply)


def check(level: str, new: bytes, current: bytes | None = b"") -> None:
    data, parent, _ = ROLES[level]
    check_role_update(NAMES[level], new, data if current == b"" else current, parent, NOW)


def code_of(level: str, new: bytes, current: bytes | None = b"") -> str:
    with pytest.raises(SigningError) as caught:
        check(level, new, current)
    return caught.value.code


@EVERY_LEVEL
def test_accepts_the_next_version(level: str) -> None:
    check(level, next_of(level))


@EVERY_LEVEL
@pytest.mark.parametrize("step", [-1, 0, 2, 100, 2**31])
def test_refuses_any_but_the_next_version(level: str, step: int) -> None:
    current = role_version(ROLES[level][0])
    new = next_of(level, lambda s: s.update(version=max(1, current + step)))
    with pytest.raises(ConflictError) as caught:
        check(level, new)
    assert caught.value.code == "role-version"
    assert caught.value.facts == {"current_version": current}


@EVERY_LEVEL
def test_the_first_version_is_one(level: str) -> None:
    first = next_of(level, lambda s: s.update(version=1))
    check(level, first, None)
    assert code_of(level, next_of(level, lambda s: s.update(version=2)), None) == "role-version"


@EVERY_LEVEL
def test_the_same_bytes_again_are_not_the_next_version(level: str) -> None:
    assert code_of(level, ROLES[level][0]) == "role-version"


@EVERY_LEVEL
@pytest.mark.parametrize(
    "key", [STRANGER, WORLD.snapshot_key, WORLD.timestamp_key], ids=["stranger", "snap", "time"]
)
def test_refuses_keys_that_the_parent_does_not_list(level: str, key: PrivateKey) -> None:
    assert code_of(level, next_of(level, lambda s: None, key)) == "threshold-not-met"


def expires(instant: Any) -> Change:
    return lambda s: s.update(expires=f"{instant:%Y-%m-%dT%H:%M:%SZ}")


@EVERY_LEVEL
@pytest.mark.parametrize(
    ("shift", "good"),
    [
        (timedelta(0), False),
        (timedelta(seconds=-1), False),
        (timedelta(days=-365), False),
        (timedelta(seconds=1), True),
        (None, True),
    ],
    ids=["now", "just-expired", "long-expired", "a-second-left", "longest"],
)
def test_refuses_an_expired_role(level: str, shift: timedelta | None, good: bool) -> None:
    longest = EXPIRY[level] + CLOCK_SKEW
    new = next_of(level, expires(NOW + (longest if shift is None else shift)))
    if good:
        check(level, new)
    else:
        assert code_of(level, new) == "expired"


@EVERY_LEVEL
@pytest.mark.parametrize("more", [timedelta(seconds=1), timedelta(days=36500)])
def test_refuses_a_role_that_lives_too_long(level: str, more: timedelta) -> None:
    new = next_of(level, expires(NOW + EXPIRY[level] + CLOCK_SKEW + more))
    assert code_of(level, new) == "expired"


# --- what each level may hold -------------------------------------------------------------


def delegated(role_name: str, **changed: Any) -> Change:
    """Adds a delegation to ``name`` with its proper paths, or as ``changed`` says."""
    folder = role_name.replace(".", "/")
    paths = [f"{folder}/*/*" if "." in role_name else f"{folder}/*/*/*"]

    def apply(signed: dict[str, Any]) -> None:
        delegations = signed.setdefault("delegations", {"keys": {}, "roles": []})
        delegations["keys"][STRANGER.public.keyid] = STRANGER.public.tuf.to_dict()
        role = {
            "name": role_name,
            "keyids": [STRANGER.public.keyid],
            "threshold": 1,
            "terminating": True,
            "paths": paths,
            **changed,
        }
        delegations["roles"].append({key: value for key, value in role.items() if value != "gone"})

    return apply


def with_target(path: str) -> Change:
    return lambda s: s["targets"].update({path: {"length": 1, "hashes": {"sha256": "0" * 64}}})


def succinct(signed: dict[str, Any]) -> None:
    signed["delegations"] = {
        "keys": {STRANGER.public.keyid: STRANGER.public.tuf.to_dict()},
        "succinct_roles": {
            "keyids": [STRANGER.public.keyid],
            "threshold": 1,
            "bit_length": 4,
            "name_prefix": "minds-lab.x",
        },
    }


BEYOND_THE_LEVEL: dict[str, tuple[str, Change, str]] = {
    "registrar-targets": ("registrar", with_target("minds-lab/a/1/x"), "path-not-delegated"),
    "registrar-names-a-project": ("registrar", delegated("b.x"), "malformed"),
    "registrar-names-a-reserved-word": ("registrar", delegated("api"), "malformed"),
    "registrar-names-itself": ("registrar", delegated("registrar"), "malformed"),
    "registrar-names-a-glob": ("registrar", delegated("*"), "malformed"),
    "registrar-names-an-escape": ("registrar", delegated("\x1b[2J"), "malformed"),
    "registrar-wrong-paths": (
        "registrar",
        delegated("b", paths=["minds-lab/*/*/*"]),
        "path-not-delegated",
    ),
    "registrar-all-paths": ("registrar", delegated("b", paths=["*/*/*/*"]), "path-not-delegated"),
    "registrar-succinct": ("registrar", succinct, "malformed"),
    "org-targets": ("organisation", with_target("minds-lab/a/1/x"), "path-not-delegated"),
    "org-names-another's-project": ("organisation", delegated("b.x"), "path-not-delegated"),
    "org-names-another-org": ("organisation", delegated("b"), "malformed"),
    "org-names-itself": ("organisation", delegated("minds-lab"), "malformed"),
    "org-names-a-number": ("organisation", delegated("minds-lab.x", name=5), "malformed"),
    "org-names-a-bad-name": ("organisation", delegated("minds-lab.X"), "malformed"),
    "org-names-deeper": ("organisation", delegated("minds-lab.x.y"), "malformed"),
    "org-wrong-paths": (
        "organisation",
        delegated("minds-lab.x", paths=["b/x/*/*"]),
        "path-not-delegated",
    ),
    "org-sibling-paths": (
        "organisation",
        delegated("minds-lab.x", paths=["minds-lab/darija-lid/*/*"]),
        "path-not-delegated",
    ),
    "org-hash-prefixes": (
        "organisation",
        delegated("minds-lab.x", paths="gone", path_hash_prefixes=["00"]),
        "path-not-delegated",
    ),
    "org-not-terminating": (
        "organisation",
        delegated("minds-lab.x", terminating=False),
        "malformed",
    ),
    "org-threshold-beyond": ("organisation", delegated("minds-lab.x", threshold=2), "malformed"),
    "org-unknown-key": ("organisation", delegated("minds-lab.x", keyids=["0" * 64]), "malformed"),
    "org-succinct": ("organisation", succinct, "malformed"),
    "project-delegates": ("project", delegated("minds-lab.x"), "path-not-delegated"),
    "project-delegates-nothing": (
        "project",
        lambda s: s.update(delegations={"keys": {}, "roles": []}),
        "path-not-delegated",
    ),
    "project-path-of-another": (
        "project",
        with_target("minds-lab/other/1.0/manifest.json"),
        "path-not-delegated",
    ),
    "project-path-of-another-org": (
        "project",
        with_target("b/darija-lid/1.0/manifest.json"),
        "path-not-delegated",
    ),
    "project-bad-index": (
        "project",
        with_target("minds-lab/darija-lid/2.0/manifest.json"),
        "malformed",
    ),
}


@pytest.mark.parametrize(
    ("level", "change", "code"), BEYOND_THE_LEVEL.values(), ids=BEYOND_THE_LEVEL
)
def test_refuses_what_is_beyond_the_level(level: str, change: Change, code: str) -> None:
    assert code_of(level, next_of(level, change)) == code


def test_targets_delegates_to_the_registrar_alone() -> None:
    check_shape("targets", parse_targets(TARGETS, "x").signed)
    for change in (delegated("minds-lab"), delegated("reviews"), with_target("a/b/c/d")):
        data = changed_role(TARGETS, [TARGETS_KEY], change)
        with pytest.raises(VerificationError) as caught:
            check_shape("targets", parse_targets(data, "x").signed)
        assert caught.value.code == "path-not-delegated"


# --- nothing is taken away ----------------------------------------------------------------

MANIFEST = NAME.target("1.0.0", "manifest.json")
BUNDLE = NAME.target("1.0.0", "release.sigstore.json")


def without_release(signed: dict[str, Any]) -> None:
    del signed["targets"][MANIFEST]
    del signed["targets"][BUNDLE]


LOST: dict[str, tuple[str, Change, str]] = {
    "release": ("project", without_release, "chain-broken"),
    "all-releases": ("project", lambda s: s["targets"].clear(), "chain-broken"),
    "project": ("organisation", lambda s: s["delegations"]["roles"].clear(), "chain-broken"),
    "all-projects": ("organisation", lambda s: s.pop("delegations"), "chain-broken"),
    "organisation": ("registrar", lambda s: s["delegations"]["roles"].clear(), "chain-broken"),
    "manifest-digest": (
        "project",
        lambda s: s["targets"][MANIFEST]["hashes"].update(sha256="0" * 64),
        "version-taken",
    ),
    "manifest-size": (
        "project",
        lambda s: s["targets"][MANIFEST].update(length=1),
        "version-taken",
    ),
    "bundle-digest": (
        "project",
        lambda s: s["targets"][BUNDLE]["hashes"].update(sha256="0" * 64),
        "version-taken",
    ),
    "bundle-size": ("project", lambda s: s["targets"][BUNDLE].update(length=1), "version-taken"),
    "kind": (
        "project",
        lambda s: s["targets"][MANIFEST]["custom"].update(kind="library"),
        "version-taken",
    ),
    "requires": (
        "project",
        lambda s: s["targets"][MANIFEST]["custom"].update(requires={}),
        "version-taken",
    ),
}


@pytest.mark.parametrize(("level", "change", "code"), LOST.values(), ids=LOST)
def test_nothing_published_is_lost_or_changed(level: str, change: Change, code: str) -> None:
    assert code_of(level, next_of(level, change)) == code


def test_keys_may_be_replaced_and_profiles_changed() -> None:
    def replaced(signed: dict[str, Any]) -> None:
        signed["delegations"]["keys"] = {STRANGER.public.keyid: STRANGER.public.tuf.to_dict()}
        signed["delegations"]["roles"][0]["keyids"] = [STRANGER.public.keyid]
        signed["delegations"]["roles"][0]["forge"] = {"kind": "company", "display_name": "New"}

    check("registrar", next_of("registrar", replaced))

    def projects(signed: dict[str, Any]) -> None:
        replaced(signed)
        del signed["delegations"]["roles"][0]["forge"]  # profiles are for organisations

    check("organisation", next_of("organisation", projects))


def test_a_release_may_be_yanked_and_restored() -> None:
    version = parse_version("1.0.0")
    yanked = set_yanked(PROJECT, NAME, version, "bad data", [PUBLISHER], NOW)
    check("project", yanked)
    restored = set_yanked(yanked, NAME, version, None, [PUBLISHER], NOW)
    check("project", restored, yanked)


def test_what_the_edits_write_is_accepted() -> None:
    profile = OrgProfile(kind="academic", display_name="B")
    check(
        "registrar",
        add_organisation(REGISTRAR, "b", profile, [STRANGER.public], 1, [REGISTRAR_KEY], NOW),
    )
    check("organisation", add_project(ORG, OTHER, [STRANGER.public], 1, [ORG_KEY], NOW))


def test_an_organisation_cannot_sign_for_another() -> None:
    world = World()
    world.add_org("a")
    world.add_org("b")
    name = ComponentName.parse("b/x")
    stolen = add_project(world.roles["a"], name, [STRANGER.public], 1, [world.org_keys["a"]], NOW)
    with pytest.raises(VerificationError) as caught:
        check_role_update("a", stolen, world.roles["a"], world.roles["registrar"], NOW)
    assert caught.value.code == "path-not-delegated"
    forged = new_role([world.org_keys["a"]], NOW, "organisation")
    with pytest.raises(VerificationError) as caught:
        check_role_update("b", forged, None, world.roles["registrar"], NOW)
    assert caught.value.code == "threshold-not-met"


def test_a_role_without_a_delegation_is_refused() -> None:
    role = new_role([STRANGER], NOW, "project")
    with pytest.raises(VerificationError) as caught:
        check_role_update(OTHER.role, role, None, ORG, NOW)
    assert caught.value.code == "chain-broken"


# --- offers -------------------------------------------------------------------------------

NEXT = signed_release(tree(version="2.0.0", requires={"a/b": ">=2"}), PUBLISHER)


def offered(**changed: Any) -> Any:
    role = add_release(PROJECT, NEXT.manifest, NEXT.bundle, [PUBLISHER], NOW)
    values = {
        "manifest": NEXT.manifest.raw,
        "bundle": NEXT.bundle,
        "role": role,
        "current_role": PROJECT,
        "org_role": ORG,
        "now": NOW,
    }
    return check_offer(**{**values, **changed})


def test_an_offer_that_holds_says_what_it_adds() -> None:
    offer = offered()
    assert offer.manifest == NEXT.manifest
    assert offer.publisher == PUBLISHER.public
    assert offer.entry.requires == {"a/b": ">=2"}
    assert str(offer.entry.version) == "2.0.0"


def test_the_first_release_of_a_project_needs_no_role_before_it() -> None:
    org = add_project(ORG, OTHER, [PUBLISHER.public], 1, [ORG_KEY], NOW)
    release = signed_release(tree(OTHER), PUBLISHER)
    role = add_release(None, release.manifest, release.bundle, [PUBLISHER], NOW)
    offer = check_offer(release.manifest.raw, release.bundle, role, None, org, NOW)
    assert offer.manifest.component == OTHER


def role_after(change: Change, keys: Sequence[PrivateKey] = (PUBLISHER,)) -> bytes:
    role = add_release(PROJECT, NEXT.manifest, NEXT.bundle, [PUBLISHER], NOW)
    return changed_role(role, keys, change)


def two_added() -> bytes:
    more = signed_release(tree(version="3.0.0"), PUBLISHER)
    first = add_release(PROJECT, NEXT.manifest, NEXT.bundle, [PUBLISHER], NOW)
    both = add_release(first, more.manifest, more.bundle, [PUBLISHER], NOW)
    return changed_role(both, [PUBLISHER], lambda s: s.update(version=s["version"] - 1))


def with_bundle(bundle: bytes) -> dict[str, bytes]:
    role = add_release(PROJECT, NEXT.manifest, bundle, [PUBLISHER], NOW)
    return {"bundle": bundle, "role": role}


def new_custom(**changed: Any) -> Change:
    path = NAME.target("2.0.0", "manifest.json")
    return lambda s: s["targets"][path]["custom"].update(changed)


FEWER = [entry for entry in NEXT.manifest.files if entry.path != "README.md"]
OFFERS: dict[str, tuple[Callable[[], dict[str, Any]], str]] = {
    "two-versions-at-once": (lambda: {"role": two_added()}, "tree-mismatch"),
    "nothing-added": (
        lambda: {"role": changed_role(PROJECT, [PUBLISHER], lambda s: s.update(version=3))},
        "tree-mismatch",
    ),
    "another-version-added": (
        lambda: {
            "manifest": signed_release(tree(version="9.0"), PUBLISHER).manifest.raw,
        },
        "tree-mismatch",
    ),
    "yanked-on-arrival": (lambda: {"role": role_after(new_custom(yanked="x"))}, "tree-mismatch"),
    "deprecated-on-arrival": (
        lambda: {"role": role_after(new_custom(deprecated={"reason": "x"}))},
        "tree-mismatch",
    ),
    "another-deprecated-along": (
        lambda: {
            "role": role_after(
                lambda s: s["targets"][MANIFEST]["custom"].update(deprecated={"reason": "x"})
            )
        },
        "tree-mismatch",
    ),
    "another-yanked-along": (
        lambda: {"role": role_after(lambda s: s["targets"][MANIFEST]["custom"].update(yanked="x"))},
        "tree-mismatch",
    ),
    "index-says-another-kind": (
        lambda: {"role": role_after(new_custom(kind="library"))},
        "tree-mismatch",
    ),
    "index-says-other-requirements": (
        lambda: {"role": role_after(new_custom(requires={}))},
        "tree-mismatch",
    ),
    "index-says-another-length": (
        lambda: {
            "role": role_after(
                lambda s: s["targets"][NAME.target("2.0.0", "manifest.json")].update(length=1)
            )
        },
        "digest-mismatch",
    ),
    "index-says-another-bundle-length": (
        lambda: {
            "role": role_after(
                lambda s: s["targets"][NAME.target("2.0.0", "release.sigstore.json")].update(
                    length=1
                )
            )
        },
        "digest-mismatch",
    ),
    "another-manifest": (
        lambda: {
            "manifest": manifest_of({**NEXT.files, "README.md": b"other"}).raw,
        },
        "digest-mismatch",
    ),
    "another-bundle": (
        lambda: {"bundle": sign_bundle(NEXT.manifest.files, "x", PUBLISHER)},
        "digest-mismatch",
    ),
    "bundle-by-a-stranger": (
        lambda: with_bundle(sign_bundle(NEXT.manifest.files, str(NEXT.manifest), STRANGER)),
        "key-unlisted",
    ),
    "bundle-by-the-organisation": (
        lambda: with_bundle(sign_bundle(NEXT.manifest.files, str(NEXT.manifest), ORG_KEY)),
        "key-unlisted",
    ),
    "bundle-of-another-release": (
        lambda: with_bundle(signed_release(tree(version="8.0"), PUBLISHER).bundle),
        "digest-mismatch",
    ),
    "bundle-of-fewer-files": (
        lambda: with_bundle(sign_bundle(FEWER, str(NEXT.manifest), PUBLISHER)),
        "tree-mismatch",
    ),
    "bundle-of-more-files": (
        lambda: with_bundle(signed_release({**NEXT.files, "more.txt": b"x"}, PUBLISHER).bundle),
        "tree-mismatch",
    ),
    "bundle-no-json": (lambda: with_bundle(b"x"), "malformed"),
    "manifest-no-json": (lambda: {"manifest": b"x"}, "malformed"),
    "role-no-json": (lambda: {"role": b"x"}, "malformed"),
    "role-by-a-stranger": (
        lambda: {"role": role_after(lambda s: None, [STRANGER])},
        "threshold-not-met",
    ),
    "stale-role": (
        lambda: {
            "role": role_after(lambda s: s.update(version=2)),
        },
        "role-version",
    ),
    "taken-version": (
        lambda: {"manifest": RELEASE.manifest.raw, "bundle": RELEASE.bundle},
        "version-taken",
    ),
    "taken-version-otherwise-spelt": (
        lambda: {"manifest": manifest_of(tree(version="1.0")).raw},
        "version-taken",
    ),
    "release-removed": (lambda: {"role": role_after(without_release)}, "chain-broken"),
    "project-not-delegated": (
        lambda: {"org_role": changed_role(ORG, [ORG_KEY], lambda s: s.pop("delegations"))},
        "chain-broken",
    ),
    "signed-too-long-ago": (lambda: {"now": later(days=401)}, "expired"),
}


@pytest.mark.parametrize(("change", "code"), OFFERS.values(), ids=OFFERS)
def test_refuses_an_offer_that_does_not_hold(
    change: Callable[[], dict[str, Any]], code: str
) -> None:
    with pytest.raises(SigningError) as caught:
        offered(**change())
    assert caught.value.code == code


def test_checking_changes_nothing() -> None:
    before = json.loads(PROJECT)
    offered()
    assert json.loads(PROJECT) == before
    assert len(releases_of(PROJECT, NAME)) == 2

"""Publishers that come and go: retired keys' releases stay good, revoked keys' do not."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any

import pytest
from builders import NAME, NOW, Release, World, changed_role, later, signed_release, tree

from signing.errors import ConflictError, MalformedError, VerificationError
from signing.keys import generate_key
from signing.oms import sign_bundle
from signing.publisher_edits import revoke_publisher, set_publishers
from signing.resign import check_resign
from signing.role_edits import add_project, add_release, replace_bundles, set_yanked
from signing.roles import delegation_of, parse_targets
from signing.updates import check_role_update

NEW = generate_key("p256")
AT = NOW - timedelta(hours=3)


class Case:
    """A published release of one publisher, and everybody's keys."""

    def __init__(self) -> None:
        self.world = World()
        self.release = self.world.publish(tree())
        self.old = self.world.project_keys[str(NAME)]
        self.org_key = self.world.org_keys[NAME.org]

    @property
    def org(self) -> bytes:
        return self.world.roles[NAME.org]

    @property
    def project(self) -> bytes:
        return self.world.roles[NAME.role]

    def add_new(self) -> None:
        keys = [self.old.public, NEW.public]
        self.world.set_role(NAME.org, set_publishers(self.org, NAME, keys, 1, [self.org_key], NOW))

    def replace(self) -> None:
        role = set_publishers(self.org, NAME, [NEW.public], 1, [self.org_key], NOW)
        self.world.set_role(NAME.org, role)

    def revoke(self) -> None:
        if NEW.public not in delegation_of(self.org, NAME.role).keys:
            self.add_new()
        role = revoke_publisher(
            self.org, NAME, self.old.public, AT, "token stolen", [self.org_key], NOW
        )
        self.world.set_role(NAME.org, role)

    def sign_index(self) -> None:
        self.world.set_role(NAME.role, replace_bundles(self.project, NAME, {}, [NEW], NOW))

    def resign(self) -> Release:
        manifest = self.release.manifest
        bundle = sign_bundle(manifest.files, str(manifest), NEW)
        role = replace_bundles(self.project, NAME, {"1.0.0": bundle}, [NEW], NOW)
        self.world.set_role(NAME.role, role)
        return Release(files=self.release.files, manifest=manifest, bundle=bundle)


@pytest.fixture
def case() -> Case:
    return Case()


def failure(case: Case, release: Release | None = None) -> VerificationError:
    report = case.world.verify(release or case.release)
    assert report.first_failure is not None
    error = report.first_failure.error
    assert isinstance(error, VerificationError)
    return error


def test_a_key_that_was_added_changes_nothing_for_old_releases(case: Case) -> None:
    case.add_new()
    assert case.world.verify(case.release).ok


def test_releases_of_a_retired_key_stay_good_once_the_index_is_signed_anew(case: Case) -> None:
    case.replace()
    assert failure(case).code == "threshold-not-met"
    case.sign_index()
    assert case.world.verify(case.release).ok
    assert delegation_of(case.org, NAME.role).former.retired == (case.old.public,)


def test_a_retired_key_signs_nothing_new(case: Case) -> None:
    case.replace()
    evil = signed_release(tree(version="2.0.0"), case.old)
    role = add_release(case.project, evil.manifest, evil.bundle, [case.old], NOW)
    with pytest.raises(VerificationError) as caught:
        check_role_update(NAME.role, role, case.project, case.org, NOW)
    assert caught.value.code == "threshold-not-met"


def test_a_revoked_key_takes_its_index_and_its_releases_with_it(case: Case) -> None:
    case.revoke()
    for signed_anew in (False, True):
        if signed_anew:
            case.sign_index()
        error = failure(case)
        assert error.code == "key-revoked"
        for words in (case.old.public.keyid[:12], f"{AT:%Y-%m-%d %H:%M} UTC", "token stolen"):
            assert words in error.message
        assert "forge resign minds-lab/darija-lid" in (error.hint or "")


def test_a_release_signed_again_by_another_key_is_good(case: Case) -> None:
    case.revoke()
    resigned = case.resign()
    assert case.world.verify(resigned).ok
    assert resigned.manifest.digest == case.release.manifest.digest


def test_a_release_that_the_revoked_key_adds_later_is_refused(case: Case) -> None:
    """The thief signs with the stolen key after it was revoked, and dates it before."""
    case.revoke()
    evil = signed_release(tree(version="6.6.6"), case.old)
    role = add_release(case.project, evil.manifest, evil.bundle, [case.old], AT)
    case.world.set_role(NAME.role, role)
    assert failure(case, evil).code == "key-revoked"
    # Not even when the new publisher was tricked into listing it.
    case.world.set_role(
        NAME.role, add_release(case.project, tree_of("6.6.7", case), evil.bundle, [NEW], NOW)
    )
    assert failure(case).code == "key-revoked"


def tree_of(version: str, case: Case) -> Any:
    return signed_release(tree(version=version), case.old).manifest


def test_a_revocation_is_for_good(case: Case) -> None:
    case.revoke()
    with pytest.raises(VerificationError) as caught:
        set_publishers(case.org, NAME, [case.old.public, NEW.public], 1, [case.org_key], NOW)
    assert caught.value.code == "key-revoked"

    def forget(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        del signed["delegations"]["roles"][0]["forge"]

    def later_instant(signed: dict[str, Any]) -> None:
        signed["version"] += 1
        signed["delegations"]["roles"][0]["forge"]["revoked"][0]["at"] = "2030-01-01T00:00:00Z"

    for change in (forget, later_instant):
        role = changed_role(case.org, [case.org_key], change)
        with pytest.raises(VerificationError) as caught:
            check_role_update(NAME.org, role, case.org, case.world.roles["registrar"], NOW)
        assert caught.value.code == "key-revoked"


def test_only_the_organisation_can_take_a_revocation_back(case: Case) -> None:
    """A server, or the thief of a publisher's key, alters the organisation's role."""
    case.revoke()

    def forget(signed: dict[str, Any]) -> None:
        role = signed["delegations"]["roles"][0]
        role["keyids"] = [case.old.public.keyid]
        del role["forge"]

    forged = changed_role(case.org, [case.old], forget)
    report = case.world.verify(
        case.release, evidence=case.world.evidence(case.release, organisation=forged)
    )
    assert report.first_failure is not None
    assert report.first_failure.title == "organisation"


def test_what_the_edits_write_is_accepted_and_keeps_other_projects(case: Case) -> None:
    other = type(NAME).parse("minds-lab/other")
    registrar = case.world.roles["registrar"]
    current = add_project(case.org, other, [case.old.public], 1, [case.org_key], NOW)
    check_role_update(NAME.org, current, case.org, registrar, NOW)
    case.world.set_role(NAME.org, current)
    before = case.org
    case.add_new()
    check_role_update(NAME.org, case.org, before, registrar, NOW)
    before = case.org
    case.revoke()
    check_role_update(NAME.org, case.org, before, registrar, NOW)
    # Revoked in one project, it still publishes the other, where nobody revoked it.
    assert delegation_of(case.org, other.role).keys == (case.old.public,)


def test_the_last_key_is_not_revoked_without_a_successor(case: Case) -> None:
    with pytest.raises(VerificationError) as caught:
        revoke_publisher(case.org, NAME, case.old.public, AT, "", [case.org_key], NOW)
    assert caught.value.code == "threshold-not-met"
    assert "forge org publisher add" in (caught.value.hint or "")


def test_a_stranger_is_not_revoked(case: Case) -> None:
    with pytest.raises(VerificationError) as caught:
        revoke_publisher(case.org, NAME, NEW.public, AT, "", [case.org_key], NOW)
    assert caught.value.code == "key-unlisted"


def test_a_retired_key_can_be_revoked_and_a_retired_one_can_come_back(case: Case) -> None:
    case.replace()
    keys = [NEW.public, case.old.public]
    back = set_publishers(case.org, NAME, keys, 1, [case.org_key], NOW)
    assert delegation_of(back, NAME.role).former.retired == ()
    case.revoke()
    case.sign_index()
    assert failure(case).code == "key-revoked"


Change = Callable[[dict[str, Any]], object]
SPOILT: Mapping[str, Change] = {
    "unknown member": lambda forge: forge.update(color="red"),
    "not a list": lambda forge: forge.update(revoked={}),
    "unknown key": lambda forge: forge["revoked"][0].update(keyid="0" * 64),
    "a current key": lambda forge: forge["revoked"][0].update(keyid=NEW.public.keyid),
    "twice": lambda forge: forge["revoked"].append(forge["revoked"][0]),
    "retired too": lambda forge: forge.update(retired=[forge["revoked"][0]["keyid"]]),
    "no instant": lambda forge: forge["revoked"][0].update(at="yesterday"),
    "no reason": lambda forge: forge["revoked"][0].pop("reason"),
    "reason with a line break": lambda forge: forge["revoked"][0].update(reason="a\nb"),
}


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_list_is_refused(case: Case, name: str) -> None:
    case.revoke()

    def spoil(signed: dict[str, Any]) -> None:
        SPOILT[name](signed["delegations"]["roles"][0]["forge"])

    with pytest.raises(MalformedError):
        delegation_of(changed_role(case.org, [case.org_key], spoil), NAME.role)


# --- what the registry accepts as a new signature ------------------------------------------------


def resigning(case: Case, **changed: Any) -> dict[str, Any]:
    case.revoke()
    manifest = case.release.manifest
    key, files = changed.get("key", NEW), changed.get("files", manifest.files)
    bundle = sign_bundle(files, str(manifest), key)
    role = replace_bundles(case.project, NAME, {"1.0.0": bundle}, [NEW], NOW)
    return {
        "resigned": {"1.0.0": (manifest.raw, bundle)},
        "component": NAME,
        "role": role,
        "current_role": case.project,
        "org_role": case.org,
        "now": NOW,
    }


def test_a_new_signature_over_the_same_files_is_accepted(case: Case) -> None:
    assert check_resign(**resigning(case)) == {"1.0.0": NEW.public}


def test_a_bundle_is_replaced_only_where_it_is_offered(case: Case) -> None:
    offer = resigning(case)
    with pytest.raises(ConflictError) as caught:
        check_role_update(NAME.role, offer["role"], offer["current_role"], case.org, NOW)
    assert caught.value.code == "version-taken"
    with pytest.raises(ConflictError):
        check_resign(**{**offer, "resigned": {}})


def test_a_new_signature_by_the_revoked_key_is_refused(case: Case) -> None:
    offer = resigning(case, key=case.old)
    with pytest.raises(VerificationError) as caught:
        check_resign(**offer)
    assert caught.value.code == "key-unlisted"


def test_a_new_signature_over_other_files_is_refused(case: Case) -> None:
    other = signed_release({**tree(), "README.md": b"# other\n"}, NEW).manifest
    with pytest.raises(VerificationError) as caught:
        check_resign(**resigning(case, files=other.files))
    assert caught.value.code == "digest-mismatch"


def test_nothing_else_changes_with_a_new_signature(case: Case) -> None:
    offer = resigning(case)
    current = parse_targets(offer["current_role"], NAME.role)
    yanked = set_yanked(
        offer["role"], NAME, case.release.manifest.version, "why", [NEW], later(minutes=1)
    )
    lowered = changed_role(
        yanked, [NEW], lambda signed: signed.update(version=current.signed.version + 1)
    )
    with pytest.raises(VerificationError) as caught:
        check_resign(**{**offer, "role": lowered})
    assert caught.value.code == "tree-mismatch"


def test_a_version_that_is_not_there_is_refused(case: Case) -> None:
    offer = resigning(case)
    offer["resigned"]["9.9.9"] = offer["resigned"]["1.0.0"]
    with pytest.raises(VerificationError) as caught:
        check_resign(**offer)
    assert caught.value.code == "chain-broken"

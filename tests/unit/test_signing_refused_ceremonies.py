"""What keyholders refuse to sign, whoever made the plan."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from builders import NOW, World
from ceremonies import (
    CHAIN,
    HOLDERS,
    MARK,
    NEWCOMER,
    REGISTRAR,
    STRANGER,
    edited,
    first,
    key_set,
    refused,
    signed,
    swapped,
)

from signing.ceremony import Ceremony
from signing.ceremony_plans import Chain, plan_next
from signing.ceremony_rules import check_ceremony
from signing.ceremony_signing import add_signature, finish, merge_ceremonies
from signing.digests import fingerprint
from signing.errors import ConflictError
from signing.keys import PublicKey


def left_behind_targets(plan: Ceremony) -> Ceremony:
    """New targets keys in the root, while the targets role stays as the old keys signed it."""
    both = plan_next(CHAIN, NOW, keys={"targets": key_set(1, NEWCOMER)})
    return replace(both, changes=both.changes[:1])


def left_behind_registrar(plan: Ceremony) -> Ceremony:
    both = plan_next(CHAIN, NOW, keys={"registrar": key_set(1, NEWCOMER)})
    return replace(both, changes=both.changes[:1])


def other_chain(plan: Ceremony) -> Ceremony:
    other = finish(signed(first(), *HOLDERS[2:], HOLDERS[0], REGISTRAR), NOW, fingerprint=None)
    return replace(plan, roots=(other["root"],))


def unsigned_root_before(plan: Ceremony) -> Ceremony:
    """A root in between that its predecessor's keys never signed."""
    change = swapped().changes[0]
    return replace(plan, roots=(*plan.roots, change.metadata.to_bytes()))


def gap_in_the_chain(plan: Ceremony) -> Ceremony:
    """Root 3 after root 1, signed by everybody whose signature it needs."""
    later = edited(swapped(), "root", lambda root: setattr(root, "version", 3)).changes[0]
    metadata = later.metadata
    for key in (*HOLDERS, NEWCOMER):
        metadata.sign(key.tuf_signer, append=True)
    fourth = edited(plan, "root", lambda root: setattr(root, "version", 4))
    return replace(fourth, roots=(*plan.roots, metadata.to_bytes()))


def current_targets_forged(plan: Ceremony) -> Ceremony:
    """The file's own idea of who the registrar is, which nobody signed."""
    both = plan_next(CHAIN, NOW, keys={"registrar": key_set(1, HOLDERS[1])})
    forged = both.changes[0].metadata.to_bytes()
    renewal = plan_next(CHAIN, NOW, keys={}, renew=["registrar"])
    return replace(renewal, targets=forged)


def current_registrar_forged(plan: Ceremony) -> Ceremony:
    renewal = plan_next(CHAIN, NOW, keys={}, renew=["registrar"])
    return replace(renewal, registrar=renewal.changes[0].metadata.to_bytes(), changes=plan.changes)


def with_key(root: Any) -> None:
    root.add_key(STRANGER.public.tuf, "targets")
    root.revoke_key(STRANGER.public.keyid, "targets")
    root.keys[STRANGER.public.keyid] = STRANGER.public.tuf


def with_field(signed: Any) -> None:
    signed.unrecognized_fields["x-note"] = "all is well"


def online_two(root: Any) -> None:
    root.add_key(STRANGER.public.tuf, "snapshot")
    root.roles["snapshot"].threshold = 2


def on_root(edit: Callable[[Any], object]) -> Callable[[Ceremony], Ceremony]:
    return lambda plan: edited(plan, "root", edit)


def on_targets(edit: Callable[[Any], object]) -> Callable[[Ceremony], Ceremony]:
    def spoil(_: Ceremony) -> Ceremony:
        return edited(plan_next(CHAIN, NOW, keys={}, renew=["targets"]), "targets", edit)

    return spoil


SPOILT: dict[str, tuple[Callable[[Ceremony], Ceremony], str]] = {
    "other-authority": (other_chain, "fingerprint-mismatch"),
    "unsigned-link": (unsigned_root_before, "threshold-not-met"),
    "gap-in-the-chain": (gap_in_the_chain, "role-version"),
    "current-targets-forged": (current_targets_forged, "threshold-not-met"),
    "current-registrar-forged": (current_registrar_forged, "threshold-not-met"),
    "version-skipped": (on_root(lambda root: setattr(root, "version", 3)), "role-version"),
    "version-again": (on_root(lambda root: setattr(root, "version", 1)), "role-version"),
    "fast-forward": (on_root(lambda root: setattr(root, "version", 2**31 - 1)), "role-version"),
    "expired": (on_root(lambda root: setattr(root, "expires", NOW)), "expired"),
    "valid-too-long": (
        on_root(lambda root: setattr(root, "expires", NOW + timedelta(days=3650))),
        "expired",
    ),
    "quorum-1": (
        on_root(lambda root: setattr(root.roles["root"], "threshold", 1)),
        "quorum-unsafe",
    ),
    "no-consistent-snapshot": (
        on_root(lambda root: setattr(root, "consistent_snapshot", False)),
        "root-form",
    ),
    "two-online-keys-needed": (on_root(online_two), "root-form"),
    "offline-key-online": (
        on_root(lambda root: root.add_key(HOLDERS[1].public.tuf, "timestamp")),
        "root-form",
    ),
    "hidden-key": (on_root(with_key), "hidden-content"),
    "hidden-field": (on_root(with_field), "hidden-content"),
    "hidden-field-in-targets": (on_targets(with_field), "hidden-content"),
    "hidden-field-in-delegation": (
        on_targets(lambda t: with_field(t.delegations.roles["registrar"])),
        "hidden-content",
    ),
    "registrar-dropped": (on_targets(lambda t: t.delegations.roles.clear()), "chain-broken"),
    "targets-left-behind": (left_behind_targets, "left-behind"),
    "registrar-left-behind": (left_behind_registrar, "left-behind"),
}


class TestRefusals:
    @pytest.mark.parametrize("case", SPOILT)
    def test_what_does_not_hold_is_not_signed(self, case: str) -> None:
        spoil, code = SPOILT[case]
        plan = spoil(swapped())
        refused(code, lambda: add_signature(plan, HOLDERS[1], NOW, fingerprint=MARK))

    def test_a_key_that_is_not_asked(self) -> None:
        error = refused("key-unlisted", lambda: signed(swapped(), STRANGER, mark=MARK))
        assert "asked to sign" in error.message
        refused("key-unlisted", lambda: signed(swapped(), REGISTRAR, mark=MARK))

    def test_the_first_root_is_version_1(self) -> None:
        """A fingerprint is that of a first root; a later one would hide what came before."""
        second = finish(signed(swapped(), *HOLDERS[1:4], mark=MARK), NOW, fingerprint=MARK)["root"]
        plan = edited(swapped(), "root", lambda root: setattr(root, "version", 3))
        plan = replace(plan, roots=(second,))
        refused("role-version", lambda: signed(plan, HOLDERS[1], mark=fingerprint(second)))

    def test_a_first_root_where_a_later_one_was_expected(self) -> None:
        refused("chain-broken", lambda: signed(first(), HOLDERS[0], mark=MARK))

    def test_another_fingerprint(self) -> None:
        other = f"sha256:{'0' * 64}"
        refused("fingerprint-mismatch", lambda: signed(swapped(), HOLDERS[1], mark=other))

    def test_another_digest_than_the_others_read_aloud(self) -> None:
        plan, other = swapped(), plan_next(CHAIN, NOW, keys={}, renew=["root"])
        add_signature(plan, HOLDERS[1], NOW, fingerprint=MARK, digest=plan.digest)
        refused(
            "ceremony-differs",
            lambda: add_signature(plan, HOLDERS[1], NOW, fingerprint=MARK, digest=other.digest),
        )

    def test_different_payloads_are_not_merged(self) -> None:
        one = signed(swapped(), HOLDERS[1], mark=MARK)
        other = signed(plan_next(CHAIN, NOW, keys={}, renew=["root"]), HOLDERS[2], mark=MARK)
        with pytest.raises(ConflictError) as caught:
            merge_ceremonies([one, other])
        assert caught.value.code == "ceremony-differs"

    def test_a_signature_that_does_not_verify(self) -> None:
        plan = signed(swapped(), HOLDERS[1], mark=MARK)
        (change,) = plan.changes
        forged = {HOLDERS[2].public.keyid: change.signatures[HOLDERS[1].public.keyid]}
        bad = replace(plan, changes=(replace(change, signatures=forged),))
        merged = merge_ceremonies([plan, bad])
        refused("signature-invalid", lambda: finish(merged, NOW, fingerprint=MARK))
        refused("signature-invalid", lambda: signed(merged, HOLDERS[3], mark=MARK))

    def test_a_signature_by_somebody_else(self) -> None:
        plan = swapped()
        (change,) = plan.changes
        sig = STRANGER.sign(change.payload).hex()
        bad = replace(plan, changes=(replace(change, signatures={STRANGER.public.keyid: sig}),))
        refused("key-unlisted", lambda: check_ceremony(bad, NOW, fingerprint=MARK))

    def test_a_token_that_answers_something_else(self) -> None:
        class Broken:
            public: PublicKey = HOLDERS[1].public

            def sign(self, data: bytes) -> bytes:
                return HOLDERS[1].sign(data + b" ")

        refused(
            "signature-invalid", lambda: add_signature(swapped(), Broken(), NOW, fingerprint=MARK)
        )

    def test_signing_twice_changes_nothing(self) -> None:
        once = signed(swapped(), HOLDERS[4], mark=MARK)
        assert signed(once, HOLDERS[4], mark=MARK) == once

    def test_a_ceremony_left_lying_for_a_year(self) -> None:
        def late() -> object:
            later: datetime = NOW + timedelta(days=400)
            return add_signature(swapped(), HOLDERS[1], later, fingerprint=MARK)

        refused("expired", late)

    def test_an_organisation_cannot_be_dropped_in_passing(self) -> None:
        world = World()
        world.add_org("minds-lab")
        chain = Chain(
            roots=(world.root,),
            targets=world.roles["targets"],
            registrar=world.roles["registrar"],
        )
        plan = plan_next(chain, NOW, keys={}, renew=["registrar"], dev=True)
        spoilt = edited(plan, "registrar", lambda t: t.delegations.roles.clear())
        key = world.authority.registrar_key
        refused(
            "chain-broken",
            lambda: add_signature(spoilt, key, NOW, fingerprint=world.fingerprint, dev=True),
        )
        done = add_signature(plan, key, NOW, fingerprint=world.fingerprint, dev=True)
        assert finish(done, NOW, fingerprint=world.fingerprint, dev=True)

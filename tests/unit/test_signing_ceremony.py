"""Ceremonies: what keyholders sign, what they refuse to sign, and that words come from bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from builders import NOW, World

from signing.ceremony import (
    Ceremony,
    Change,
    encode_ceremony,
    parse_ceremony,
    payload_of,
)
from signing.ceremony_plans import Chain, KeySet, edit_key_set, plan_first, plan_next
from signing.ceremony_rules import check_ceremony, quorums
from signing.ceremony_signing import add_signature, finish, merge_ceremonies
from signing.ceremony_words import describe, follows_from, is_complete
from signing.digests import fingerprint
from signing.errors import ConflictError, MalformedError, SigningError, VerificationError
from signing.keys import PrivateKey, PublicKey, generate_key
from signing.roles import check_signed_by, parse_root, verify_role

HOLDERS = [generate_key("ed25519") for _ in range(4)] + [generate_key("p256")]
NEWCOMER, STRANGER = generate_key("ed25519"), generate_key("ed25519")
REGISTRAR = generate_key("p256")
SNAPSHOT, TIMESTAMP = generate_key("ed25519"), generate_key("ed25519")


def key_set(threshold: int, *keys: PrivateKey) -> KeySet:
    return KeySet(keys=tuple(key.public for key in keys), threshold=threshold)


def first(**changed: Any) -> Ceremony:
    options: dict[str, Any] = {
        "root": key_set(3, *HOLDERS),
        "targets": key_set(2, *HOLDERS[:3]),
        "registrar": key_set(1, REGISTRAR),
        "snapshot": SNAPSHOT.public,
        "timestamp": TIMESTAMP.public,
    }
    return plan_first(NOW, **{**options, **changed})


def signed(ceremony: Ceremony, *keys: PrivateKey, mark: str | None = None) -> Ceremony:
    for key in keys:
        ceremony = add_signature(ceremony, key, NOW, fingerprint=mark)
    return ceremony


FIRST = finish(signed(first(), *HOLDERS[:3], REGISTRAR), NOW, fingerprint=None)
MARK = fingerprint(FIRST["root"])
CHAIN = Chain(roots=(FIRST["root"],), targets=FIRST["targets"], registrar=FIRST["registrar"])


def swapped() -> Ceremony:
    """The plan that replaces the first keyholder by the newcomer."""
    keys = edit_key_set(
        "root", CHAIN.key_set("root"), add=[NEWCOMER.public], remove=[HOLDERS[0].public.keyid[:12]]
    )
    return plan_next(CHAIN, NOW, keys={"root": keys})


def edited(ceremony: Ceremony, role: str, edit: Callable[[Any], object]) -> Ceremony:
    """The ceremony with one payload edited, as a dishonest planner can make it."""

    def changed(change: Change) -> Change:
        signed = change.metadata.signed
        edit(signed)
        return Change(role=role, payload=payload_of(signed), signatures={})

    return replace(
        ceremony, changes=tuple(changed(c) if c.role == role else c for c in ceremony.changes)
    )


def refused(code: str, function: Callable[[], object]) -> SigningError:
    with pytest.raises(SigningError) as caught:
        function()
    assert caught.value.code == code, caught.value
    return caught.value


class TestFirstRoot:
    def test_three_of_five_on_separate_machines(self) -> None:
        plan = first()
        parts = [signed(plan, key) for key in (HOLDERS[4], HOLDERS[1], HOLDERS[2], REGISTRAR)]
        carried = [parse_ceremony(encode_ceremony(part)) for part in parts]
        finished = finish(merge_ceremonies(carried), NOW, fingerprint=None)
        root = parse_root(finished["root"])
        check_signed_by(root.signed, "root", root)
        assert (root.signed.roles["root"].threshold, len(root.signed.roles["root"].keyids)) == (
            3,
            5,
        )
        verify_role(finished["targets"], "registrar", finished["registrar"])

    def test_any_quorum_will_do_and_the_order_of_files_does_not_matter(self) -> None:
        parts = [signed(first(), key) for key in (*HOLDERS[:3], REGISTRAR)]
        one, other = merge_ceremonies(parts), merge_ceremonies(reversed(parts))
        assert (
            finish(one, NOW, fingerprint=None).keys() == finish(other, NOW, fingerprint=None).keys()
        )

    @pytest.mark.parametrize(
        ("threshold", "count"), [(1, 3), (3, 3), (1, 1), (2, 2), (4, 3), (0, 3), (5, 5)]
    )
    def test_an_unsafe_quorum_is_refused(self, threshold: int, count: int) -> None:
        keys = key_set(threshold, *HOLDERS[:count])
        error = refused("quorum-unsafe", lambda: first(root=keys))
        assert "found" in error.message

    @pytest.mark.parametrize(("threshold", "count"), [(1, 1), (1, 3), (3, 3)])
    def test_but_development_may(self, threshold: int, count: int) -> None:
        assert first(root=key_set(threshold, *HOLDERS[:count]), dev=True)

    def test_a_signer_refuses_it_too(self) -> None:
        """The planner's machine may be the dishonest one."""
        plan = first(root=key_set(1, *HOLDERS[:3]), dev=True)
        refused("quorum-unsafe", lambda: signed(plan, HOLDERS[0]))

    def test_one_key_twice_is_one_key(self) -> None:
        twice = key_set(2, HOLDERS[0], HOLDERS[0], HOLDERS[1])
        refused("quorum-unsafe", lambda: first(root=twice))
        refused("quorum-unsafe", lambda: first(targets=key_set(1, HOLDERS[0], HOLDERS[0])))

    @pytest.mark.parametrize("role", ["targets", "registrar"])
    def test_the_others_have_a_threshold_of_their_own(self, role: str) -> None:
        assert first(**{role: key_set(1, HOLDERS[0])})
        refused("quorum-unsafe", lambda: first(**{role: key_set(2, HOLDERS[0])}))

    def test_no_key_is_online_and_offline(self) -> None:
        refused("root-form", lambda: first(snapshot=HOLDERS[0].public))

    def test_too_few_signatures(self) -> None:
        almost = signed(first(), *HOLDERS[:2], REGISTRAR)
        error = refused("threshold-not-met", lambda: finish(almost, NOW, fingerprint=None))
        assert "role root: expected 3 signatures" in error.message
        no_registrar = signed(first(), *HOLDERS)
        error = refused("threshold-not-met", lambda: finish(no_registrar, NOW, fingerprint=None))
        assert "role registrar" in error.message

    def test_a_registrar_is_named(self) -> None:
        plan = edited(first(), "targets", lambda t: t.delegations.roles.clear())
        refused("chain-broken", lambda: signed(plan, HOLDERS[0]))

    def test_all_three_roles_or_none(self) -> None:
        plan = first()
        part = replace(plan, changes=plan.changes[:1])
        refused("chain-broken", lambda: signed(part, HOLDERS[0]))


class TestNextRoot:
    def test_needs_the_old_quorum_and_the_new(self) -> None:
        plan = swapped()
        # Three of the new, but of the old only two.
        half = signed(plan, NEWCOMER, HOLDERS[1], HOLDERS[2], mark=MARK)
        error = refused("threshold-not-met", lambda: finish(half, NOW, fingerprint=MARK))
        assert "current root's keys" in error.message
        # Three of the old, but of the new only two.
        other = signed(plan, *HOLDERS[:3], mark=MARK)
        error = refused("threshold-not-met", lambda: finish(other, NOW, fingerprint=MARK))
        assert "new root's keys" in error.message
        whole = finish(merge_ceremonies([half, other]), NOW, fingerprint=MARK)
        new = parse_root(whole["root"])
        check_signed_by(parse_root(FIRST["root"]).signed, "root", new)
        check_signed_by(new.signed, "root", new)
        assert HOLDERS[0].public.keyid not in new.signed.roles["root"].keyids

    def test_one_lost_key_stops_nobody(self) -> None:
        done = signed(swapped(), *HOLDERS[1:4], mark=MARK)
        assert finish(done, NOW, fingerprint=MARK)

    def test_all_roles_at_once(self) -> None:
        keys = {
            "root": key_set(2, *HOLDERS[1:]),
            "targets": key_set(2, HOLDERS[1], NEWCOMER, STRANGER),
            "registrar": key_set(1, NEWCOMER, REGISTRAR),
            "snapshot": key_set(1, generate_key("ed25519")),
            "timestamp": key_set(1, generate_key("ed25519")),
        }
        plan = plan_next(CHAIN, NOW, keys=keys)
        assert [change.role for change in plan.changes] == ["root", "targets", "registrar"]
        done = finish(signed(plan, *HOLDERS[1:4], NEWCOMER, mark=MARK), NOW, fingerprint=MARK)
        chain = Chain(
            roots=(*CHAIN.roots, done["root"]), targets=done["targets"], registrar=done["registrar"]
        )
        chain.verify(MARK)
        for role, wanted in keys.items():
            assert set(chain.key_set(role).keys) == set(wanted.keys)
            assert chain.key_set(role).threshold == wanted.threshold

    @pytest.mark.parametrize("role", ["root", "targets", "registrar"])
    def test_renewal_changes_the_expiry_alone(self, role: str) -> None:
        plan = plan_next(CHAIN, NOW + timedelta(days=30), keys={}, renew=[role])
        (described,) = describe(plan)
        assert described.role == role
        assert described.version == 2
        assert not [line for line in described.lines if line.lstrip().startswith(("+", "-"))]

    def test_registrar_keys_take_the_targets_role_along(self) -> None:
        plan = plan_next(CHAIN, NOW, keys={"registrar": key_set(1, NEWCOMER)})
        assert [change.role for change in plan.changes] == ["targets", "registrar"]
        done = signed(plan, *HOLDERS[:2], NEWCOMER, mark=MARK)
        assert set(finish(done, NOW, fingerprint=MARK)) == {"targets", "registrar"}

    def test_nothing_to_change(self) -> None:
        same = {"root": CHAIN.key_set("root")}
        refused("nothing-changes", lambda: plan_next(CHAIN, NOW, keys=same))

    def test_unsafe_quorum(self) -> None:
        keys = edit_key_set("root", CHAIN.key_set("root"), threshold=5)
        refused("quorum-unsafe", lambda: plan_next(CHAIN, NOW, keys={"root": keys}))

    @pytest.mark.parametrize(
        "wanted", ["0" * 12, pytest.param(HOLDERS[0].public.keyid[:7], id="too short"), ""]
    )
    def test_a_key_to_remove_must_be_there(self, wanted: str) -> None:
        current = CHAIN.key_set("root")
        refused("key-unlisted", lambda: edit_key_set("root", current, remove=[wanted]))

    def test_a_key_to_remove_must_be_one(self) -> None:
        """Somebody may have made a key whose id begins like another's."""
        alike: Any = tuple(SimpleNamespace(keyid=f"0123456789{end}") for end in "ab")
        current = KeySet(keys=alike, threshold=1)
        refused("key-unlisted", lambda: edit_key_set("root", current, remove=["0123456789"]))
        assert edit_key_set("root", current, remove=["0123456789a"]).keys == alike[1:]


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


def file_edit(edit: Callable[[dict[str, Any]], object]) -> bytes:
    value = json.loads(encode_ceremony(swapped()))
    edit(value)
    return json.dumps(value).encode()


def spaced(value: dict[str, Any]) -> None:
    value["changes"][0]["payload"] = value["changes"][0]["payload"].replace(":", ": ", 1)


FILES: dict[str, bytes] = {
    "not-json": b"rubbish",
    "other-schema": file_edit(lambda v: v.update(schema="forge-ceremony-2")),
    "words-of-its-own": file_edit(lambda v: v.update(words="renews the root, nothing else")),
    "no-changes": file_edit(lambda v: v.update(changes=[])),
    "twice-the-root": file_edit(lambda v: v.update(changes=v["changes"] * 2)),
    "unknown-role": file_edit(lambda v: v["changes"][0].update(role="snapshot")),
    "version-differs": file_edit(lambda v: v["changes"][0].update(version=7)),
    "payload-not-canonical": file_edit(spaced),
    "payload-is-rubbish": file_edit(lambda v: v["changes"][0].update(payload="{}")),
    "payload-of-other-type": file_edit(
        lambda v: v["changes"][0].update(payload=first().changes[1].payload.decode())
    ),
    "signature-not-hex": file_edit(lambda v: v["changes"][0].update(signatures={"0" * 64: "zz"})),
    "keyid-odd": file_edit(lambda v: v["changes"][0].update(signatures={"x": "00"})),
    "roots-without-targets": file_edit(lambda v: v.update(targets=None)),
    "roots-of-numbers": file_edit(lambda v: v.update(roots=[1])),
    "targets-a-number": file_edit(lambda v: v.update(targets=1)),
}


class TestFile:
    def test_there_and_back(self) -> None:
        for plan in (first(), swapped(), signed(swapped(), *HOLDERS[1:], mark=MARK)):
            data = encode_ceremony(plan)
            assert parse_ceremony(data) == plan
            assert encode_ceremony(parse_ceremony(data)) == data

    @pytest.mark.parametrize("case", FILES)
    def test_malformed(self, case: str) -> None:
        with pytest.raises(MalformedError):
            parse_ceremony(FILES[case])

    def test_a_cut_file(self) -> None:
        data = encode_ceremony(swapped())
        for length in range(0, len(data), 97):
            with pytest.raises(MalformedError):
                parse_ceremony(data[:length])

    def test_the_digest_covers_everything_but_signatures(self) -> None:
        plan = swapped()
        assert signed(plan, HOLDERS[1], mark=MARK).digest == plan.digest
        assert edited(plan, "root", lambda r: setattr(r, "version", 5)).digest != plan.digest
        assert replace(plan, roots=plan.roots * 2).digest != plan.digest


class TestWords:
    def test_a_first_root(self) -> None:
        assert "FOUNDS A NEW AUTHORITY" in follows_from(first())
        root, targets, registrar = describe(first())
        assert "root is signed by 3 of 5 keys" in root.lines
        for key in (*HOLDERS, SNAPSHOT, TIMESTAMP):
            assert f"  + {key.public.keyid}" in root.lines
        assert "registrar is signed by 1 of 1 keys" in targets.lines
        assert "names nobody yet" in registrar.lines

    def test_who_comes_and_who_goes(self) -> None:
        (root,) = describe(swapped())
        assert f"  - {HOLDERS[0].public.keyid}   no longer" in root.lines
        assert f"  + {NEWCOMER.public.keyid}   new" in root.lines
        assert "snapshot is signed by 1 of 1 keys, as before" in root.lines
        assert MARK in follows_from(swapped())

    def test_words_follow_the_bytes(self) -> None:
        """Whatever else is in the file, another payload is described as what it is."""
        sneaky = edited(
            swapped(), "root", lambda root: root.add_key(STRANGER.public.tuf, "targets")
        )
        (root,) = describe(sneaky)
        assert f"  + {STRANGER.public.keyid}   new" in root.lines
        assert "targets is signed by 2 of 4 keys (was 2 of 3)" in root.lines

    def test_a_change_of_threshold_alone_is_said(self) -> None:
        keys = edit_key_set("root", CHAIN.key_set("root"), threshold=2)
        (root,) = describe(plan_next(CHAIN, NOW, keys={"root": keys}))
        assert "root is signed by 2 of 5 keys (was 3 of 5)" in root.lines

    def test_organisations(self) -> None:
        world = World()
        world.add_org("minds-lab", keys=3, threshold=2)
        chain = Chain(
            roots=(world.root,),
            targets=world.roles["targets"],
            registrar=world.roles["registrar"],
        )
        plan = plan_next(chain, NOW, keys={}, renew=["registrar"], dev=True)
        assert "1 name(s) as before, with their keys" in describe(plan)[0].lines

        def steal(signed: Any) -> None:
            signed.add_key(STRANGER.public.tuf, "minds-lab")
            signed.delegations.roles["minds-lab"].threshold = 1

        (stolen,) = describe(edited(plan, "registrar", steal))
        assert "minds-lab is signed by 1 of 4 keys (was 2 of 3)" in stolen.lines
        assert f"  + {STRANGER.public.keyid}   new" in stolen.lines

    def test_a_changed_profile_is_said(self) -> None:
        world = World()
        world.add_org("minds-lab")
        chain = Chain(
            roots=(world.root,), targets=world.roles["targets"], registrar=world.roles["registrar"]
        )
        plan = plan_next(chain, NOW, keys={}, renew=["registrar"], dev=True)

        def rename(signed: Any) -> None:
            fields = signed.delegations.roles["minds-lab"].unrecognized_fields
            fields["forge"] = {**fields["forge"], "display_name": "Ministry of Finance"}

        (renamed,) = describe(edited(plan, "registrar", rename))
        assert "minds-lab: display_name is 'Ministry of Finance'" in renamed.lines
        assert not [line for line in renamed.lines if "as before" in line]

        def strip(signed: Any) -> None:
            signed.delegations.roles["minds-lab"].unrecognized_fields.clear()

        assert (
            "minds-lab: no profile any more" in describe(edited(plan, "registrar", strip))[0].lines
        )

    def test_progress(self) -> None:
        plan = swapped()
        half = signed(plan, *HOLDERS[1:3], mark=MARK)
        old, new = describe(half)[0].signatures
        assert (old.missing, new.missing) == (1, 1)
        assert NEWCOMER.public.keyid in new.unsigned
        assert NEWCOMER.public.keyid not in old.unsigned
        assert not is_complete(describe(half))
        assert is_complete(describe(signed(half, HOLDERS[3], mark=MARK)))

    def test_quorums_of_a_root(self) -> None:
        assert [quorum.threshold for quorum in quorums(swapped(), "root")] == [3, 3]
        assert [quorum.threshold for quorum in quorums(first(), "root")] == [3]


def test_errors_name_what_failed() -> None:
    with pytest.raises(VerificationError) as caught:
        signed(swapped(), STRANGER, mark=MARK)
    assert caught.value.found == STRANGER.public.keyid[:12]


# --- the status host -----------------------------------------------------------------------------

HOST, OTHER_HOST = generate_key("ed25519"), generate_key("ed25519")


def said(ceremony: Ceremony) -> list[str]:
    return [line for item in describe(ceremony) for line in item.lines]


def founded(**changed: Any) -> Chain:
    plan = first(**changed)
    for key in (*HOLDERS, REGISTRAR):
        plan = add_signature(plan, key, NOW, fingerprint=None)
    done = finish(plan, NOW, fingerprint=None)
    return Chain(roots=(done["root"],), targets=done["targets"], registrar=done["registrar"])


def test_a_first_root_may_name_a_status_host_and_says_what_that_means() -> None:
    chain = founded(status=key_set(1, HOST))
    assert chain.key_set("status") == key_set(1, HOST)
    lines = said(first(status=key_set(1, HOST)))
    assert "status is signed by 1 of 1 keys" in lines
    assert any("refuse the registry unless these keys renew" in line for line in lines)
    assert not any("status" in line for line in said(first()))


def test_a_status_host_is_added_replaced_and_ended() -> None:
    chain = founded()
    assert chain.key_set("status") == KeySet(keys=(), threshold=0)
    added = plan_next(chain, NOW, keys={"status": key_set(1, HOST)})
    assert [change.role for change in added.changes] == ["targets"]  # the host signs by itself
    chain = founded(status=key_set(1, HOST))
    replaced = plan_next(chain, NOW, keys={"status": key_set(2, HOST, OTHER_HOST)})
    assert f"  + {OTHER_HOST.public.keyid}   new" in said(replaced)
    ended = plan_next(chain, NOW, keys={}, drop_status=True)
    lines = said(ended)
    assert "status is signed by nobody any more (was 1 of 1 keys)" in lines
    assert f"  - {HOST.public.keyid}   no longer" in lines
    assert any("WHAT IS LOST" in line for line in lines)
    assert HOST.public.keyid.encode() not in ended.changes[0].payload
    with pytest.raises(ConflictError):
        plan_next(founded(), NOW, keys={}, drop_status=True)
    check_ceremony(ended, NOW, fingerprint=fingerprint(chain.roots[0]))


@pytest.mark.parametrize("role", ["snapshot", "timestamp"])
def test_the_servers_keys_are_not_the_hosts(role: str) -> None:
    online = {"snapshot": SNAPSHOT, "timestamp": TIMESTAMP}[role]
    with pytest.raises(VerificationError) as caught:
        first(status=key_set(1, HOST, online))
    assert caught.value.code == "root-form"
    with pytest.raises(VerificationError) as caught:
        plan_next(founded(), NOW, keys={"status": key_set(1, online)})
    assert caught.value.code == "root-form"
    with pytest.raises(VerificationError) as caught:
        plan_next(founded(status=key_set(1, HOST)), NOW, keys={role: key_set(1, HOST)})
    assert caught.value.code == "root-form"


def test_the_logs_key_is_not_the_hosts() -> None:
    from log_builders import Log

    log = Log()
    with pytest.raises(VerificationError) as caught:
        first(log=log.policy, status=key_set(1, log.key.key))
    assert caught.value.code == "root-form"


@pytest.mark.parametrize("threshold", [0, 2])
def test_a_host_that_could_never_sign_is_not_named(threshold: int) -> None:
    with pytest.raises(VerificationError) as caught:
        first(status=key_set(threshold, HOST))
    assert caught.value.code == "quorum-unsafe"


def test_nobody_else_is_named_beside_the_registrar() -> None:
    plan = plan_next(founded(), NOW, keys={"status": key_set(1, HOST)})
    (change,) = plan.changes
    signed = change.metadata.signed
    role = signed.delegations.roles.pop("status")
    role.name, role.paths = "reviews", ["reviews/*/*/*"]
    signed.delegations.roles["reviews"] = role
    spoilt = replace(plan, changes=(replace(change, payload=payload_of(signed)),))
    with pytest.raises(VerificationError) as caught:
        check_ceremony(spoilt, NOW, fingerprint=None)
    assert caught.value.code == "path-not-delegated"

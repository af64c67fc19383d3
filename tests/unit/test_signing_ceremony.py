"""Ceremonies: what keyholders sign, and that words come from bytes."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from builders import NOW, World
from ceremonies import (
    CHAIN,
    FIRST,
    HOLDERS,
    MARK,
    NEWCOMER,
    REGISTRAR,
    SNAPSHOT,
    STRANGER,
    TIMESTAMP,
    edited,
    first,
    key_set,
    refused,
    signed,
    swapped,
)

from signing.ceremony import Ceremony, encode_ceremony, parse_ceremony, payload_of
from signing.ceremony_plans import Chain, KeySet, edit_key_set, plan_next
from signing.ceremony_rules import check_ceremony, quorums
from signing.ceremony_signing import add_signature, finish, merge_ceremonies
from signing.ceremony_words import describe, follows_from, is_complete
from signing.digests import fingerprint
from signing.errors import ConflictError, MalformedError, VerificationError
from signing.keys import generate_key
from signing.roles import check_signed_by, parse_root, verify_role


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

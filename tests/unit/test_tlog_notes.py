"""Signed notes, checkpoints, cosignatures and proofs: what must be accepted and what refused."""

from __future__ import annotations

import base64
import hashlib
from datetime import UTC, datetime

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from hypothesis import given
from hypothesis import strategies as st
from log_builders import NamedKey, TileTree, checkpoint_of

from signing.errors import MalformedError, SigningError, VerificationError
from signing.tlog.checkpoint import (
    Checkpoint,
    cosign,
    open_checkpoint,
    parse_checkpoint,
    sign_checkpoint,
    witness_key,
)
from signing.tlog.merkle import prove_inclusion
from signing.tlog.note import (
    Note,
    NoteKey,
    NoteSignature,
    check_note,
    merge_signatures,
    parse_note,
    parse_signature,
)
from signing.tlog.proof import LogProof, check_proof, parse_proof

NOW = datetime(2026, 11, 1, 12, 0, 0, tzinfo=UTC)
LOG = NamedKey("forge.example/log")
OTHER = NamedKey("forge.example/log")
W1, W2, W3 = (NamedKey(f"witness{n}.example") for n in (1, 2, 3))
TREE = TileTree([b"entry %d" % number for number in range(20)])
GOOD = checkpoint_of(LOG, 20, TREE.root(20), [W1, W2], NOW)


def opened(data: bytes, *witnesses: NamedKey, log: NamedKey = LOG) -> object:
    return open_checkpoint(data, [log.as_log], [each.as_witness for each in witnesses])


class TestVerifierKeys:
    def test_a_key_comes_back(self) -> None:
        for key in (LOG.as_log, W1.as_witness):
            assert NoteKey.parse(key.vkey) == key

    def test_the_id_is_the_one_of_the_specification(self) -> None:
        name, key_id, encoded = LOG.as_log.vkey.split("+", 2)
        raw = base64.b64decode(encoded)
        assert raw[0] == 1
        assert key_id == hashlib.sha256(name.encode() + b"\n" + raw).hexdigest()[:8]

    def test_the_same_key_in_another_role_has_another_id(self) -> None:
        assert LOG.as_log.key_id != LOG.as_witness.key_id

    @pytest.mark.parametrize(
        "change",
        [
            lambda v: v.replace("+", " "),
            lambda v: "+" + v.split("+", 1)[1],
            lambda v: v[:-4],
            lambda v: v.replace("forge", "gorge"),
            lambda v: "a b+" + v.split("+", 1)[1],
            lambda v: v.split("+")[0] + "+00000000+" + v.split("+", 2)[2],
            lambda v: v.rsplit("+", 1)[0],
            lambda v: "forge.example/log+00000000+" + base64.b64encode(b"\x02" * 33).decode(),
            lambda v: "",
        ],
    )
    def test_anything_else_is_refused(self, change: object) -> None:
        with pytest.raises(MalformedError):
            NoteKey.parse(change(LOG.as_log.vkey))  # type: ignore[operator]


class TestNotes:
    def test_a_note_comes_back_to_the_byte(self) -> None:
        assert parse_note(GOOD).to_bytes() == GOOD

    def test_the_signature_is_plain_ed25519_over_the_text(self) -> None:
        note = parse_note(GOOD)
        raw = LOG.as_log.raw[1:]
        Ed25519PublicKey.from_public_bytes(raw).verify(note.signatures[0].data, note.text.encode())

    def test_unknown_signatures_are_ignored(self) -> None:
        assert check_note(parse_note(GOOD), [LOG.as_log], "x") == LOG.as_log

    def test_nobody_known_signed(self) -> None:
        with pytest.raises(VerificationError) as caught:
            check_note(parse_note(GOOD), [OTHER.as_log], "x")
        assert caught.value.code == "threshold-not-met"

    def test_no_keys_refuse(self) -> None:
        with pytest.raises(VerificationError):
            check_note(parse_note(GOOD), [], "x")

    def test_a_signature_of_a_known_key_that_does_not_verify_spoils_the_note(self) -> None:
        note = parse_note(GOOD)
        bad = LOG.as_log
        forged = merge_signatures(
            note, [parse_signature(f"\u2014 {bad.name} " + base64.b64encode(
                bad.key_id + bytes(64)).decode(), "x")],
        )  # fmt: skip
        with pytest.raises(VerificationError) as caught:
            check_note(forged, [LOG.as_log], "x")
        assert caught.value.code == "signature-invalid"

    @pytest.mark.parametrize(
        "data",
        [
            b"", b"text\n", b"text\n\n", b"text\n\nno dash\n", GOOD[:-1], GOOD + b"\n",
            GOOD.replace(b"\n\n", b"\n"), GOOD.replace("\u2014".encode(), b"-"),
            GOOD.replace(b"20\n", b"2\x0b0\n"), b"\xff" + GOOD, GOOD.replace(b"=\n", b"= \n"),
            GOOD + GOOD.split(b"\n\n")[1] * 40, b"x" * 70_000,
        ],
    )  # fmt: skip
    def test_what_is_not_a_note_is_refused(self, data: bytes) -> None:
        with pytest.raises(MalformedError):
            parse_note(data)

    @given(st.binary(max_size=300))
    def test_whatever_the_bytes_only_our_error_comes_out(self, data: bytes) -> None:
        for parse in (parse_note, parse_proof):
            with pytest.raises(MalformedError):
                parse(data)


# The example of golang.org/x/mod/sumdb/note, which the specification was written down from.
NEUMANN = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
ROOT = "EnochRoot+af0cfe78+ATtqJ7zOtqQtYqOo0CpvDXNlMhV3HeJDpjrASKGLWdop"
TWICE_SIGNED = """\
If you think cryptography is the answer to your problem,
then you don't know what your problem is.

— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=
— EnochRoot rwz+eBzmZa0SO3NbfRGzPCpDckykFXSdeX+MNtCOXm2/5n2tiOHp+vAF1aGrQ5ovTG01oOTGwnWLox33WWd1RvMc+QQ=
""".encode()  # noqa: E501


class TestReferenceNotes:
    @pytest.mark.parametrize("vkey", [NEUMANN, ROOT])
    def test_keys_and_signatures_of_another_implementation(self, vkey: str) -> None:
        key = NoteKey.parse(vkey)
        assert key.vkey == vkey
        assert check_note(parse_note(TWICE_SIGNED), [key], "x") == key

    def test_both_together_and_the_other_unknown(self) -> None:
        keys = [NoteKey.parse(NEUMANN), NoteKey.parse(ROOT)]
        note = parse_note(TWICE_SIGNED)
        assert note.to_bytes() == TWICE_SIGNED
        assert [each.key_id for each in note.signatures] == [key.key_id for key in keys]
        assert check_note(note, [OTHER.as_log, keys[1]], "x") == keys[1]

    def test_a_changed_text_is_signed_by_nobody(self) -> None:
        note = parse_note(TWICE_SIGNED.replace(b"answer", b"answers"))
        for vkey in (NEUMANN, ROOT):
            with pytest.raises(VerificationError):
                check_note(note, [NoteKey.parse(vkey)], "x")

    def test_a_good_signature_does_not_make_up_for_a_bad_one(self) -> None:
        lines = TWICE_SIGNED.decode().splitlines(keepends=True)
        name, key_id = "EnochRoot", NoteKey.parse(ROOT).key_id
        lines[-1] = f"— {name} {base64.b64encode(key_id + bytes(64)).decode()}\n"
        note = parse_note("".join(lines).encode())
        assert check_note(note, [NoteKey.parse(NEUMANN)], "x").name == "PeterNeumann"
        with pytest.raises(VerificationError) as caught:
            check_note(note, [NoteKey.parse(NEUMANN), NoteKey.parse(ROOT)], "x")
        assert caught.value.code == "signature-invalid"


class TestNames:
    """A key's name is not empty, and has no spaces (of Unicode) and no plus in it."""

    @pytest.mark.parametrize(
        "name",
        [
            "",
            "a b",
            "a+b",
            "a\tb",
            "a\u00a0b",
            "a\u2003b",
            "a\u3000b",
            "a\x00b",
            "a\x7fb",
            "a\u202eb",
        ],
    )
    def test_a_name_that_is_none_is_refused_everywhere(self, name: str) -> None:
        signature = base64.b64encode(LOG.as_log.key_id + bytes(64)).decode()
        with pytest.raises(MalformedError):
            parse_signature(f"— {name} {signature}", "x")
        with pytest.raises(MalformedError):
            NoteKey.parse(f"{name}+{LOG.as_log.vkey.split('+', 1)[1]}")
        with pytest.raises(MalformedError):
            witness_key(name, W1.key)
        with pytest.raises(MalformedError):
            parse_checkpoint(f"{name}\n1\n{'A' * 43}=\n")

    @pytest.mark.parametrize("name", ["a", "forge.example/log", "سجل", "x" * 255, "—"])
    def test_any_other_name_may_be(self, name: str) -> None:
        key = NamedKey(name)
        assert NoteKey.parse(key.as_log.vkey) == key.as_log
        data = checkpoint_of(key, 20, TREE.root(20), [W1], NOW)
        assert open_checkpoint(data, [key.as_log], [W1.as_witness]).witnesses == {W1.name: NOW}


def test_a_text_may_hold_blank_lines() -> None:
    """The signatures begin after the last one."""
    text = "one\n\ntwo\n"
    lines = parse_note(GOOD).signatures
    note = parse_note(Note(text=text, signatures=lines).to_bytes())
    assert (note.text, note.signatures) == (text, lines)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 4])
def test_a_signature_line_holds_a_key_id_and_more(count: int) -> None:
    with pytest.raises(MalformedError):
        parse_signature(f"— a {base64.b64encode(bytes(count)).decode()}", "x")


def test_a_cosignature_of_another_length_is_refused() -> None:
    note = parse_note(GOOD)
    line = next(each for each in note.signatures if each.name == W1.name)
    for data in (line.data[:-1], line.data + b"x", line.data[8:]):
        other = NoteSignature(name=line.name, key_id=line.key_id, data=data)
        with pytest.raises(MalformedError, match="72 bytes"):
            opened(merge_signatures(note, [other]).to_bytes(), W1)


class TestCheckpoints:
    def test_a_checkpoint_with_its_witnesses(self) -> None:
        signed = open_checkpoint(GOOD, [LOG.as_log], [w.as_witness for w in (W1, W2, W3)])
        assert signed.checkpoint == Checkpoint(origin=LOG.name, size=20, root=TREE.root(20))
        assert signed.witnesses == {W1.name: NOW, W2.name: NOW}

    def test_a_cosignature_is_the_one_of_the_specification(self) -> None:
        line = cosign("a\n1\nb\n", W1.name, W1.key, NOW)
        seconds = int(NOW.timestamp())
        assert int.from_bytes(line.data[:8], "big") == seconds
        Ed25519PublicKey.from_public_bytes(W1.as_witness.raw[1:]).verify(
            line.data[8:], f"cosignature/v1\ntime {seconds}\na\n1\nb\n".encode()
        )

    def test_a_log_signature_is_no_cosignature(self) -> None:
        note = sign_checkpoint(Checkpoint(origin=W1.name, size=20, root=TREE.root(20)), W1.key)
        both = merge_signatures(parse_note(GOOD), note.signatures)
        signed = open_checkpoint(both.to_bytes(), [LOG.as_log], [W3.as_witness, W1.as_witness])
        assert signed.witnesses == {W1.name: NOW}

    def test_a_cosignature_moved_to_another_checkpoint_is_refused(self) -> None:
        other = checkpoint_of(LOG, 19, TREE.root(19))
        moved = merge_signatures(parse_note(other), parse_note(GOOD).signatures[1:])
        with pytest.raises(VerificationError) as caught:
            opened(moved.to_bytes(), W1)
        assert caught.value.code == "signature-invalid"

    def test_a_changed_time_is_refused(self) -> None:
        note = parse_note(GOOD)
        line = note.signatures[1]
        later = (int(NOW.timestamp()) + 1).to_bytes(8, "big")
        changed = merge_signatures(
            note, [type(line)(name=line.name, key_id=line.key_id, data=later + line.data[8:])]
        )
        with pytest.raises(VerificationError):
            opened(changed.to_bytes(), W1)

    def test_another_log_is_not_trusted(self) -> None:
        with pytest.raises(VerificationError) as caught:
            opened(GOOD, log=NamedKey("another.example"))
        assert caught.value.code == "log-unknown"

    @pytest.mark.parametrize(
        "text",
        [
            "", "a\n1\n", "a\n01\n" + "A" * 43 + "=\n", "a\n-1\n" + "A" * 43 + "=\n",
            "a\n1\nAAAA\n", "a b\n1\n" + "A" * 43 + "=\n", "a\n1\n" + "A" * 43 + "=\nextension\n",
            "\n1\n" + "A" * 43 + "=\n", "a\n0\n" + "A" * 43 + "=\n", "a\n1\n" + "A" * 43 + "=",
            "a\n9223372036854775808\n" + "A" * 43 + "=\n", "a\n1\n" + "A" * 42 + "B=\n",
            "a\n\u0661\n" + "A" * 43 + "=\n",
        ],
    )  # fmt: skip
    def test_other_texts_are_refused(self, text: str) -> None:
        with pytest.raises(MalformedError):
            parse_checkpoint(text)

    def test_a_time_beyond_all_years_is_refused(self) -> None:
        line = cosign("a\n1\nb\n", W1.name, W1.key, NOW)
        key = witness_key(W1.name, W1.key)
        for seconds in (2**63, 2**63 - 1):
            data = seconds.to_bytes(8, "big")
            text = parse_note(GOOD).text
            signed = data + W1.key.sign(f"cosignature/v1\ntime {seconds}\n{text}".encode())
            note = merge_signatures(
                parse_note(GOOD), [type(line)(name=key.name, key_id=key.key_id, data=signed)]
            )
            with pytest.raises(MalformedError):
                opened(note.to_bytes(), W1)


class TestProofs:
    def proof(self, index: int = 7) -> LogProof:
        hashes = tuple(prove_inclusion(index, 20, TREE.reader(20)))
        return LogProof(index=index, hashes=hashes, checkpoint=GOOD)

    def test_a_proof_comes_back_and_holds(self) -> None:
        proof = parse_proof(self.proof().to_bytes())
        assert proof == self.proof()
        signed = check_proof(proof, b"entry 7", [LOG.as_log], [W1.as_witness], "x")
        assert signed.witnesses == {W1.name: NOW}

    def test_the_form_is_the_one_of_the_specification(self) -> None:
        lines = self.proof().to_bytes().decode().split("\n")
        assert lines[:2] == ["c2sp.org/tlog-proof@v1", "index 7"]
        assert lines[2 + 5] == ""
        assert lines[2 + 6] == LOG.name

    def test_extra_data_is_skipped(self) -> None:
        data = self.proof().to_bytes().replace(b"\nindex", b"\nextra aGVsbG8=\nindex", 1)
        assert parse_proof(data) == self.proof()

    @pytest.mark.parametrize("entry", [b"entry 8", b""])
    def test_it_proves_nothing_else(self, entry: bytes) -> None:
        with pytest.raises(VerificationError) as caught:
            check_proof(self.proof(), entry, [LOG.as_log], [], "x")
        assert caught.value.code == "not-in-log"

    @pytest.mark.parametrize(
        ("old", "new"),
        [
            (b"tlog-proof@v1", b"tlog-proof@v2"), (b"index 7", b"index 07"), (b"index 7", b"index"),
            (b"index 7\n", b""), (b"\n\n", b"\n"), (b"index 7", b"extra !\nindex 7"),
            (b"index 7", b"index -7"), (b"index 7", b"index 20"), (b"index 7", b"index 8"),
            (b"index 7", b"index 7\nextra aGVsbG8="), (b"index 7", b"Index 7"),
            (b"index 7\n", b"index 7\n" + b"A" * 43 + b"=\n"),
            (b"index 7\n", b"index 7\n" + (b"A" * 43 + b"=\n") * 60),
            (b"index 7\n", b"index 7\nAAAA\n"), (b"c2sp", b" c2sp"), (b"index 7", b"index 7\r"),
        ],
    )  # fmt: skip
    def test_another_form_is_refused(self, old: bytes, new: bytes) -> None:
        with pytest.raises(SigningError):
            check_proof(
                parse_proof(self.proof().to_bytes().replace(old, new, 1)),
                b"entry 7", [LOG.as_log], [], "x",
            )  # fmt: skip

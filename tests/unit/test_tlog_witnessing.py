"""What a log asks a witness and what the witness answers, byte for byte."""

from __future__ import annotations

import base64
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from signing.errors import MalformedError
from signing.tlog.merkle import MAX_SIZE
from signing.tlog.note import MAX_NOTE_BYTES, MAX_SIGNATURES, NoteSignature
from signing.tlog.witnessing import (
    MAX_PROOF_HASHES,
    MAX_REQUEST_BYTES,
    parse_add_checkpoint,
    parse_cosignatures,
    parse_size_answer,
    render_add_checkpoint,
    render_size,
)

# The examples of c2sp.org/tlog-witness.
REQUEST = """\
old 20852014
PlRNCrwHpqhGrupue0L7gxbjbMiKA9temvuZZDDpkaw=
jrJZDmY8Y7SyJE0MWLpLozkIVMSMZcD5kvuKxPC3swk=
5+pKlUdi2LeF/BcMHBn+Ku6yhPGNCswZZD1X/6QgPd8=
/6WVhPs2CwSsb5rYBH5cjHV/wSmA79abXAwhXw3Kj/0=

example.com/behind-the-sofa
20852163
CsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=

\u2014 example.com/behind-the-sofa Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=
""".encode()  # noqa: E501
ANSWER = """\
\u2014 witness.example/w1 CMp+6LWBU0anHGH5aNDTJkH/gj79sG+T6+iP2ThYN5krrDJbR1HDnucjL39QsZTSvVjyQLrdk3DXDqI5G2HgLatVs0pWh6Up69HVOw==
\u2014 witness.example/w2 AWui8Sk55XjYLOijihBjhqEH6nS1ndDymE0a+6idX7pLcnoB+dhnz0854aLZgrrKbYKA7nC3HNJhm/kWl7oJlqU3rXXvpysAdyP3wQ==
""".encode()  # noqa: E501
HASH = base64.b64encode(bytes(32)).decode()


class TestRequests:
    def test_the_example_of_the_specification(self) -> None:
        parsed = parse_add_checkpoint(REQUEST)
        assert parsed.old == 20852014
        assert [each[:2].hex() for each in parsed.proof] == ["3e54", "8eb2", "e7ea", "ffa5"]
        assert parsed.checkpoint.startswith(b"example.com/behind-the-sofa\n20852163\n")
        assert render_add_checkpoint(parsed.old, parsed.proof, parsed.checkpoint) == REQUEST

    @given(
        old=st.integers(0, MAX_SIZE),
        proof=st.lists(st.binary(min_size=32, max_size=32), max_size=MAX_PROOF_HASHES),
        checkpoint=st.binary(max_size=300),
    )
    def test_a_request_comes_back(self, old: int, proof: list[bytes], checkpoint: bytes) -> None:
        parsed = parse_add_checkpoint(render_add_checkpoint(old, proof, checkpoint))
        assert (parsed.old, list(parsed.proof), parsed.checkpoint) == (old, proof, checkpoint)

    def test_the_largest_request_is_within_the_limit(self) -> None:
        largest = render_add_checkpoint(MAX_SIZE, [bytes(32)] * 63, bytes(MAX_NOTE_BYTES))
        assert len(largest) <= MAX_REQUEST_BYTES

    @pytest.mark.parametrize(
        "head",
        [
            "",
            "old",
            "old ",
            "old  1",
            " old 1",
            "Old 1",
            "old 01",
            "old -1",
            "old +1",
            "old 1 ",
            "old 1\r",
            "old \u0661",
            f"old {MAX_SIZE + 1}",
            "new 1",
            f"old 1\n{HASH} ",
            f"old 1\n{HASH}\r",
            f"old 1\n {HASH}",
            f"old 1\n{HASH[:-2]}",
            f"old 1\n{HASH[:-2]}B=",  # bits behind the end
            f"old 1\n{base64.b64encode(bytes(31)).decode()}",
            f"old 1\n{base64.b64encode(bytes(33)).decode()}",
            f"old 1\n{HASH}{HASH}",
            "old 1\n" + "\n".join([HASH] * 64),
            f"{HASH}\nold 1",
        ],
    )
    def test_a_head_in_another_form_is_refused(self, head: str) -> None:
        with pytest.raises(MalformedError):
            parse_add_checkpoint(head.encode() + b"\n\ncheckpoint\n")

    @pytest.mark.parametrize("data", [b"", b"old 1", b"old 1\n", b"old 1\nx\n", b"\n\n", b"\xff"])
    def test_a_body_that_is_cut_off_is_refused(self, data: bytes) -> None:
        with pytest.raises(MalformedError):
            parse_add_checkpoint(data)

    def test_a_body_that_is_too_long_is_refused(self) -> None:
        with pytest.raises(MalformedError, match=str(MAX_REQUEST_BYTES)):
            parse_add_checkpoint(b"old 1\n\n" + bytes(MAX_REQUEST_BYTES))

    @given(data=st.binary(max_size=200))
    def test_whatever_the_bytes_only_one_kind_of_error_comes_out(self, data: bytes) -> None:
        for body in (data, b"old " + data, b"old 1\n" + data, b"old 1\n" + data + b"\n\n"):
            with suppress(MalformedError):
                parse_add_checkpoint(body)

    @given(data=st.data())
    def test_nor_from_a_request_with_one_byte_changed(self, data: st.DataObject) -> None:
        at = data.draw(st.integers(0, len(REQUEST) - 1))
        byte = data.draw(st.binary(max_size=2))
        try:
            parsed = parse_add_checkpoint(REQUEST[:at] + byte + REQUEST[at + 1 :])
        except MalformedError:
            return
        rendered = render_add_checkpoint(parsed.old, parsed.proof, parsed.checkpoint)
        assert rendered == REQUEST[:at] + byte + REQUEST[at + 1 :]


class TestAnswers:
    def test_the_example_of_the_specification(self) -> None:
        found = parse_cosignatures(ANSWER)
        assert [each.name for each in found] == ["witness.example/w1", "witness.example/w2"]
        assert all(len(each.data) == 72 for each in found)
        assert "".join(each.line for each in found).encode() == ANSWER

    @pytest.mark.parametrize(
        "body",
        [
            b"",
            b"\n",
            ANSWER[:-1],
            ANSWER + b"\n",
            b"\n" + ANSWER,
            ANSWER.replace(b"\n", b"\r\n"),
            ANSWER.replace("\u2014 ".encode(), b"- "),
            b"\xff\n",
            b"<html>\n",
            ANSWER * (MAX_SIGNATURES // 2 + 1),
            b"a" * (MAX_NOTE_BYTES + 1),
        ],
    )
    def test_another_form_is_refused(self, body: bytes) -> None:
        with pytest.raises(MalformedError):
            parse_cosignatures(body)

    @given(body=st.binary(max_size=200))
    def test_whatever_the_bytes_only_one_kind_of_error_comes_out(self, body: bytes) -> None:
        for each in (body, "\u2014 w ".encode() + body, "\u2014 w ".encode() + body + b"\n"):
            try:
                signatures = parse_cosignatures(each)
            except MalformedError:
                continue
            assert all(isinstance(one, NoteSignature) for one in signatures)

    @given(size=st.integers(0, MAX_SIZE))
    def test_a_size_comes_back(self, size: int) -> None:
        assert parse_size_answer(render_size(size)) == size

    @pytest.mark.parametrize(
        "body", [b"", b"\n", b"1", b"01\n", b"-1\n", b"1\n\n", b" 1\n", b"1\r\n", b"\xff\n", b"x\n"]
    )
    def test_another_form_of_a_size_is_refused(self, body: bytes) -> None:
        with pytest.raises(MalformedError):
            parse_size_answer(body)

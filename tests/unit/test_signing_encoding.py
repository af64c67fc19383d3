"""JSON that every parser reads alike, and digests, errors and fields on top of it."""

from __future__ import annotations

import io
import json

import pytest

from signing.digests import BUFFER_BYTES, hash_stream, parse_digest, sha256_hex
from signing.encoding import (
    MAX_DEPTH,
    MAX_INTEGER,
    Fields,
    canonical_json,
    is_plain,
    parse_json,
    type_name,
)
from signing.errors import MalformedError, SigningError, VerificationError, shown

REFUSED = {
    "empty": b"",
    "not-json": b"{",
    "trailing-data": b"{} {}",
    "single-quotes": b"{'a':1}",
    "trailing-comma": b"[1,]",
    "comment": b"/**/{}",
    "duplicate-key": b'{"a":1,"a":1}',
    "duplicate-key-escaped": b'{"a":1,"\\u0061":1}',
    "duplicate-key-inside": b'[{"b":{"a":1,"a":2}}]',
    "beyond-2-53": b"9007199254740992",
    "below-minus-2-53": b"-9007199254740992",
    "huge-integer": b"1" * 100_000,
    "fraction": b"1.5",
    "whole-fraction": b"1.0",
    "exponent": b"1e3",
    "infinite-exponent": b"1e400",
    "nan": b"NaN",
    "infinity": b"[Infinity]",
    "minus-infinity": b"-Infinity",
    "leading-zero": b"01",
    "invalid-utf-8": b'"\xff"',
    "overlong-utf-8": b'"\xc0\xaf"',
    "utf-8-surrogate": b'"\xed\xa0\x80"',
    "utf-16": '"a"'.encode("utf-16"),
    "byte-order-mark": b"\xef\xbb\xbf{}",
    "lone-surrogate": b'"\\ud800"',
    "lone-surrogate-in-key": b'{"\\udfff":1}',
    "lone-surrogate-far-inside": b'{"a":{"b":[{"c":"\\ud800"}]}}',
    "surrogates-in-wrong-order": b'"\\udc00\\ud800"',
    "raw-control-character": b'"\x01"',
    "deep-100000-lists": b"[" * 100_000,
    "deep-100000-objects": b'{"a":' * 100_000,
    "deep-closed": b"[" * 100_000 + b"]" * 100_000,
    "one-level-too-deep": b"[" * (MAX_DEPTH + 1) + b"]" * (MAX_DEPTH + 1),
    "one-object-too-deep": b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1),
}


@pytest.mark.parametrize("data", REFUSED.values(), ids=REFUSED)
def test_refuses_what_parsers_disagree_about(data: bytes) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_json(data, "file.json")
    assert caught.value.where == "file.json"
    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("data", "value"),
    [
        (b"9007199254740991", MAX_INTEGER),
        (b"-9007199254740991", -MAX_INTEGER),
        (b'"\\ud83d\\ude00"', "\U0001f600"),
        ('{"ن":["ⵣ"]}'.encode(), {"ن": ["ⵣ"]}),
        (b"[" * MAX_DEPTH + b"]" * MAX_DEPTH, None),
        (b'{"a":{"a":1},"b":{"a":1}}', {"a": {"a": 1}, "b": {"a": 1}}),
        (b" null ", None),
    ],
    ids=["max", "min", "pair", "scripts", "deepest", "same-key-elsewhere", "null"],
)
def test_reads_what_all_parsers_agree_about(data: bytes, value: object) -> None:
    parsed = parse_json(data, "x")
    assert value is None or parsed == value


def test_refuses_more_bytes_than_allowed_before_it_parses() -> None:
    assert parse_json(b"[1]", "x", max_bytes=3) == [1]
    with pytest.raises(MalformedError, match="at most 3 bytes"):
        parse_json(b"[1] ", "x", max_bytes=3)


def test_finds_a_duplicate_among_many_keys_in_linear_time() -> None:
    # 300,000 keys: a search that compares each with each would take hours, not a moment.
    keys = ",".join(f'"k{number}":0' for number in range(300_000))
    with pytest.raises(MalformedError, match="'again' twice"):
        parse_json(f'{{{keys},"again":0,"again":0}}'.encode(), "x")


def test_canonical_form() -> None:
    value = {"b": 1, "a": ["ن", True, None], "é": {"z": "\n", "y": '"\\'}}
    encoded = canonical_json(value)
    assert encoded == '{"a":["ن",true,null],"b":1,"é":{"y":"\\"\\\\","z":"\\n"}}'.encode()
    assert json.loads(encoded) == value


def test_keys_are_sorted_by_code_point_not_by_utf_16() -> None:
    assert canonical_json({"\U0001f600": 1, "\uffee": 2}).startswith('{"\uffee"'.encode())


@pytest.mark.parametrize(
    "value", [1.0, [1.5], {"a": {"b": (0.1,)}}, {"a": float("nan")}, {"a": b"x"}, {"a": {1}}]
)
def test_what_has_no_canonical_form_is_a_programming_error(value: object) -> None:
    with pytest.raises(TypeError):
        canonical_json(value)


FIELD_FAILURES = {
    "missing": (lambda f: f.text("none"), "x: none"),
    "null-is-no-text": (lambda f: f.text("null"), "x: null"),
    "null-is-not-absent": (lambda f: f.optional_text("null"), "x: null"),
    "integer-is-no-text": (lambda f: f.text("one"), "x: one"),
    "text-is-no-integer": (lambda f: f.integer("text"), "x: text"),
    "boolean-is-no-integer": (lambda f: f.integer("true"), "x: true"),
    "negative": (lambda f: f.integer("minus"), "x: minus"),
    "too-low": (lambda f: f.integer("one", low=2), "x: one"),
    "too-long": (lambda f: f.text("text", max_chars=3), "x: text"),
    "other-literal": (lambda f: f.literal("text", "other"), "x: text"),
    "object-is-no-list": (lambda f: f.items("object"), "x: object"),
    "list-is-no-object": (lambda f: f.object("list"), "x: list"),
    "list-of-other-things": (lambda f: f.texts("list"), "x: list[1]"),
    "too-many": (lambda f: f.texts("list", max_items=1), "x: list"),
    "no-objects": (lambda f: f.objects("list"), "x: list[0]"),
    "missing-known": (lambda f: f.only(["more", *f.value]), "x: more"),
    "unknown": (lambda f: f.only([], optional=["null"]), "x: list"),
    "deeper": (lambda f: f.object("object").text("a"), "x: object.a"),
    "no-object-at-all": (lambda f: Fields.of([], "x"), "x"),
}


@pytest.mark.parametrize(("read", "where"), FIELD_FAILURES.values(), ids=FIELD_FAILURES)
def test_a_wrong_field_is_named(read, where: str) -> None:  # type: ignore[no-untyped-def]
    value = {
        "text": "long",
        "one": 1,
        "minus": -1,
        "true": True,
        "null": None,
        "list": ["a", 1],
        "object": {"a": 1},
    }
    with pytest.raises(MalformedError) as caught:
        read(Fields(value, "x"))
    assert caught.value.where == where


def test_absent_lists_and_optional_texts() -> None:
    fields = Fields({}, "x")
    assert fields.texts("a") == ()
    assert fields.optional_text("a") is None
    assert fields.only([]) is fields


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (None, "null"),
        ({}, "an object"),
        ([], "a list"),
        ("", "a string"),
        (True, "a boolean"),
        (7, "an integer 7"),
        (1.5, "a number 1.5"),
        (16**5000, "an integer beyond 2^53"),
    ],
    ids=["null", "object", "list", "string", "boolean", "integer", "number", "huge"],
)
def test_types_have_short_names(value: object, name: str) -> None:
    assert type_name(value) == name


@pytest.mark.parametrize(
    "text",
    [
        "a\x1b[31m",
        "a\nb",
        "a\tb",
        "a\x00",
        "a\x9b",
        "a\x7f",
        "a\x85",
        "a\u2028b",
        "a\u2029b",
        "a\u202eb",
        "a\u2067b",
        "a\ud800",
    ],
)
def test_what_moves_the_cursor_or_turns_the_line_is_not_plain(text: str) -> None:
    assert not is_plain(text)
    assert is_plain("بطاقة\u200cالنموذج ⵜⴰ — ok")


def test_many_lines_may_hold_line_breaks_and_nothing_else() -> None:
    assert is_plain("a\n\tb", many_lines=True)
    assert not is_plain("a\r\n\x1bb", many_lines=True)


@pytest.mark.parametrize(
    "text",
    [None, 5, "", "a" * 63, "a" * 65, "A" * 64, "g" * 64, "a" * 64 + "\n", "٠" * 64, b"a" * 64],
    ids=["none", "int", "empty", "63", "65", "upper", "g", "newline", "arabic-digits", "bytes"],
)
def test_a_digest_has_one_spelling(text: object) -> None:
    with pytest.raises(MalformedError):
        parse_digest(text, "digest")
    assert parse_digest(sha256_hex(b""), "digest") == sha256_hex(b"")


@pytest.mark.parametrize("size", [0, 1, BUFFER_BYTES, BUFFER_BYTES + 1])
def test_hashes_streams_of_any_length(size: int) -> None:
    data = bytes(size)
    assert hash_stream(io.BytesIO(data)) == (size, sha256_hex(data))


HOSTILE = "a\x1b[2J\nb\u202ec"


@pytest.mark.parametrize(
    "error",
    [
        MalformedError(HOSTILE, "x", "y"),
        MalformedError("x", HOSTILE, "y"),
        MalformedError("x", "y", HOSTILE),
        MalformedError("x", "y", ValueError(HOSTILE)),
        MalformedError("x", "y", [HOSTILE]),
        VerificationError("c", HOSTILE, "x", "y"),
        VerificationError("c", "x", HOSTILE, "y"),
        VerificationError("c", "x", "y", ValueError(HOSTILE)),
    ],
    ids=["where", "expected", "found", "exception", "list", "subject", "promise", "cause"],
)
def test_a_message_never_carries_control_characters(error: SigningError) -> None:
    assert str(error).isprintable()
    assert "[2J" in str(error)  # spelt out, not dropped


def test_what_is_shown_is_short_and_readable() -> None:
    assert shown("ن ⵣ") == "ن ⵣ"
    assert shown("a" * 200) == "a" * 119 + "…"
    assert shown(5) == "5"


def test_errors_keep_code_message_and_hint() -> None:
    error = VerificationError("expired", "role x", "later", "earlier", "do this")
    assert (error.code, error.hint, error.subject) == ("expired", "do this", "role x")
    assert str(error) == error.message == "role x: expected later, found earlier"

"""forge.toml: strict, and every refusal names the key and its line."""

from __future__ import annotations

import dataclasses

import pytest
from builders import NAME, forge_toml

from signing.component import KINDS, MAX_TOML_BYTES, ComponentSpec, Risk, parse_forge_toml
from signing.errors import MalformedError

FULL = """\
[component]
org = "minds-lab"
name = "darija-lid"
version = "1.0.0"
kind = "model"
summary = "تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ"
license = "Apache-2.0"
languages = ["ary", "zgh-Tfng", "ar-MA", "fr"]
tasks = ["text-classification"]
card = "README.md"

[requires]
"minds-lab/tokenizer" = ">=1.2,<2"
"a/b" = ""

[risk]
class = "minimal"
rationale = '''
Reads text.
	Decides nothing.'''
"""


def test_reads_every_field() -> None:
    spec = parse_forge_toml(FULL.encode())
    assert spec.component == NAME
    assert str(spec.version) == "1.0.0"
    assert spec.languages == ("ary", "zgh-Tfng", "ar-MA", "fr")
    assert spec.risk == Risk(class_="minimal", rationale="Reads text.\n\tDecides nothing.")
    assert spec.metadata() == {
        "summary": "تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ",
        "license": "Apache-2.0",
        "languages": ["ary", "zgh-Tfng", "ar-MA", "fr"],
        "tasks": ["text-classification"],
        "requires": {"a/b": "", "minds-lab/tokenizer": ">=1.2,<2"},
        "card": "README.md",
        "risk": {"class": "minimal", "rationale": "Reads text.\n\tDecides nothing."},
    }


def test_optional_tables_and_keys_may_be_absent() -> None:
    data = forge_toml().replace(b"[requires]\n", b"")
    spec = parse_forge_toml(data)
    assert (spec.requires, spec.risk, spec.card, spec.languages) == ({}, None, None, ())
    assert "card" not in spec.metadata()
    assert "risk" not in spec.metadata()


@pytest.mark.parametrize("kind", KINDS)
def test_reads_every_kind(kind: str) -> None:
    assert parse_forge_toml(forge_toml(kind=kind)).kind == kind


# (replace, by, what the message must contain)
SPOILT = {
    "unknown-key": ('tasks = ["text', 'licence = "MIT"\ntasks = ["text', "licence"),
    "unknown-table": ("[risk]", "[extra]\na = 1\n[risk]", "extra"),
    "unknown-risk-key": ("class =", 'level = "x"\nclass =', "risk.level"),
    "missing-rationale": (FULL[FULL.index("rationale") :], "", "risk.rationale"),
    "wrong-type": ('summary = "تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ"', "summary = 5", "line 6: component.summ"),
    "float-version": ('version = "1.0.0"', "version = 1.0", "line 4: component.version"),
    "huge-integer": ('version = "1.0.0"', f"version = 0x{'f' * 5000}", "line 4: component.version"),
    "date-version": ('version = "1.0.0"', "version = 2026-01-01", "line 4: component.version"),
    "bad-org": ('"minds-lab"\nname', '"Minds"\nname', "line 2: component.org"),
    "reserved-org": ('"minds-lab"\nname', '"api"\nname', "line 2: component.org"),
    "bad-name": ('"darija-lid"', '"darija_lid"', "line 3: component.name"),
    "bad-version": ('"1.0.0"', '"v1"', "line 4: component.version"),
    "local-version": ('"1.0.0"', '"1.0.0+x"', "line 4: component.version"),
    "bad-kind": ('"model"', '"agent"', "line 5: component.kind"),
    "empty-summary": ("تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ", "  ", "line 6: component.summary"),
    "two-line-summary": ("تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ", "a\\nb", "line 6: component.summary"),
    "escape-in-summary": ("تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ", "\\u001b[1m", "line 6: component.summary"),
    "c1-in-summary": ("تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ", "a\u009bm", "line 6: component.summary"),
    "bidi-in-summary": ("تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ", "a\u202eb", "line 6: component.summary"),
    "long-summary": ("تعرّف على اللغات ⵜⴰⵎⴰⵣⵉⵖⵜ", "a" * 201, "line 6: component.summary"),
    "licence-no-spdx": ('"Apache-2.0"', '"Apache 2"', "line 7: component.license"),
    "licence-unknown": ('"Apache-2.0"', '"MINE-1.0"', "line 7: component.license"),
    "licence-spelling": ('"Apache-2.0"', '"apache-2.0"', "line 7: component.license"),
    "licence-brackets": ('"Apache-2.0"', f'"{"(" * 200}MIT{")" * 190}"', "component.license"),
    "licence-empty": ('"Apache-2.0"', '""', "line 7: component.license"),
    "licence-too-long": ('"Apache-2.0"', f'"MIT{" OR MIT" * 80}"', "line 7: component.license"),
    "language-word": ('"ary"', '"darija"', "line 8: component.languages[0]"),
    "language-twice": ('"ary"', '"fr"', "line 8: component.languages"),
    "language-number": ('"ary"', "5", "line 8: component.languages[0]"),
    "languages-text": ('["ary", "zgh-Tfng", "ar-MA", "fr"]', '"ary"', "line 8: component.languag"),
    "languages-many": (
        '"ary"',
        ",".join(f'"a{c}{d}"' for c in "abcdef" for d in "abcdefghijklmnopq"),
        "line 8: component.languages",
    ),
    "task-spaces": ('"text-classification"', '"text classification"', "component.tasks[0]"),
    "task-long": ('"text-classification"', f'"{"a" * 61}"', "component.tasks[0]"),
    "card-outside": ('"README.md"', '"../README.md"', "line 10: component.card"),
    "card-absolute": ('"README.md"', '"/README.md"', "line 10: component.card"),
    "requires-itself": ('"minds-lab/tokenizer"', '"minds-lab/darija-lid"', "the component itself"),
    "requires-no-component": ('"minds-lab/tokenizer"', '"tokenizer"', "line 13: requires"),
    "requires-no-range": ('">=1.2,<2"', '"latest"', "line 13: requires"),
    "requires-arbitrary": ('">=1.2,<2"', '"===1"', "line 13: requires"),
    "requires-number": ('">=1.2,<2"', "1", "line 13: requires"),
    "risk-class": ('"minimal"', '"none"', "line 17: risk.class"),
    "rationale-escape": ("Reads text.", "Reads\u009b2J.", "risk.rationale"),
    "rationale-bidi": ("Reads text.", "Reads\u202e.", "risk.rationale"),
    "rationale-long": ("Reads text.", "a" * 4000, "risk.rationale"),
}


@pytest.mark.parametrize(("old", "new", "message"), SPOILT.values(), ids=SPOILT)
def test_names_what_is_wrong_and_where(old: str, new: str, message: str) -> None:
    assert FULL.count(old) == 1
    with pytest.raises(MalformedError) as caught:
        parse_forge_toml(FULL.replace(old, new).encode(), "forge.toml")
    assert message in str(caught.value)
    assert str(caught.value).startswith("forge.toml")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("key", ["org", "name", "version", "kind", "summary", "license"])
def test_names_a_missing_field(key: str) -> None:
    lines = [line for line in FULL.splitlines() if not line.startswith(f"{key} =")]
    with pytest.raises(MalformedError, match=rf"forge\.toml: component\.{key}: .*missing"):
        parse_forge_toml("\n".join(lines).encode())


def test_refuses_more_than_200_requirements() -> None:
    many = "\n".join(f'"a/n{number}" = ""' for number in range(201))
    with pytest.raises(MalformedError, match="at most 200"):
        parse_forge_toml(FULL.replace('"a/b" = ""', many).encode())


NOT_TOML = {
    "empty": (b"", "component"),
    "no-toml": (b"[component]\n= 5", "line 2"),
    "json": (b'{"component": {}}', "TOML"),
    "twice": (FULL.replace("[risk]", "a = 1\na = 2\n[risk]").encode(), "TOML"),
    "two-tables": ((FULL + "[component]\n").encode(), "TOML"),
    "invalid-utf-8": (b"\xff" + FULL.encode(), "UTF-8"),
    "byte-order-mark": (b"\xef\xbb\xbf" + FULL.encode(), "TOML"),
    "nul": (FULL.replace("darija", "dar\0ija").encode(), "TOML"),
    "lone-surrogate": (FULL.replace("darija", "\\ud800").encode(), "TOML"),
    "deep-lists": (b"a = " + b"[" * 100_000, "TOML"),
    "deep-tables": (b"\na" + b".a" * 50_000 + b" = 1", "line 2: .* dots"),
    "too-large": (FULL.encode() + b"#" * MAX_TOML_BYTES, "at most"),
    "table-is-a-list": (b"[[component]]\n", "an object"),
    "table-is-a-text": (b"component = 'x'\n", "an object"),
}


@pytest.mark.parametrize(("data", "message"), NOT_TOML.values(), ids=NOT_TOML)
def test_refuses_what_is_no_description(data: bytes, message: str) -> None:
    with pytest.raises(MalformedError, match=message):
        parse_forge_toml(data)


def test_looks_for_the_line_in_linear_time() -> None:
    # 200,000 blank lines: a search that starts over at each would never come back.
    blank = "\n" * 200_000
    with pytest.raises(MalformedError, match=r"component\.kind"):
        parse_forge_toml(
            FULL.replace("[component]", blank + '[component]\nsort = "x"')
            .replace('kind = "model"', "")
            .encode()
        )
    with pytest.raises(MalformedError, match=r"line 200005: component\.kind"):
        parse_forge_toml((blank + FULL.replace('"model"', '"x"')).encode())


def test_a_description_is_a_value() -> None:
    spec = parse_forge_toml(FULL.encode())
    assert isinstance(spec, ComponentSpec)
    assert spec == parse_forge_toml(FULL.encode())
    with pytest.raises(dataclasses.FrozenInstanceError):
        spec.kind = "x"  # type: ignore[misc]

"""Names, versions and requirements: one grammar, and nothing that looks like another name."""

from __future__ import annotations

import pytest

from signing.errors import MalformedError
from signing.names import (
    MAX_NAME_CHARS,
    RESERVED_ORG_NAMES,
    ComponentName,
    Requirement,
    parse_org_name,
    parse_project_name,
    parse_specifier,
    parse_version,
    skeleton,
)

GOOD_NAMES = ["a", "7", "minds-lab", "a-b-c", "x" * MAX_NAME_CHARS, "0-0", "um6p"]
BAD_NAMES = {
    "empty": "",
    "too-long": "x" * (MAX_NAME_CHARS + 1),
    "upper-case": "Minds",
    "underscore": "minds_lab",
    "dot": "minds.lab",
    "leading-hyphen": "-minds",
    "trailing-hyphen": "minds-",
    "two-hyphens": "minds--lab",
    "space": "minds lab",
    "final-newline": "minds\n",
    "slash": "minds/lab",
    "parent": "..",
    "percent": "minds%2flab",
    "nul": "minds\0lab",
    "cyrillic-a": "mаroc",
    "greek-omicron": "mοroc",
    "arabic-letter": "minds-معهد",
    "arabic-digit": "minds١",
    "tifinagh": "minds-ⵣ",
    "tifinagh-o-like": "mⵔroc",
    "full-width": "ｍinds",
    "soft-hyphen": "mi\u00adnds",
    "zero-width": "mi\u200bnds",
    "combining": "e\u0301cole",
    "kelvin": "\u212aey",
    "dotless-i": "mınds",
    "none": None,
    "number": 5,
    "bytes": b"minds",
    "list": ["minds"],
}


@pytest.mark.parametrize("name", GOOD_NAMES)
def test_accepts_names_of_the_grammar(name: str) -> None:
    assert parse_org_name(name) == name
    assert parse_project_name(name) == name


@pytest.mark.parametrize("name", BAD_NAMES.values(), ids=BAD_NAMES)
@pytest.mark.parametrize("parse", [parse_org_name, parse_project_name])
def test_refuses_names_outside_the_grammar(parse, name: object) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(MalformedError) as caught:
        parse(name, "here")
    assert caught.value.code == "malformed"
    assert caught.value.where == "here"
    assert "\0" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_names_the_letter_of_another_script() -> None:
    with pytest.raises(MalformedError, match="CYRILLIC SMALL LETTER A"):
        parse_org_name("mаroc")


@pytest.mark.parametrize(
    ("name", "near"), [("Minds_Lab", "minds-lab"), ("École", "ecole"), ("a..b", "a-b")]
)
def test_hints_at_the_nearest_name(name: str, near: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_project_name(name)
    assert caught.value.hint == f"perhaps {near!r}"


def test_gives_no_hint_where_nothing_is_near() -> None:
    with pytest.raises(MalformedError) as caught:
        parse_project_name("معهد")
    assert caught.value.hint is None


@pytest.mark.parametrize("name", [*sorted(RESERVED_ORG_NAMES), "reviews-cert", "xn-80ak6aa92e"])
def test_reserved_words_are_no_organisations(name: str) -> None:
    with pytest.raises(MalformedError):
        parse_org_name(name)


@pytest.mark.parametrize(
    "word",
    ["root", "targets", "snapshot", "timestamp", "registrar", "reviews", "status", "organisation"],
)
def test_words_that_roles_and_addresses_use_are_reserved(word: str) -> None:
    assert word in RESERVED_ORG_NAMES


def test_a_project_may_carry_a_reserved_word() -> None:
    assert str(ComponentName.parse("minds-lab/status")) == "minds-lab/status"


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("minds-lab", "mindslab"),
        ("g00gle", "google"),
        ("paypa1", "paypal"),
        ("rnaroc", "maroc"),
        ("vvord", "word"),
        ("clata", "data"),
        ("5ah", "sah"),
        ("2ellige", "zellige"),
        ("8ank", "bank"),
        ("ai", "al"),
        ("r-n", "m"),
    ],
)
def test_look_alikes_share_a_skeleton(one: str, other: str) -> None:
    assert skeleton(one) == skeleton(other)


@pytest.mark.parametrize(("one", "other"), [("maroc", "niger"), ("a", "b"), ("data", "date")])
def test_different_names_keep_different_skeletons(one: str, other: str) -> None:
    assert skeleton(one) != skeleton(other)


@pytest.mark.parametrize(
    "text",
    ["", "a", "a/", "/a", "a/b/c", "a//b", "A/b", "a/B", "api/x", " a/b", "a/b ", "a\\b", None, 1],
)
def test_refuses_what_is_no_component(text: object) -> None:
    with pytest.raises(MalformedError):
        ComponentName.parse(text)


def test_a_component_names_its_role_and_its_targets() -> None:
    name = ComponentName.parse("minds-lab/darija-lid")
    assert name.role == "minds-lab.darija-lid"
    assert ComponentName.from_role(name.role) == name
    assert name.target("1.0", "x") == "minds-lab/darija-lid/1.0/x"
    assert sorted([ComponentName.parse("b/a"), ComponentName.parse("a/z")])[0].org == "a"


@pytest.mark.parametrize("role", ["minds-lab", "a.b.c", "a/b.c", ".a", "a.", "", 5, None])
def test_refuses_roles_that_are_no_components(role: object) -> None:
    with pytest.raises(MalformedError):
        ComponentName.from_role(role)


GOOD_VERSIONS = ["1", "1.0", "1.0.0", "2!1.0", "1.0a1", "1.0rc2", "1.0.post1", "1.0.dev3"]
BAD_VERSIONS = {
    "empty": "",
    "word": "latest",
    "v-prefix": "v1.0",
    "leading-zero": "01.0",
    "upper-case": "1.0RC1",
    "dash": "1.0-1",
    "spaces": " 1.0",
    "newline": "1.0\n",
    "local-part": "1.0+cu118",
    "arabic-digits": "١.٠",
    "full-width-digit": "１.0",
    "long-s": "1.0.po\u017ft1",
    "slash": "1/0",
    "parent": "..",
    "too-long": "1" * 61,
    "number": 1.0,
    "none": None,
}


@pytest.mark.parametrize("text", GOOD_VERSIONS)
def test_accepts_canonical_versions(text: str) -> None:
    assert str(parse_version(text)) == text


@pytest.mark.parametrize("text", BAD_VERSIONS.values(), ids=BAD_VERSIONS)
def test_refuses_other_spellings_of_versions(text: object) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_version(text, "there")
    assert caught.value.where == "there"


@pytest.mark.parametrize(("text", "hint"), [("v1.0", "write '1.0'"), ("1.0+local", "write '1.0'")])
def test_hints_at_the_canonical_version(text: str, hint: str) -> None:
    with pytest.raises(MalformedError) as caught:
        parse_version(text)
    assert caught.value.hint == hint


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("a/b", "a/b"),
        ("a/b>=1,<2", "a/b<2,>=1"),
        ("a/b==1.0.0", "a/b==1.0.0"),
        ("a/b ~= 1.2", "a/b~=1.2"),
        (" a/b != 2", "a/b!=2"),
        ("a/b==1.*", "a/b==1.*"),
    ],
)
def test_reads_requirements(text: str, written: str) -> None:
    assert str(Requirement.parse(text)) == written


@pytest.mark.parametrize(
    "text",
    ["", ">=1", "a", "a/b/c", "a/b@1", "a/b 1.0", "a/b>=", "a/b=1", "a/b===1", "api/b", "a/b>=x"],
)
def test_refuses_what_is_no_requirement(text: str) -> None:
    with pytest.raises(MalformedError):
        Requirement.parse(text)


@pytest.mark.parametrize(
    "text",
    [None, 1, ["=="], "===1", "1.0", ">=1;x", ">=1.0.po\u017ft1", ">=١", ">=1," * 60],
    ids=["none", "number", "list", "arbitrary", "bare", "marker", "long-s", "arabic", "too-long"],
)
def test_refuses_what_is_no_range(text: object) -> None:
    with pytest.raises(MalformedError):
        parse_specifier(text, "requires")

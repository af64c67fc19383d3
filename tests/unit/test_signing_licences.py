"""Which SPDX expressions a list of accepted licences accepts."""

from __future__ import annotations

import pytest
from packaging.licenses import canonicalize_license_expression

from signing.errors import MalformedError
from signing.licence_names import COMMON, nearest_licences
from signing.licences import parse_licences

CASES = [
    ("MIT", ["MIT"], True),
    ("MIT", ["Apache-2.0"], False),
    ("MIT OR GPL-3.0-only", ["MIT"], True),
    ("GPL-3.0-only OR MIT", ["MIT"], True),
    ("MIT AND GPL-3.0-only", ["MIT"], False),
    ("MIT AND GPL-3.0-only", ["MIT", "GPL-3.0-only"], True),
    # AND binds more tightly than OR (SPDX 2.3, D.4.5).
    ("MIT OR Apache-2.0 AND GPL-3.0-only", ["MIT"], True),
    ("MIT AND Apache-2.0 OR GPL-3.0-only", ["GPL-3.0-only"], True),
    ("MIT AND Apache-2.0 OR GPL-3.0-only", ["MIT"], False),
    ("(MIT OR Apache-2.0) AND GPL-3.0-only", ["MIT"], False),
    ("(MIT OR Apache-2.0) AND GPL-3.0-only", ["Apache-2.0", "GPL-3.0-only"], True),
    # An exception is accepted by name, and does not come with the licence, nor the other way.
    (
        "GPL-2.0-only WITH Classpath-exception-2.0",
        ["GPL-2.0-only WITH Classpath-exception-2.0"],
        True,
    ),
    ("GPL-2.0-only WITH Classpath-exception-2.0", ["GPL-2.0-only"], False),
    ("GPL-2.0-only", ["GPL-2.0-only WITH Classpath-exception-2.0"], False),
    # Who may choose a later version may also choose this one; not the other way round.
    ("GPL-2.0-or-later", ["GPL-2.0-only"], True),
    ("GPL-2.0-only", ["GPL-2.0-or-later"], False),
    ("GPL-2.0-or-later", ["GPL-2.0-or-later"], True),
    ("Apache-1.1+", ["Apache-1.1"], True),
    ("LicenseRef-Ministry", ["LicenseRef-Ministry"], True),
    ("LicenseRef-Ministry", ["MIT"], False),
    ("(" * 190 + "MIT" + ")" * 190, ["MIT"], True),
]


@pytest.mark.parametrize(
    ("expression", "accepted", "holds"), CASES, ids=[f"{at}" for at in range(len(CASES))]
)
def test_an_expression_is_accepted_as_spdx_means_it(
    expression: str, accepted: list[str], holds: bool
) -> None:
    assert parse_licences(accepted, "licences").accept(expression) is holds


def test_what_is_in_the_way_is_the_shorter_side_of_a_choice() -> None:
    licences = parse_licences(["MIT"], "licences")
    assert licences.in_the_way("GPL-3.0-only AND MPL-2.0 OR EUPL-1.2") == {"EUPL-1.2"}
    assert licences.in_the_way("GPL-3.0-only AND MIT") == {"GPL-3.0-only"}


@pytest.mark.parametrize("text", ["", "MIT AND", "(MIT", "NOPE-1.0", "MIT WITH MIT"])
def test_what_is_no_expression_is_malformed(text: str) -> None:
    with pytest.raises(MalformedError):
        parse_licences(["MIT"], "licences").accept(text)


@pytest.mark.parametrize(
    ("said", "meant"),
    [
        ("Apache 2.0", "Apache-2.0"),
        ("Apache2", "Apache-2.0"),
        ("Apache License, Version 2.0", "Apache-2.0"),
        ("Apach-2.0", "Apache-2.0"),
        ("GPL3", "GPL-3.0-only or GPL-3.0-or-later"),
        ("gnu gpl v2 or later", "GPL-2.0-or-later"),
        ("LGPLv2.1+", "LGPL-2.1-or-later"),
        ("The MIT License", "MIT"),
        ("BSD", "BSD-2-Clause or BSD-3-Clause"),
        ("CC BY 4.0", "CC-BY-4.0"),
        ("Creative Commons Attribution 4.0", "CC-BY-4.0"),
        ("EUPL", "EUPL-1.2"),
        ("mit or Apache 2.0", "MIT OR Apache-2.0"),
        ("GPL3 OR MIT", ""),
        ("proprietary", ""),
        ("unlicensed", ""),  # not the Unlicense
        ("((((", ""),
        ("", ""),
    ],
    ids=ascii,
)
def test_what_people_call_a_licence_leads_to_its_identifier(said: str, meant: str) -> None:
    assert " or ".join(nearest_licences(said)) == meant
    with pytest.raises(MalformedError) as refused:
        parse_licences([said], "licences")
    assert refused.value.hint is not None
    assert (f"did you mean {meant}?" if meant else "LicenseRef-") in refused.value.hint


def test_every_identifier_that_is_suggested_is_one() -> None:
    assert [canonicalize_license_expression(each) for each in COMMON] == list(COMMON)

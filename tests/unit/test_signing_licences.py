"""Which SPDX expressions a list of accepted licences accepts."""

from __future__ import annotations

import pytest

from signing.errors import MalformedError
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

"""Whether a list of accepted licences accepts an SPDX expression (SPDX 2.3, annex D).

``A OR B`` leaves the choice to whoever takes the work: one accepted side will do. ``A AND B``
needs both. ``A WITH E`` is a licence of its own here: an exception can only be accepted by naming
it. Of ``A+`` and ``A-or-later`` the taker may choose version A, so an accepted ``A`` or ``A-only``
will do.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression

from .errors import MalformedError
from .licence_names import licence_hint

_PART = re.compile(r"[()]|[^\s()]+")
_BINDS = {"OR": 1, "AND": 2}


@dataclass(frozen=True, slots=True)
class Licences:
    """Accepted licences: canonical SPDX identifiers, or ``IDENTIFIER WITH EXCEPTION``."""

    accepted: frozenset[str]

    def accept(self, expression: str) -> bool:
        """Whether somebody who accepts these may take a work under ``expression``.

        Raises:
            MalformedError: it is no SPDX expression.
        """
        return not self.in_the_way(expression)

    def in_the_way(self, expression: str) -> frozenset[str]:
        """The licences of ``expression`` that are missing for it to be accepted; of an ``OR`` those
        of the side that lacks fewer.

        Raises:
            MalformedError: as `accept`.
        """
        values: list[frozenset[str]] = []
        waiting: list[str] = []
        # Two stacks instead of recursion: parentheses may be nested as deep as they are long.
        for part in (*_terms(expression), ")"):
            if part == "(":
                waiting.append(part)
                continue
            if part not in _BINDS and part != ")":
                values.append(frozenset() if self._takes(part) else frozenset([part]))
                continue
            while waiting and waiting[-1] != "(" and _BINDS[waiting[-1]] >= _BINDS.get(part, 0):
                other, one = values.pop(), values.pop()
                values.append(_combined(waiting.pop(), one, other))
            if part != ")":
                waiting.append(part)
            elif waiting:
                waiting.pop()
        return values[0]

    def _takes(self, licence: str) -> bool:
        base = re.sub(r"(\+|-or-later)$", "", licence)
        return bool(self.accepted & {licence, base, f"{base}-only" if base != licence else base})


def _combined(operator: str, one: frozenset[str], other: frozenset[str]) -> frozenset[str]:
    if operator == "AND":
        return one | other
    return min(one, other, key=lambda missing: (len(missing), sorted(missing)))


def parse_licences(texts: Collection[str], where: str) -> Licences:
    """A list of accepted licences.

    Raises:
        MalformedError: one is no SPDX identifier, combines several, or is not spelt as SPDX does.
    """
    for number, text in enumerate(texts):
        place = f"{where}[{number}]"
        if len(_terms(text, place)) != 1:
            raise MalformedError(place, "one licence", repr(text), "write each as an entry")
        if (canonical := _canonical(text, place)) != text:
            raise MalformedError(place, repr(canonical), repr(text))
    return Licences(frozenset(texts))


@lru_cache(maxsize=1024)  # most releases of a country are under a handful of licences
def _terms(expression: str, where: str = "licence") -> tuple[str, ...]:
    """Parentheses, operators, and licences with their exceptions."""
    terms: list[str] = []
    parts = iter(_PART.findall(_canonical(expression, where)))
    for part in parts:
        if part == "WITH":
            terms[-1] += f" WITH {next(parts)}"
        else:
            terms.append(part)
    return tuple(terms)


def _canonical(expression: str, where: str) -> str:
    try:
        return canonicalize_license_expression(expression)
    except (InvalidLicenseExpression, RecursionError):
        hint = licence_hint(expression)
        raise MalformedError(where, "an SPDX expression", repr(expression), hint) from None

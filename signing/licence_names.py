"""What somebody meant who wrote a licence as people say it: `Apache 2.0`, `GPLv3`, `MIT License`.

Pure, and only where something was refused already: nothing is ever taken for what it may have
meant.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from functools import cache
from typing import Final

_GNU: Final = ("GPL-2.0", "GPL-3.0", "LGPL-2.1", "LGPL-3.0", "AGPL-3.0", "GFDL-1.3")
# The licences under which nearly all software, data and models are; SPDX lists 700 others.
COMMON: Final = (
    "0BSD", "AFL-3.0", "Apache-1.1", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause",
    "BSL-1.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0",
    "CC-BY-ND-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-1.0",
    "CDLA-Permissive-2.0", "CDLA-Sharing-1.0", "CECILL-2.1", "CECILL-B", "CECILL-C", "EPL-2.0",
    "EUPL-1.1", "EUPL-1.2", "ISC", "MIT", "MIT-0", "MPL-2.0", "MS-PL", "NCSA", "ODC-By-1.0",
    "ODbL-1.0", "PDDL-1.0", "Python-2.0", "Unlicense", "WTFPL", "Zlib", "etalab-2.0",
    *(f"{name}-{which}" for name in _GNU for which in ("only", "or-later")),
)  # fmt: skip
# What is said without a version, or in words of which the identifier has none; folded.
_SAID: Final = {
    "agpl": ("AGPL-3.0-only", "AGPL-3.0-or-later"),
    "apache": ("Apache-2.0",),
    "bsd": ("BSD-2-Clause", "BSD-3-Clause"),
    "bsd2": ("BSD-2-Clause",),
    "bsd3": ("BSD-3-Clause",),
    "newbsd": ("BSD-3-Clause",),
    "simplifiedbsd": ("BSD-2-Clause",),
    "boostsoftware": ("BSL-1.0",),
    "cc0": ("CC0-1.0",),
    "ccby": ("CC-BY-4.0",),
    "ccbync": ("CC-BY-NC-4.0",),
    "ccbysa": ("CC-BY-SA-4.0",),
    "eupl": ("EUPL-1.2",),
    "expat": ("MIT",),
    "gpl": ("GPL-3.0-only", "GPL-3.0-or-later"),
    "lgpl": ("LGPL-3.0-only", "LGPL-3.0-or-later"),
    "licenceouverte20": ("etalab-2.0",),
    "mozilla": ("MPL-2.0",),
    "mpl": ("MPL-2.0",),
    "odbl": ("ODbL-1.0",),
    "ouverte20": ("etalab-2.0",),
    "unlicensed": (),  # nobody may use it, which is the opposite of the Unlicense
}
_WORDS: Final = (
    ("creative commons", "cc"), ("gnu ", ""), ("affero general public", "agpl"),
    ("lesser general public", "lgpl"), ("general public", "gpl"), ("mozilla public", "mpl"),
    ("european union public", "eupl"), ("attribution", "by"), ("sharealike", "sa"),
    ("or later", "+"), ("or any later version", "+"), ("public license", ""),
)  # fmt: skip
_OPERATOR: Final = re.compile(r"\s+(and|or(?!\s+(?:any )?later))\s+", re.IGNORECASE)
_SILENT: Final = re.compile(r"\b(the|software|foundation|asl|license|licence|version|v(?=\d))\b")


def nearest_licences(text: str) -> tuple[str, ...]:
    """The SPDX identifiers that ``text`` may stand for, or the one expression where it combines
    licences of which each can stand for one only. At most two; none where nothing is near."""
    parts = _OPERATOR.split(text)
    if len(parts) == 1:
        return _nearest(text)
    near = [_nearest(part) for part in parts[::2]]
    if any(len(each) != 1 for each in near):
        return ()
    operators = [each.upper() for each in parts[1::2]]
    rest = (f" {operator} {each[0]}" for operator, each in zip(operators, near[1:], strict=True))
    return ("".join((near[0][0], *rest)),)


def _nearest(text: str) -> tuple[str, ...]:
    words = text.strip().casefold()
    for said, short in _WORDS:
        words = words.replace(said, short)
    later = words.endswith("+")
    folded = _folded(words)
    for each in (folded, f"{folded}0"):  # GPL3 is GPL-3.0
        found = _SAID.get(each, _by_fold().get(each))
        if found is not None:
            return _asked(found, later=later)
    near = get_close_matches(folded, _by_fold(), n=1, cutoff=0.8)
    return _asked(_by_fold()[near[0]], later=later) if near else ()


def licence_hint(text: str) -> str:
    """What to write instead of ``text``, which is no SPDX expression."""
    found = nearest_licences(text)
    if found:
        return f"did you mean {' or '.join(found)}?"
    return "https://spdx.org/licenses lists them; one that is not there is LicenseRef-NAME"


def _asked(found: tuple[str, ...], *, later: bool) -> tuple[str, ...]:
    or_later = tuple(each for each in found if each.endswith("-or-later"))
    return or_later if later and or_later else found


def _folded(text: str) -> str:
    """Without case, spaces, signs and the words that tell licences from nothing."""
    return re.sub(r"[^a-z0-9]", "", _SILENT.sub("", re.sub(r"v(?=\d)", " ", text.casefold())))


@cache
def _by_fold() -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for each in COMMON:
        for fold in {_folded(each), _folded(re.sub(r"-(only|or-later)$", "", each))}:
            found[fold] = (*found.get(fold, ()), each)
    return found

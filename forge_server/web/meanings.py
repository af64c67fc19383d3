"""What each state of a release means, for the page about trust and for programs.

Each is a word of `words.WORDS` with a sentence, and its chip has the colour that it has everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from flask_babel import pgettext

from .words import N_, Message


@dataclass(frozen=True, slots=True)
class Meaning:
    """``group`` and ``key`` name the word; ``colour`` is its chip's, None for plain text."""

    group: str
    key: str
    colour: str | None
    message: Message

    def sentence(self) -> str:
        """In the language of the request."""
        return str(pgettext(*self.message))


MEANINGS: Final[Sequence[Meaning]] = (
    Meaning(
        "state", "good", None,
        N_(
            "trust",
            "Signed, listed in the current index, and taken back by nobody.",
        ),
    ),
    Meaning(
        "review", "community", None,
        N_(
            "trust",
            "Its publisher signed it, and no reviewer said anything about it that counts today.",
        ),
    ),
    Meaning(
        "review", "reviewed", "good",
        N_(
            "trust",
            "A reviewer of one body looked at this very release and passed it, until the day that"
            " is shown.",
        ),
    ),
    Meaning(
        "review", "approved", "good",
        N_(
            "trust",
            "A reviewer of a second body passed it too. Read the conditions: an approval may be "
            "for one use only.",
        ),
    ),
    Meaning(
        "decision", "failed", "bad",
        N_(
            "trust",
            "A body looked at it and decided against it. Then it is not reviewed, whoever else "
            "passed it.",
        ),
    ),
    Meaning(
        "decision", "lapsed", "",
        N_(
            "trust",
            "A decision that ended, was withdrawn, lost its reviewer’s key, or is older than a "
            "critical finding. Nobody has to do anything for that.",
        ),
    ),
    Meaning(
        "state", "yanked", "bad",
        N_(
            "trust",
            "Its publisher advises against it. Who names exactly this version still gets it, "
            "nobody else does.",
        ),
    ),
    Meaning(
        "state", "deprecated", "bad",
        N_(
            "trust",
            "Its publisher advises to use something else. It can still be installed.",
        ),
    ),
    Meaning(
        "state", "expired", "bad",
        N_(
            "trust",
            "The signature of its index has ended. It cannot be installed until the publisher "
            "signs again.",
        ),
    ),
    Meaning(
        "state", "quarantined", "bad",
        N_(
            "trust",
            "The security desk stopped it while it looks into it. Clients refuse it; the stop may"
            " be lifted.",
        ),
    ),
    Meaning(
        "state", "revoked", "bad",
        N_(
            "trust",
            "It was stopped for good. Remove it where it is installed.",
        ),
    ),
    Meaning(
        "state", "held", "bad",
        N_(
            "trust",
            "The registry does not hand out its files, because of reports that it takes "
            "seriously. It may be lifted.",
        ),
    ),
    Meaning(
        "state", "removed", "bad",
        N_(
            "trust",
            "Its files were deleted by order of an authority. The entry stays, so that everybody "
            "can see that.",
        ),
    ),
    Meaning(
        "value", "unknown", None,
        N_(
            "trust",
            "Nobody said anything about it. That is neither good nor bad, and no badge is shown "
            "for it.",
        ),
    ),
)  # fmt: skip

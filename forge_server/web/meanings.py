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
        "decision", "passed", "good",
        N_(
            "trust",
            "A reviewer of this body looked at the release and found nothing against its use, "
            "under the conditions that stand beside it.",
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
        "lapse", "review-expired", None,
        N_(
            "trust",
            "Its time is over: a review looks at a release as it could be judged then, and has to "
            "be made anew.",
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
        "act", "recall.start", None,
        N_(
            "trust",
            "Everybody who said that they have it is asked to replace it. That alone stops nobody "
            "from installing it: look whether it was also withdrawn or stopped.",
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
    Meaning(
        "scan", "not-scanned", "",
        N_(
            "trust",
            "This scanner did not look at it, or there is nothing of its kind in it. That is no "
            "sign that it is clean.",
        ),
    ),
    Meaning(
        "scan", "clean", "good",
        N_(
            "trust",
            "The scanner came to its end and found nothing of what it knows. It does not know "
            "everything.",
        ),
    ),
    Meaning(
        "scan", "findings", "bad",
        N_(
            "trust",
            "The scanner found something; what became of each stands in the list of findings.",
        ),
    ),
    Meaning(
        "scan", "stale", "",
        N_(
            "trust",
            "It was looked at with older knowledge than this registry demands, or by another "
            "version of the scanner. It counts as not looked at.",
        ),
    ),
    Meaning(
        "scan", "failed", "bad",
        N_(
            "trust",
            "The scanner did not come to its end: it crashed, ran out of time or memory, or could "
            "not read the file. What it would have found is not known.",
        ),
    ),
    Meaning(
        "finding", "open", "",
        N_(
            "trust",
            "It counts against the release: nobody settled it yet, or it became graver since.",
        ),
    ),
    Meaning(
        "finding", "answered", "",
        N_(
            "trust",
            "A reviewer confirmed the publisher’s answer: it is a false alarm, does not concern "
            "this component, or its effect is contained.",
        ),
    ),
    Meaning(
        "finding", "waived", "",
        N_(
            "trust",
            "Two reviewers of a body let it stand, for a reason that is shown, until the day that "
            "is shown. Then it is open again by itself.",
        ),
    ),
    Meaning(
        "finding", "gone", "",
        N_(
            "trust",
            "A later scan of the same release did not find it any more.",
        ),
    ),
    Meaning(
        "severity", "critical", "bad",
        N_(
            "trust",
            "The scanner’s or the body’s word for what must not be used before it is settled. "
            "Low, medium and high stand below it.",
        ),
    ),
    Meaning(
        "answer", "false-positive", "",
        N_(
            "trust",
            "The publisher says that the scanner is mistaken.",
        ),
    ),
    Meaning(
        "answer", "not-affected", "",
        N_(
            "trust",
            "The publisher says that what was found is there, and cannot do harm in this "
            "component.",
        ),
    ),
    Meaning(
        "answer", "mitigated", "",
        N_(
            "trust",
            "The publisher says that something keeps it from doing harm, and what.",
        ),
    ),
    Meaning(
        "answer", "no-fix-available", "",
        N_(
            "trust",
            "The publisher owns up to it and has no fix yet. It stays open.",
        ),
    ),
    Meaning(
        "answer", "wont-fix", "",
        N_(
            "trust",
            "The publisher owns up to it and will leave it so. It stays open.",
        ),
    ),
    Meaning(
        "answer", "pending", "",
        N_(
            "trust",
            "The publisher has seen it and does not know yet. It stays open.",
        ),
    ),
    Meaning(
        "verdict", "verified", "good",
        N_(
            "trust",
            "A member of a reviewer body looked at the answer and agrees, for the severity that "
            "the finding had then.",
        ),
    ),
    Meaning(
        "verdict", "rejected", "bad",
        N_(
            "trust",
            "A member of a reviewer body looked at the answer and does not agree: the finding "
            "stays open.",
        ),
    ),
    Meaning(
        "check_status", "passed", "good",
        N_(
            "trust",
            "This server made the check and it held. Make it on your own machine, where it "
            "counts.",
        ),
    ),
    Meaning(
        "check_status", "failed", "bad",
        N_(
            "trust",
            "Something that was signed does not hold. Clients refuse such a release.",
        ),
    ),
    Meaning(
        "check_status", "not-checked", "",
        N_(
            "trust",
            "Only your own machine can make this check.",
        ),
    ),
)  # fmt: skip
# The headings of the page, each with the groups of words below it.
SECTIONS: Final[Sequence[tuple[Message, Sequence[str]]]] = (
    (N_("nav", "State"), ("state", "act", "value")),
    (N_("nav", "Reviews"), ("review", "decision", "lapse")),
    (N_("nav", "Scans"), ("scan",)),
    (N_("nav", "Findings"), ("finding", "severity", "answer", "verdict")),
    (N_("nav", "Checks"), ("check_status",)),
)


def sections() -> list[tuple[str, list[Meaning]]]:
    """The headings in the language of the request, each with what is explained below it."""
    return [
        (str(pgettext(*title)), [one for one in MEANINGS if one.group in groups])
        for title, groups in SECTIONS
    ]

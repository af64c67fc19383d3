"""Words for values: what the pages call a kind, a state, a region, a check.

Each is a message of the catalogues, marked by `N_`. The context says what sort of word it is, so
that a translator sees it, and so that a test knows which of them Tamazight must have.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from flask_babel import pgettext
from markupsafe import Markup

from . import languages

Message = tuple[str, str]
"""A context and an English text."""


def N_(context: str, text: str) -> Message:
    """Marks a message for the catalogues; it is looked up when it is shown."""
    return context, text


WORDS: Final[Mapping[str, Mapping[str, Message]]] = {
    "kind": {
        "model": N_("state", "Model"),
        "library": N_("state", "Library"),
        "dataset": N_("state", "Dataset"),
        "prompt": N_("state", "Prompt"),
        "policy": N_("state", "Policy"),
    },
    "organisation_kind": {
        "government": N_("state", "Public body"),
        "startup": N_("state", "Startup"),
        "academic": N_("state", "University or research institute"),
        "company": N_("state", "Company"),
    },
    "risk": {
        "minimal": N_("state", "Minimal risk"),
        "limited": N_("state", "Limited risk"),
        "high": N_("state", "High risk"),
    },
    "review": {
        "community": N_("state", "Not reviewed"),
        "reviewed": N_("state", "Reviewed"),
        "approved": N_("state", "Approved"),
    },
    "state": {
        "yanked": N_("state", "Withdrawn"),
        "deprecated": N_("state", "Deprecated"),
        "held": N_("state", "Held by the registry"),
        "removed": N_("state", "Removed by order"),
        "quarantined": N_("state", "Stopped"),
        "revoked": N_("state", "Revoked"),
        "expired": N_("state", "Expired"),
        "good": N_("state", "In force"),
    },
    "severity": {
        "critical": N_("state", "Critical"),
        "high": N_("state", "High"),
        "medium": N_("state", "Medium"),
        "low": N_("state", "Low"),
    },
    "scan": {
        "clean": N_("state", "Nothing found"),
        "findings": N_("state", "Findings"),
        "not-scanned": N_("state", "Not scanned"),
        "failed": N_("state", "Scan failed"),
        "stale": N_("state", "Out of date"),
    },
    "finding": {
        "open": N_("state", "Open"),
        "answered": N_("state", "Settled"),
        "waived": N_("state", "Waived"),
        "gone": N_("state", "Gone"),
    },
    "answer": {
        "false-positive": N_("state", "False alarm"),
        "mitigated": N_("state", "Mitigated"),
        "not-affected": N_("state", "Not affected"),
        "no-fix-available": N_("state", "No fix available"),
        "wont-fix": N_("state", "Will not be fixed"),
        "pending": N_("state", "Being looked into"),
    },
    "verdict": {
        "verified": N_("state", "Confirmed by a reviewer"),
        "rejected": N_("state", "Rejected by a reviewer"),
    },
    "decision": {
        "passed": N_("state", "Passed"),
        "failed": N_("state", "Rejected"),
        "lapsed": N_("state", "Does not count"),
    },
    "lapse": {
        "other-release": N_("state", "It is about another release."),
        "own-release": N_("state", "Nobody reviews a release of their own."),
        "reviewer-not-accepted": N_("state", "This reviewer is not accepted here."),
        "not-yet": N_("state", "It is dated in the future."),
        "too-long": N_("state", "It claims to last longer than is allowed."),
        "review-expired": N_("state", "It has expired."),
        "critical-finding": N_("state", "A critical finding became known since."),
    },
    "right": {
        "read": N_("right", "See your account and your organisations"),
        "publish": N_("right", "Publish releases that are signed with your organisations’ keys"),
        "manage": N_("right", "Change members, applications and access tokens"),
        "inventory": N_("right", "Tell what a machine has installed"),
    },
    "region": {
        "MA-01": N_("region", "Tanger-Tétouan-Al Hoceïma"),
        "MA-02": N_("region", "L’Oriental"),
        "MA-03": N_("region", "Fès-Meknès"),
        "MA-04": N_("region", "Rabat-Salé-Kénitra"),
        "MA-05": N_("region", "Béni Mellal-Khénifra"),
        "MA-06": N_("region", "Casablanca-Settat"),
        "MA-07": N_("region", "Marrakech-Safi"),
        "MA-08": N_("region", "Drâa-Tafilalet"),
        "MA-09": N_("region", "Souss-Massa"),
        "MA-10": N_("region", "Guelmim-Oued Noun"),
        "MA-11": N_("region", "Laâyoune-Sakia El Hamra"),
        "MA-12": N_("region", "Dakhla-Oued Ed-Dahab"),
    },
    "facet": {
        "kind": N_("nav", "Kind"),
        "task": N_("nav", "Task"),
        "language": N_("nav", "Language"),
        "organisation_kind": N_("nav", "Organisation"),
        "region": N_("nav", "Region"),
        "licence": N_("nav", "Licence"),
        "review": N_("nav", "Review"),
        "risk": N_("nav", "Risk class"),
        "format": N_("nav", "File format"),
        "size": N_("nav", "Size"),
    },
    "size": {
        "up-to-1-mb": N_("nav", "Up to 1 MB"),
        "up-to-10-mb": N_("nav", "1 to 10 MB"),
        "up-to-100-mb": N_("nav", "10 to 100 MB"),
        "up-to-1-gb": N_("nav", "100 MB to 1 GB"),
        "up-to-10-gb": N_("nav", "1 to 10 GB"),
        "over-10-gb": N_("nav", "Over 10 GB"),
    },
    "sort": {
        "relevance": N_("nav", "Best match"),
        "updated": N_("nav", "Newest first"),
        "name": N_("nav", "By name"),
        "size": N_("nav", "Smallest first"),
    },
    "language": {
        "ar": N_("language", "Arabic"),
        "ary": N_("language", "Darija"),
        "ary-Latn": N_("language", "Darija in Latin letters"),
        "fr": N_("language", "French"),
        "zgh": N_("language", "Tamazight"),
        "zgh-Latn": N_("language", "Tamazight in Latin letters"),
        "en": N_("language", "English"),
        "es": N_("language", "Spanish"),
    },
    "value": {"unknown": N_("state", "Not stated")},
    "act": {
        "release.publish": N_("state", "Published"),
        "release.yank": N_("state", "Withdrawn by its publisher"),
        "release.unyank": N_("state", "Withdrawal taken back"),
        "release.resign": N_("state", "Signed by another key"),
        "release.quarantine": N_("state", "Stopped by the security desk"),
        "release.unquarantine": N_("state", "Released by the security desk"),
        "release.revoke": N_("state", "Revoked for good"),
        "release.deprecate": N_("state", "Deprecated by its publisher"),
        "release.undeprecate": N_("state", "Deprecation taken back"),
        "release.hold": N_("state", "Held by the registry"),
        "release.unhold": N_("state", "No longer held by the registry"),
        "release.takedown": N_("state", "Removed by order of an authority"),
        "recall.start": N_("state", "Recalled"),
        "role.sign": N_("state", "Index signed anew"),
    },
    "found": {
        "file": N_("state", "A file of it"),
        "manifest": N_("state", "Its manifest"),
        "bundle": N_("state", "Its signature"),
    },
    "check_status": {
        "passed": N_("state", "Holds"),
        "failed": N_("state", "Does not hold"),
        "not-checked": N_("state", "Not made here"),
    },
    "check": {
        "root of trust": N_("state", "Root of trust"),
        "organisation": N_("state", "Organisation"),
        "publishers": N_("state", "Publishers"),
        "freshness": N_("state", "Freshness"),
        "manifest and index": N_("state", "Manifest and index"),
        "signature": N_("state", "Signature"),
        "description": N_("state", "Description"),
        "files": N_("state", "Files"),
        "history": N_("state", "Public log"),
        "status": N_("state", "Status host"),
        "reviews": N_("state", "Reviews"),
    },
    "establishes": {
        "root of trust": N_(
            "check", "The authority whose fingerprint is pinned names the roles below it."
        ),
        "organisation": N_(
            "check", "The registrar registered this organisation with these keys."
        ),
        "publishers": N_(
            "check",
            "The organisation lets these keys publish this component, and they signed its index.",
        ),
        "freshness": N_("check", "Nothing in the chain had expired when this page was made."),
        "manifest and index": N_(
            "check",
            "This version has this one content; name, version and requirements are the signed "
            "ones.",
        ),
        "signature": N_(
            "check",
            "A publisher’s key that is not revoked signed exactly this list of files (OpenSSF "
            "Model Signing).",
        ),
        "description": N_(
            "check", "The description shown is the one in the signed forge.toml."
        ),
        "files": N_(
            "check",
            "The files are the signed ones, byte for byte. Only your own machine can check this, "
            "after it fetched them.",
        ),
        "history": N_(
            "check",
            "The public log holds this index, where the organisation and everybody else can see "
            "it.",
        ),
        "status": N_(
            "check",
            "The status host, which is not this server, neither stopped nor revoked the release.",
        ),
        "reviews": N_(
            "check",
            "Reviewer bodies that the authority names looked at this very release, and their word "
            "still counts.",
        ),
    },
    "leaves_open": {
        "root of trust": N_(
            "check", "Whether the fingerprint is the authority’s: compare it over another channel."
        ),
        "organisation": N_("check", "Who holds the organisation’s keys today."),
        "publishers": N_("check", "Whether the people behind the keys mean well."),
        "freshness": N_("check", "What was withdrawn or revoked since then."),
        "manifest and index": N_("check", "Whether the description in it is true."),
        "signature": N_(
            "check", "Whether the files do harm, and whether anybody looked at them."
        ),
        "description": N_(
            "check", "Whether licence, languages and risk class are stated correctly."
        ),
        "files": N_("check", "Whether they stay so: verify again after copying."),
        "history": N_(
            "check",
            "Whether anybody looked; without witnesses, whether others are shown the same log.",
        ),
        "status": N_("check", "What was stopped since then."),
        "reviews": N_("check", "Whether they overlooked something, and what they would say today."),
    },
}  # fmt: skip


def say(group: str, key: str | None) -> Markup | str:
    """The word for ``key`` in the language of the page; ``key`` itself where there is none."""
    unknown = key is None or key == "unknown"
    message = WORDS["value"]["unknown"] if unknown else WORDS.get(group, {}).get(key or "")
    if message is None:
        return key or ""
    return Markup(languages.marked(str(pgettext(*message)), *message))  # noqa: S704

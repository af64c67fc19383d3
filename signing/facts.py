"""What is known of one release, by whoever asks whether it may be used.

Most of it follows from what somebody signed. When a release was published, and what scanners found,
is the registry's own word. None stands for what is not known, which is never taken for good.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime
from typing import Final

from .assessment import Assessment, Decision, Lapse, Subject, assess
from .file_formats import formats_of
from .manifest import Manifest
from .names import ComponentName
from .policy import SEVERITIES

CLEAN: Final = "clean"
FINDINGS: Final = "findings"
NOT_SCANNED: Final = "not-scanned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviews:
    """What reviewers decided about a release, as `signing.assessment.assess` takes it. ``unread``
    are decisions that could not be verified."""

    subject: Subject
    decisions: tuple[Decision, ...] = ()
    unread: tuple[Lapse, ...] = ()

    @classmethod
    def of(
        cls, assessment: Assessment, component: ComponentName, version: str, manifest_sha256: str
    ) -> Reviews:
        """What stands after an assessment, to be assessed again later or for fewer bodies.

        What did not count then may count again only when it is asked for again: whether a critical
        finding was answered, say, cannot be told from the decision.
        """
        return cls(
            subject=Subject(
                component=component,
                version=version,
                manifest_sha256=manifest_sha256,
                risk_class=None,
            ),
            decisions=assessment.standing,
            unread=tuple(replace(lapse, decision=None) for lapse in assessment.lapsed),
        )

    def assess(self, now: datetime, bodies: tuple[str, ...] | None = None) -> Assessment:
        """The level at ``now``, by these ``bodies`` or by all that the authority names."""
        return assess(self.subject, self.decisions, now, bodies=bodies, unread=self.unread)


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenFinding:
    """A finding that nobody has answered. ``severity`` is one of `signing.policy.SEVERITIES`; what
    else somebody sends counts as the gravest."""

    id: str
    severity: str
    title: str = ""

    @property
    def rank(self) -> int:
        known = self.severity in SEVERITIES
        return SEVERITIES.index(self.severity) if known else len(SEVERITIES)


@dataclass(frozen=True, slots=True, kw_only=True)
class Scan:
    """A scanner's last look: ``clean``, ``findings``, ``not-scanned`` (it reads no such files), or
    anything else, which is no good."""

    scanner: str
    state: str
    at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known of one release; None is unknown.

    ``files`` are paths, at least one of each format there is; ``card_languages`` those in which
    there is a card of that name. ``organisation_kind`` is what the registrar signed, ``witnesses``
    names who cosigned the log that holds the release's index. ``published_at``, ``findings`` and
    ``scans`` are the registry's word. ``known_at`` is when what may change was last asked for.
    """

    component: ComponentName
    version: str
    manifest_sha256: str
    license: str | None = None
    files: tuple[str, ...] | None = None
    risk_class: str | None = None
    card_languages: tuple[str, ...] | None = None
    organisation_kind: str | None = None
    witnesses: tuple[str, ...] | None = None
    reviews: Reviews | None = None
    published_at: datetime | None = None
    findings: tuple[OpenFinding, ...] | None = None
    scans: tuple[Scan, ...] | None = None
    known_at: datetime | None = None

    @classmethod
    def of_manifest(cls, manifest: Manifest) -> Facts:
        """What the publisher signed."""
        risk = manifest.metadata.get("risk") or {}
        paths = [entry.path for entry in manifest.files]
        return cls(
            component=manifest.component,
            version=str(manifest.version),
            manifest_sha256=manifest.digest,
            license=manifest.metadata["license"],
            files=tuple(formats_of(paths).values()),
            risk_class=risk.get("class"),
            card_languages=card_languages(manifest.metadata.get("card"), paths),
        )


def card_languages(card: str | None, paths: list[str]) -> tuple[str, ...]:
    """The languages in which ``paths`` hold the card: ``fr`` of ``README.fr.md`` for ``README.md``.
    In which language the card without a language in its name is, nobody says."""
    if card is None or "." not in card:
        return ()
    stem, _, suffix = card.rpartition(".")
    return tuple(
        sorted(
            path[len(stem) + 1 : -len(suffix) - 1]
            for path in paths
            if path.startswith(f"{stem}.")
            and path.endswith(f".{suffix}")
            and len(path) > len(card) + 1
        )
    )

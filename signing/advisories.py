"""Advisories: what a body found out about published releases, signed so that nobody can hide it.

in-toto predicate "vulns" v0.2. The subjects are the manifests of the releases that are affected;
the one result has the advisory's id, its severity and, as an annotation, what is to be said.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from .bodies import body_of, parse_id
from .encoding import Fields, is_plain
from .errors import MalformedError, VerificationError
from .keys import SigningKey
from .names import ComponentName, parse_version
from .publisher_keys import parse_instant
from .review import subject_name, verifier_id
from .roles import Delegation
from .statement import check_text, instant, sign_statement, verify_statement

PREDICATE_TYPE: Final = "https://in-toto.io/attestation/vulns/v0.2"
SEVERITIES: Final = ("low", "medium", "high", "critical")
MAX_SUBJECTS: Final = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """``releases`` is ``{version: manifest_sha256}`` of those that are affected."""

    body: str
    id: str
    component: ComponentName
    releases: Mapping[str, str]
    severity: str
    title: str
    text: str
    at: datetime

    def predicate(self) -> dict[str, Any]:
        """As it stands in the statement.

        Raises:
            MalformedError: what nobody would accept.
        """
        _check(self, f"advisory {self.id}")
        return {
            "scanner": {
                "uri": verifier_id(self.body),
                "result": [
                    {
                        "id": self.id,
                        "severity": [{"method": "forge", "score": self.severity}],
                        "annotations": [{"text": self.text, "title": self.title}],
                    }
                ],
            },
            "metadata": {"scanStartedOn": instant(self.at), "scanFinishedOn": instant(self.at)},
        }


def sign_advisory(advisory: Advisory, key: SigningKey) -> bytes:
    """The envelope that says it."""
    subjects = {
        subject_name(advisory.component, version): digest
        for version, digest in sorted(advisory.releases.items())
    }
    return sign_statement(subjects, PREDICATE_TYPE, advisory.predicate(), [key])


def verify_advisory(data: bytes, delegation: Delegation, where: str = "advisory") -> Advisory:
    """The advisory in ``data``, after establishing that one of the body's reviewers signed it.

    Raises:
        VerificationError: ``key-unlisted``, ``signature-invalid`` or ``path-not-delegated``.
        MalformedError: not exactly this form.
    """
    verified = verify_statement(data, PREDICATE_TYPE, delegation.keys, where)
    body = body_of(delegation.role, where)
    predicate = verified.predicate.only(("scanner", "metadata"))
    scanner = predicate.object("scanner").only(("uri", "result"))
    if scanner.text("uri") != verifier_id(body):
        raise VerificationError(
            "path-not-delegated", where, f"an advisory of {body}", scanner.text("uri")
        )
    result = _one(scanner, "result").only(("id", "severity", "annotations"))
    severity = _one(result, "severity").only(("method", "score"))
    severity.literal("method", "forge")
    said = _one(result, "annotations").only(("title", "text"))
    metadata = predicate.object("metadata").only(("scanStartedOn", "scanFinishedOn"))
    component, releases = _releases(verified.subjects, where)
    advisory = Advisory(
        body=body,
        id=result.text("id"),
        component=component,
        releases=releases,
        severity=severity.text("score"),
        title=said.text("title"),
        text=said.text("text"),
        at=parse_instant(metadata.text("scanFinishedOn"), metadata.path("scanFinishedOn")),
    )
    _check(advisory, where)
    return advisory


def _one(fields: Fields, key: str) -> Fields:
    items = fields.objects(key)
    if len(items) != 1:
        raise MalformedError(fields.path(key), "one", len(items))
    return items[0]


def _releases(subjects: Mapping[str, str], where: str) -> tuple[ComponentName, dict[str, str]]:
    components: set[ComponentName] = set()
    releases = {}
    for subject, digest in subjects.items():
        name, _, text = subject.partition("@")
        components.add(ComponentName.parse(name, where))
        releases[str(parse_version(text, where))] = digest
    if len(components) != 1:
        raise MalformedError(f"{where}: subject", "releases of one component", len(components))
    return components.pop(), releases


def _check(advisory: Advisory, where: str) -> None:
    parse_id(advisory.id, f"{where}: id")
    if not 1 <= len(advisory.releases) <= MAX_SUBJECTS:
        raise MalformedError(
            f"{where}: subject", f"1 to {MAX_SUBJECTS} releases", len(advisory.releases)
        )
    if advisory.severity not in SEVERITIES:
        raise MalformedError(f"{where}: severity", " or ".join(SEVERITIES), advisory.severity)
    title = advisory.title
    if not title.strip() or len(title) > 200 or not is_plain(title):
        raise MalformedError(f"{where}: title", "one line, at most 200 characters", repr(title))
    check_text(advisory.text, f"{where}: text")

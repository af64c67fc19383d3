"""Waivers: leave, for a time, to use a release in spite of what was found in it, or to publish one
whose format executes code.

Two reviewers of a body sign each: its author, whom the statement names, and another one who
approves. A waiver covers versions in a range, or the one release with a manifest; it settles no
finding that is graver than it says, and it ends by itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from packaging.version import Version

from .advisories import SEVERITIES
from .bodies import body_of, parse_id
from .digests import parse_digest, sha256_hex
from .encoding import Fields, is_plain
from .errors import MalformedError, VerificationError
from .formats import FORMATS
from .keys import SigningKey
from .names import ComponentName, parse_specifier
from .publisher_keys import parse_instant
from .review import verifier_id
from .roles import Delegation
from .statement import (
    Verified,
    add_signature,
    check_text,
    instant,
    sign_statement,
    verify_statement,
)

PREDICATE_TYPE: Final = "forge:waiver/v1"
MAX_LIFE: Final = timedelta(days=180)
MAX_LIFE_GRAVE: Final = timedelta(days=90)
GRAVE: Final = ("high", "critical")
MAX_FINDINGS: Final = 100
_MAX_FINDING_CHARS: Final = 120
_SKEW: Final = timedelta(minutes=5)
_MEMBERS: Final = (
    "verifier", "id", "component", "scope", "findings", "formats", "severity", "reason", "author",
    "at", "expires",
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Waiver:
    """``versions`` is a PEP 440 range, or None where ``manifest_sha256`` names the one release.
    ``findings`` are ids, ``formats`` some of `formats.FORMATS`; ``severity`` is that of the gravest
    of them. ``author`` and ``approver`` are key ids; the second is empty until somebody approved.
    ``organisations`` are those of the body, as the authority says; ``sha256`` is the digest of the
    signed envelope."""

    body: str
    id: str
    component: ComponentName
    versions: str | None = None
    manifest_sha256: str | None = None
    findings: tuple[str, ...] = ()
    formats: tuple[str, ...] = ()
    severity: str
    reason: str
    author: str
    at: datetime
    expires: datetime
    approver: str = ""
    organisations: frozenset[str] = frozenset()
    sha256: str = ""

    def predicate(self) -> dict[str, Any]:
        """As it stands in the statement.

        Raises:
            MalformedError: what nobody would accept.
        """
        _check(self, f"waiver {self.id}")
        scope: dict[str, Any] = {"versions": self.versions}
        if self.manifest_sha256 is not None:
            scope = {"manifest": {"sha256": self.manifest_sha256}}
        return {
            "verifier": {"id": verifier_id(self.body)},
            "id": self.id,
            "component": str(self.component),
            "scope": scope,
            "findings": list(self.findings),
            "formats": list(self.formats),
            "severity": self.severity,
            "reason": self.reason,
            "author": self.author,
            "at": instant(self.at),
            "expires": instant(self.expires),
        }

    def covers(self, version: str, manifest_sha256: str | None) -> bool:
        """Whether a release is in its scope."""
        if self.versions is None:
            return manifest_sha256 is not None and manifest_sha256 == self.manifest_sha256
        # A range says for itself where it ends: 2.0rc1 is not below 2.0 by accident.
        return parse_specifier(self.versions, "versions").contains(Version(version), True)

    def settles(self, finding: str, severity: str) -> bool:
        """Whether it waives a finding: one that became graver since is not what was waived."""
        known = severity in SEVERITIES
        return (
            finding in self.findings
            and known
            and SEVERITIES.index(severity) <= SEVERITIES.index(self.severity)
        )

    def is_own(self, keyids: Collection[str]) -> bool:
        """Whether it is a body's word on a component of its own. ``keyids`` are the keys of the
        component's organisation and its publishers."""
        own = self.component.org in {self.body, *self.organisations}
        return own or self.author in keyids or self.approver in keyids


def longest(severity: str) -> timedelta:
    """How long a waiver of such findings may last."""
    return MAX_LIFE_GRAVE if severity in GRAVE else MAX_LIFE


def in_force(
    waivers: Iterable[Waiver],
    version: str,
    manifest_sha256: str | None,
    keyids: Collection[str],
    now: datetime,
) -> list[Waiver]:
    """Those that hold for a release at ``now``, the longest first."""
    holding = [
        one
        for one in waivers
        if one.at <= now + _SKEW
        and now < one.expires
        and one.covers(version, manifest_sha256)
        and not one.is_own(keyids)
    ]
    return sorted(holding, key=lambda one: (one.expires, one.id), reverse=True)


def settling(waivers: Iterable[Waiver], finding: str, severity: str) -> Waiver | None:
    """The first of ``waivers`` that waives the finding."""
    return next((one for one in waivers if one.settles(finding, severity)), None)


def begin_waiver(waiver: Waiver, key: SigningKey) -> bytes:
    """What the author signs: an envelope that counts for nothing until another key signed too.

    Raises:
        MalformedError: what nobody would accept.
    """
    said = replace(waiver, author=key.public.keyid)
    subject = {str(said.component): _subject(said)}
    return sign_statement(subject, PREDICATE_TYPE, said.predicate(), [key])


def approve_waiver(data: bytes, key: SigningKey) -> bytes:
    """``data`` with the approver's signature as well."""
    return add_signature(data, key, "waiver")


def read_begun(data: bytes, delegation: Delegation, where: str = "waiver") -> Waiver:
    """What `begin_waiver` made, for whoever is asked to approve it. Raises as `verify_waiver`."""
    return _read(verify_statement(data, PREDICATE_TYPE, delegation.keys, where), delegation, where)


def verify_waiver(data: bytes, delegation: Delegation, where: str = "waiver") -> Waiver:
    """The waiver in ``data``, after establishing that two of the body's reviewers signed it.

    Raises:
        VerificationError: ``key-unlisted``, ``signature-invalid``, or ``path-not-delegated`` for
            the word of another body.
        MalformedError: not exactly this form, or another number of signatures.
    """
    verified = verify_statement(data, PREDICATE_TYPE, delegation.keys, where, signatures=2)
    waiver = _read(verified, delegation, where)
    (approver,) = (key.keyid for key in verified.signers if key.keyid != waiver.author)
    return replace(waiver, approver=approver, sha256=sha256_hex(data))


def _read(verified: Verified, delegation: Delegation, where: str) -> Waiver:
    body = body_of(delegation.role, where)
    predicate = verified.predicate.only(_MEMBERS)
    verifier = predicate.object("verifier").only(["id"]).text("id")
    if verifier != verifier_id(body):
        raise VerificationError("path-not-delegated", where, f"a waiver of {body}", verifier)
    scope = predicate.object("scope").only((), optional=["versions", "manifest"])
    waiver = Waiver(
        body=body,
        id=predicate.text("id"),
        component=ComponentName.parse(predicate.text("component"), predicate.path("component")),
        versions=scope.optional_text("versions"),
        manifest_sha256=_manifest(scope),
        findings=_texts(predicate, "findings"),
        formats=_texts(predicate, "formats"),
        severity=predicate.text("severity"),
        reason=predicate.text("reason"),
        author=predicate.text("author"),
        at=parse_instant(predicate.text("at"), predicate.path("at")),
        expires=parse_instant(predicate.text("expires"), predicate.path("expires")),
        organisations=frozenset() if delegation.body is None else delegation.body.organisations,
    )
    _check(waiver, where)
    if dict(verified.subjects) != {str(waiver.component): _subject(waiver)}:
        raise MalformedError(f"{where}: subject", f"{waiver.component} alone", "another")
    if waiver.author not in {key.keyid for key in verified.signers}:
        raise VerificationError(
            "key-unlisted", where, f"a signature by its author {waiver.author[:12]}", "others"
        )
    return waiver


def _subject(waiver: Waiver) -> str:
    """in-toto wants a digest of everything: a range has none, the component's URI does."""
    return waiver.manifest_sha256 or sha256_hex(f"forge:{waiver.component}".encode())


def _manifest(scope: Fields) -> str | None:
    if "manifest" not in scope.value:
        return None
    digest = scope.object("manifest").only(["sha256"])
    return parse_digest(digest.value["sha256"], digest.path("sha256"))


def _texts(fields: Fields, key: str) -> tuple[str, ...]:
    return fields.texts(key, max_items=MAX_FINDINGS)


def _check(waiver: Waiver, where: str) -> None:
    parse_id(waiver.id, f"{where}: id")
    if (waiver.versions is None) == (waiver.manifest_sha256 is None):
        raise MalformedError(f"{where}: scope", "a range of versions or one manifest", "not one")
    if waiver.versions is not None and not str(
        parse_specifier(waiver.versions, f"{where}: scope.versions")
    ):
        raise MalformedError(f"{where}: scope.versions", "a range like >=1,<2", "all versions")
    if waiver.manifest_sha256 is not None:
        parse_digest(waiver.manifest_sha256, f"{where}: scope.manifest")
    _check_waived(waiver, where)
    if waiver.severity not in SEVERITIES:
        raise MalformedError(f"{where}: severity", " or ".join(SEVERITIES), waiver.severity)
    if waiver.formats and waiver.severity not in GRAVE:
        raise MalformedError(
            f"{where}: severity", f"{' or '.join(GRAVE)}, for a format that executes code",
            waiver.severity,
        )  # fmt: skip
    check_text(waiver.reason, f"{where}: reason")
    most = longest(waiver.severity)
    if not timedelta() < waiver.expires - waiver.at <= most:
        raise MalformedError(
            f"{where}: expires", f"at most {most.days} days for severity {waiver.severity}",
            f"{waiver.at:%Y-%m-%d} until {waiver.expires:%Y-%m-%d}",
        )  # fmt: skip


def _check_waived(waiver: Waiver, where: str) -> None:
    if not 1 <= len(waiver.findings) + len(waiver.formats) <= MAX_FINDINGS:
        raise MalformedError(
            f"{where}: findings", f"1 to {MAX_FINDINGS} findings or formats",
            len(waiver.findings) + len(waiver.formats),
        )  # fmt: skip
    _check_once(waiver.findings, f"{where}: findings")
    _check_once(waiver.formats, f"{where}: formats")
    for one in waiver.findings:
        if not 0 < len(one) <= _MAX_FINDING_CHARS or not is_plain(one) or one != one.strip():
            raise MalformedError(f"{where}: findings", "ids of findings", repr(one[:100]))
    for one in waiver.formats:
        if one not in FORMATS:
            raise MalformedError(f"{where}: formats", " or ".join(FORMATS), repr(one[:100]))


def _check_once(texts: Sequence[str], where: str) -> None:
    if len(set(texts)) != len(texts):
        raise MalformedError(where, "each once", "one twice")

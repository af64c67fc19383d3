"""Decisions of reviewers: SLSA Verification Summary Attestations v1, signed and read.

A decision is about one release, by the digest of its manifest. Its levels are our own
(``FORGE_ASSURANCE_LEVEL_2``, ``_3``; whoever passes nothing writes ``FAILED``), and what the
standard has no place for stands in a member ``forge`` of the predicate: when it ends, under which
conditions and for what scope it was given, why a release was rejected. Consumers of the standard
ignore members that they do not know (SLSA v1.0, "Verification Summary Attestation", Parsing rules).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from .assessment import ASSURANCE, MAX_LIFE, Decision
from .bodies import Body, body_of
from .digests import sha256_hex
from .encoding import Fields
from .errors import MalformedError, VerificationError
from .keys import SigningKey
from .names import ComponentName, parse_version
from .publisher_keys import parse_instant
from .roles import Delegation
from .statement import Resource, Verified, check_text, instant, sign_statement, verify_statement

PREDICATE_TYPE: Final = "https://slsa.dev/verification_summary/v1"
SLSA_VERSION: Final = "1.0"
FAILED: Final = "FAILED"
PASSED: Final = "PASSED"
MAX_INPUTS: Final = 100
_TEXTS: Final = ("conditions", "scope", "reason")
_PREDICATE: Final = (
    "verifier", "timeVerified", "resourceUri", "policy", "inputAttestations",
    "verificationResult", "verifiedLevels", "slsaVersion", "forge",
)  # fmt: skip
_CRITERIA_TEXT: Final = (
    b"forge review criteria 1: the release verifies; its scans and findings were read; its card "
    b"says what it is for, what it must not be used for and what it was made from; the difference "
    b"from the version approved before was looked at."
)
CRITERIA: Final = Resource("forge:criteria/1", sha256_hex(_CRITERIA_TEXT))
"""What a release is held against where a reviewer names no policy."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What a reviewer is about to sign. ``number`` is 2 or 3 for a release that passes. ``policy``
    is what it was held against, ``inputs`` are the scans and decisions it rests on."""

    body: str
    component: ComponentName
    version: str
    manifest_sha256: str
    passed: bool
    number: int = 2
    at: datetime
    expires: datetime
    policy: Resource
    inputs: tuple[Resource, ...] = ()
    conditions: str | None = None
    scope: str | None = None
    reason: str | None = None

    def predicate(self) -> dict[str, Any]:
        """As it stands in the statement.

        Raises:
            MalformedError: what nobody would accept.
        """
        _check(self, "decision")
        ours = {name: getattr(self, name) for name in _TEXTS if getattr(self, name) is not None}
        return {
            "verifier": {"id": verifier_id(self.body)},
            "timeVerified": instant(self.at),
            "resourceUri": resource_uri(self.component, self.version),
            "policy": self.policy.to_json(),
            "inputAttestations": [each.to_json() for each in self.inputs],
            "verificationResult": PASSED if self.passed else FAILED,
            "verifiedLevels": [ASSURANCE[self.number - 1] if self.passed else FAILED],
            "slsaVersion": SLSA_VERSION,
            "forge": {"expires": instant(self.expires), **ours},
        }


def verifier_id(body: str) -> str:
    """The URI by which a statement names the body."""
    return f"forge:reviews/{body}"


def resource_uri(component: ComponentName, version: str) -> str:
    """The URI of a release."""
    return f"forge:{component}@{version}"


def subject_name(component: ComponentName, version: str) -> str:
    return f"{component}@{version}"


def sign_decision(verdict: Verdict, key: SigningKey) -> bytes:
    """The envelope that says ``verdict``.

    Raises:
        MalformedError: what nobody would accept.
    """
    subject = {subject_name(verdict.component, verdict.version): verdict.manifest_sha256}
    return sign_statement(subject, PREDICATE_TYPE, verdict.predicate(), [key])


def verify_decision(data: bytes, delegation: Delegation, where: str = "decision") -> Decision:
    """The decision in ``data``, after establishing that one of the body's reviewers signed it.

    ``delegation`` is the targets role's to ``reviews-<body>``. Not judged here: whether it counts
    today, which is for `assessment.assess`.

    Raises:
        VerificationError: ``key-unlisted`` (the key was never the body's, or is no longer),
            ``signature-invalid``, or ``path-not-delegated`` for the word of another body.
        MalformedError: not exactly this form.
    """
    verified = verify_statement(data, PREDICATE_TYPE, delegation.keys, where)
    body = body_of(delegation.role, where)
    verdict = _read(verified, where)
    if verdict.body != body:
        raise VerificationError(
            "path-not-delegated", where, f"a decision of {body}", f"one of {verdict.body}"
        )
    known = delegation.body or Body(display_name=body)
    return Decision(
        body=body,
        organisations=known.organisations,
        keyid=verified.signers[0].keyid,
        component=verdict.component,
        version=verdict.version,
        manifest_sha256=verdict.manifest_sha256,
        passed=verdict.passed,
        number=verdict.number,
        at=verdict.at,
        expires=verdict.expires,
        sha256=sha256_hex(data),
        policy_sha256=verdict.policy.sha256,
        inputs=tuple(each.sha256 for each in verdict.inputs),
        conditions=verdict.conditions,
        scope=verdict.scope,
        reason=verdict.reason,
    )


def read_verdict(data: bytes, delegation: Delegation, where: str = "decision") -> Verdict:
    """`verify_decision`, with everything that was signed: for whoever renews it."""
    return _read(verify_statement(data, PREDICATE_TYPE, delegation.keys, where), where)


def _read(verified: Verified, where: str) -> Verdict:
    predicate = verified.predicate.only(_PREDICATE)
    predicate.literal("slsaVersion", SLSA_VERSION)
    ours = predicate.object("forge").only(["expires"], optional=_TEXTS)
    verifier = predicate.object("verifier").only(["id"])
    body = body_of("reviews-" + verifier.text("id").removeprefix("forge:reviews/"), where)
    verifier.literal("id", verifier_id(body))
    component, version = _release(predicate)
    if set(verified.subjects) != {subject_name(component, version)}:
        raise MalformedError(
            f"{where}: subject", f"{subject_name(component, version)} alone",
            ", ".join(verified.subjects),
        )  # fmt: skip
    passed, number = _result(predicate)
    inputs = predicate.objects("inputAttestations")
    if len(inputs) > MAX_INPUTS:
        raise MalformedError(
            predicate.path("inputAttestations"), f"at most {MAX_INPUTS}", len(inputs)
        )
    verdict = Verdict(
        body=body,
        component=component,
        version=version,
        manifest_sha256=verified.subjects[subject_name(component, version)],
        passed=passed,
        number=number,
        at=_instant(predicate, "timeVerified"),
        expires=_instant(ours, "expires"),
        policy=Resource.read(predicate.object("policy")),
        inputs=tuple(map(Resource.read, inputs)),
        **{name: ours.optional_text(name) for name in _TEXTS},
    )
    _check(verdict, where)
    return verdict


def _release(predicate: Fields) -> tuple[ComponentName, str]:
    uri = predicate.text("resourceUri")
    where = predicate.path("resourceUri")
    name, at, version = uri.removeprefix("forge:").partition("@")
    component = ComponentName.parse(name, where)
    canonical = str(parse_version(version, where)) if at else ""
    predicate.literal("resourceUri", resource_uri(component, canonical))
    return component, canonical


def _result(predicate: Fields) -> tuple[bool, int]:
    """(whether it passed, the level's number)"""
    result, levels = predicate.text("verificationResult"), predicate.texts("verifiedLevels")
    if result == FAILED and levels == (FAILED,):
        return False, 2
    if result == PASSED and len(levels) == 1 and levels[0] in ASSURANCE[1:]:
        return True, ASSURANCE.index(levels[0]) + 1
    raise MalformedError(
        predicate.path("verifiedLevels"),
        f"PASSED with one of {', '.join(ASSURANCE[1:])}, or FAILED with FAILED",
        f"{result} with {', '.join(levels)}",
    )


def _instant(fields: Fields, key: str) -> datetime:
    text = fields.text(key)
    at = parse_instant(text, fields.path(key))
    if instant(at) != text:
        raise MalformedError(fields.path(key), "an instant like 2026-01-31T12:00:00Z", text)
    return at


def _check(verdict: Verdict, where: str) -> None:
    if verdict.number not in (2, 3):
        raise MalformedError(f"{where}: level", "2 or 3", verdict.number)
    if not verdict.at < verdict.expires <= verdict.at + MAX_LIFE:
        raise MalformedError(
            f"{where}: expires",
            f"a moment within {MAX_LIFE.days} days after {instant(verdict.at)}",
            instant(verdict.expires),
        )
    for name in _TEXTS:
        check_text(getattr(verdict, name), f"{where}: {name}")
    if not verdict.passed and verdict.reason is None:
        raise MalformedError(f"{where}: reason", "why the release was rejected", "nothing")

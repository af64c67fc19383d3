"""From the roles of reviewer bodies to what they say of one release.

Whatever of it cannot be verified counts for nothing and is told as a `Lapse`: a body whose key was
taken away, or whose role nobody renewed, must stop neither the other bodies nor an installation.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime

from tuf.api.metadata import Targets

from .advisories import Advisory, verify_advisory
from .assessment import Decision, Lapse
from .bodies import DECISION, WAIVER, ReviewTarget, body_of, statements_in
from .digests import sha256_hex
from .errors import SigningError, VerificationError
from .names import ComponentName
from .review import verify_decision
from .roles import Delegation, delegations_in, verify_against
from .updates import check_shape
from .waivers import Waiver, verify_waiver


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyWord:
    """A body's role in its exact bytes, and of what it lists the envelopes about one release:
    ``{target path: bytes}``."""

    role: str
    data: bytes
    envelopes: Mapping[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Said:
    """What bodies say of one release. ``lapses`` are words that could not be verified."""

    decisions: tuple[Decision, ...] = ()
    advisories: tuple[Advisory, ...] = ()
    waivers: tuple[Waiver, ...] = ()
    lapses: tuple[Lapse, ...] = ()

    def critical_since(self, manifest_sha256: str) -> datetime | None:
        """When the newest critical advisory against the release was signed; None without one."""
        found = [
            one.at
            for one in self.advisories
            if one.severity == "critical" and manifest_sha256 in one.releases.values()
        ]
        return max(found, default=None)


def about(signed: Targets, body: str, component: ComponentName, version: str) -> list[ReviewTarget]:
    """What a body's role lists about one release: its decision, and all advisories and waivers
    about the component."""
    return [
        one
        for one in statements_in(signed, body).values()
        if one.component == component and (one.kind != DECISION or one.name == version)
    ]


def gather(
    targets: Targets,
    words: Iterable[BodyWord],
    component: ComponentName,
    version: str,
    at: datetime,
) -> Said:
    """What ``words`` say of the release. ``targets`` is the authority's role, trusted already;
    expiry is judged at ``at``."""
    decisions: list[Decision] = []
    advisories: list[Advisory] = []
    waivers: list[Waiver] = []
    lapses: list[Lapse] = []
    delegations = delegations_in(targets)
    for word in words:
        try:
            body = body_of(word.role)
            signed = verify_against(targets, word.role, word.data).signed
            check_shape(word.role, signed)
            if signed.expires <= at:
                raise stale(word.role, signed.expires)
            listed = about(signed, body, component, version)
        except SigningError as error:
            lapses.append(lapse_of(word.role, error))
            continue
        for one in listed:
            try:
                data = _envelope(word, one)
                if one.kind == DECISION:
                    decisions.append(_decision(data, one, delegations[word.role]))
                elif one.kind == WAIVER:
                    waivers.append(_waiver(data, one, delegations[word.role]))
                else:
                    advisories.append(_advisory(data, one, delegations[word.role]))
            except SigningError as error:
                lapses.append(lapse_of(word.role, error))
    return Said(
        decisions=tuple(decisions),
        advisories=tuple(advisories),
        waivers=tuple(waivers),
        lapses=tuple(lapses),
    )


def lapse_of(role: str, error: SigningError) -> Lapse:
    """A word that does not count, for the reason that ``error`` gives."""
    return Lapse(body=role.removeprefix("reviews-"), code=error.code, why=error.message)


def stale(role: str, expires: datetime) -> VerificationError:
    """What is said of a body that did not renew its role."""
    return VerificationError(
        "expired",
        f"role {role}",
        "a role that its body renews every 30 days",
        f"one that expired {expires:%Y-%m-%d %H:%M} UTC",
        "the body signs it again: forge review renew",
    )


def _envelope(word: BodyWord, one: ReviewTarget) -> bytes:
    data = word.envelopes.get(one.path)
    if data is None:
        raise VerificationError("tree-mismatch", one.path, "the signed statement", "nothing")
    if (found := sha256_hex(data)) != one.sha256:
        raise VerificationError("digest-mismatch", one.path, f"sha256 {one.sha256}", found)
    return data


def _decision(data: bytes, one: ReviewTarget, delegation: Delegation) -> Decision:
    decision = verify_decision(data, delegation, one.path)
    if (decision.component, decision.version) != (one.component, one.name):
        raise VerificationError(
            "name-mismatch", one.path, f"{one.component} {one.name}",
            f"{decision.component} {decision.version}",
        )  # fmt: skip
    return decision


def _advisory(data: bytes, one: ReviewTarget, delegation: Delegation) -> Advisory:
    advisory = verify_advisory(data, delegation, one.path)
    _require_named(advisory, one)
    return advisory


def _waiver(data: bytes, one: ReviewTarget, delegation: Delegation) -> Waiver:
    waiver = verify_waiver(data, delegation, one.path)
    _require_named(waiver, one)
    return waiver


def _require_named(said: Advisory | Waiver, one: ReviewTarget) -> None:
    if (said.component, said.id) != (one.component, one.name):
        raise VerificationError(
            "name-mismatch", one.path, f"{one.name} about {one.component}",
            f"{said.id} about {said.component}",
        )  # fmt: skip

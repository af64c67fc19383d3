"""Roles of reviewer bodies as they come in: every statement in them is checked, and kept.

A statement stays in the database in its exact bytes, so that nothing but the transaction decides
whether it is there; the published tree gets it before the role that lists it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, insert, select
from sqlalchemy.orm import Session

from signing.advisories import verify_advisory
from signing.assessment import Decision, assess
from signing.bodies import ADVISORY, DECISION, WAIVER, ReviewTarget, body_of, statements_in
from signing.digests import sha256_hex
from signing.errors import VerificationError
from signing.manifest import parse_manifest
from signing.names import ComponentName
from signing.review import verify_decision
from signing.roles import Delegation, delegation_of, delegations_of, parse_targets
from signing.verify import subject_of
from signing.waivers import Waiver, verify_waiver
from storage import BlobStore

from ..db.models import Component, Release, ReviewStatement
from ..errors import RegistryError
from .audit import Audit
from .callers import Caller
from .components import find_release, mark_changed
from .rolebook import current_roles

_KINDS: Final = {DECISION: "decision", ADVISORY: "advisory", WAIVER: "waiver"}


@dataclass(frozen=True, slots=True, kw_only=True)
class NewStatement:
    """A statement that came along with its role. ``passed`` and ``releases`` (``{version:
    manifest_sha256}``) say what it is about."""

    target: ReviewTarget
    envelope: bytes
    signed_at: datetime
    expires_at: datetime | None
    releases: Mapping[str, str]
    action: str
    decision: Decision | None = None
    waiver: Waiver | None = None


def check_statements(
    role: str, data: bytes, targets: bytes, envelopes: Mapping[str, bytes]
) -> tuple[NewStatement, ...]:
    """What of ``envelopes`` (``{target path: bytes}``) the role ``data`` lists, each verified under
    the delegation of the ``targets`` role. Needs no lock.

    Raises:
        VerificationError, MalformedError: one is not listed so, or does not hold.
    """
    listed = statements_in(parse_targets(data, role).signed, body_of(role))
    delegation = delegation_of(targets, role, "targets")
    new = []
    for path, envelope in envelopes.items():
        target = listed.get(path)
        if target is None:
            raise RegistryError(
                "malformed",
                f"request: targets: expected paths that {role} lists, found {path!r:.200}",
            )
        if (found := sha256_hex(envelope)) != target.sha256:
            raise VerificationError("digest-mismatch", path, f"sha256 {target.sha256}", found)
        new.append(_verified(target, envelope, delegation))
    return tuple(new)


def _verified(target: ReviewTarget, envelope: bytes, delegation: Delegation) -> NewStatement:
    decision = waiver = None
    if target.kind == DECISION:
        decision = verify_decision(envelope, delegation, target.path)
        about = (decision.component, decision.version)
        releases = {decision.version: decision.manifest_sha256}
        signed_at, expires_at = decision.at, decision.expires
        action = "review.pass" if decision.passed else "review.reject"
    elif target.kind == ADVISORY:
        advisory = verify_advisory(envelope, delegation, target.path)
        about, releases = (advisory.component, advisory.id), dict(advisory.releases)
        signed_at, expires_at, action = advisory.at, None, "review.advise"
    else:
        waiver = verify_waiver(envelope, delegation, target.path)
        about, releases = (waiver.component, waiver.id), {}
        signed_at, expires_at, action = waiver.at, waiver.expires, "review.waive"
    if about != (target.component, target.name):
        raise VerificationError(
            "name-mismatch", target.path, f"{target.component} {target.name}",
            f"{about[0]} {about[1]}",
        )  # fmt: skip
    return NewStatement(
        target=target,
        envelope=envelope,
        signed_at=signed_at,
        expires_at=expires_at,
        releases=releases,
        action=action,
        decision=decision,
        waiver=waiver,
    )


@dataclass(frozen=True, slots=True)
class ReviewRoles:
    """Keeps ``review_statements`` as the roles say, in the transaction that accepts them."""

    audit: Audit
    blobs: BlobStore

    def apply(
        self,
        session: Session,
        caller: Caller,
        role: str,
        data: bytes,
        new: tuple[NewStatement, ...],
        now: datetime,
    ) -> None:
        """Makes the statements those of ``data``.

        Raises:
            RegistryError: a statement is listed that neither came along nor was there
                (``statement-missing``), about no release that is here (``release-not-found``), or
                about a release of the body's own (``own-release``).
        """
        body = body_of(role)
        listed = statements_in(parse_targets(data, role).signed, body)
        given = {one.target.path: one for one in new}
        columns = ReviewStatement.__table__.c
        query = select(
            columns.path, columns.kind, columns.component, columns.name, columns.sha256
        ).where(columns.body == body)
        there = {row.path: row for row in session.execute(query)}
        for path, target in listed.items():
            known = path in there and there[path].sha256 == target.sha256
            if not known and path not in given:
                raise RegistryError(
                    "statement-missing",
                    f"role {role}: it lists {path}, which did not come along",
                    "send it with the role: targets",
                )
        for one in new:
            self._check(session, one, now)
        gone = [row for path, row in there.items() if path not in listed]
        changed = {row.component for row in gone} | {str(one.target.component) for one in new}
        replaced = [*(row.path for row in gone), *(path for path in given if path in there)]
        for start in range(0, len(replaced), 500):
            batch = replaced[start : start + 500]
            session.execute(delete(ReviewStatement).where(ReviewStatement.path.in_(batch)))
        if new:
            session.execute(insert(ReviewStatement), [_row(one) for one in new])
        for one in new:
            self.audit.record(
                session, caller, one.action, f"{one.target.component}=={one.target.name}"
                if one.target.kind == DECISION else str(one.target.component),
                body=body, sha256=one.target.sha256, statement=one.target.name,
            )  # fmt: skip
        for row in gone:
            self.audit.record(
                session, caller, "review.withdraw", f"{row.component}=={row.name}"
                if row.kind == DECISION else row.component, body=body, sha256=row.sha256,
                statement=row.name, kind=_KINDS[row.kind],
            )  # fmt: skip
        for name in changed:
            organisation, _, project = name.partition("/")
            mark_changed(
                session, (Component.organisation == organisation) & (Component.name == project)
            )

    def _check(self, session: Session, one: NewStatement, now: datetime) -> None:
        if one.waiver is not None:
            _check_waiver(session, one.waiver, now)
        for version, digest in one.releases.items():
            release = find_release(session, one.target.component, version)
            if release is None or release.manifest_sha256 != digest:
                raise RegistryError(
                    "release-not-found",
                    f"{one.target.path}: {one.target.component} {version} with manifest "
                    f"sha256:{digest} is not here",
                )
            if one.decision is not None:
                self._check_counts(session, one.decision, release, now)

    def _check_counts(
        self, session: Session, decision: Decision, release: Release, now: datetime
    ) -> None:
        """A decision that would never count is not taken."""
        with self.blobs.open(release.manifest_sha256) as file:
            manifest = parse_manifest(file.read())
        subject = subject_of(manifest, signers_of(session, decision.component))
        for lapse in assess(subject, [decision], now).lapsed:
            raise RegistryError(
                "own-release" if lapse.code == "own-release" else "review-lapsed",
                f"{decision.component} {decision.version}: the decision of {decision.body} would "
                f"not count: {lapse.why}",
                "a reviewer of another body must look at it"
                if lapse.code == "own-release"
                else "decide again: forge review approve",
            )


def _check_waiver(session: Session, waiver: Waiver, now: datetime) -> None:
    """A waiver that would never hold is not taken."""
    if waiver.is_own(keyids_of(session, waiver.component)):
        raise RegistryError(
            "own-release",
            f"waiver {waiver.id} about {waiver.component}: {waiver.body} belongs to "
            f"{waiver.component.org}, or one of its reviewers signs for it",
            "a body waives nothing of its own: another body must look at it",
        )
    if waiver.expires <= now:
        raise RegistryError(
            "review-lapsed",
            f"waiver {waiver.id} about {waiver.component}: it expired on {waiver.expires:%Y-%m-%d}",
            "sign another: forge review waive",
        )


def mark_all_reviewed(session: Session) -> None:
    """Leaves word, in the transaction that takes a new targets role, that every component about
    which a body said something must be indexed for search again: a body or a key may be gone."""
    known = select(ReviewStatement.component).distinct()
    mark_changed(session, (Component.organisation + "/" + Component.name).in_(known))


def signers_of(session: Session, component: ComponentName) -> list[Delegation]:
    """The delegations to the component's organisation and, where there is one, to the component."""
    roles = current_roles(session, ("registrar", component.org))
    if len(roles) < 2:
        return []
    organisation = delegation_of(roles["registrar"], component.org, "registrar")
    own = delegations_of(roles[component.org], component.org).get(component.role)
    return [organisation] if own is None else [organisation, own]


def keyids_of(session: Session, component: ComponentName) -> frozenset[str]:
    """The keys of whoever signs for the component, or did: they review nothing of it."""
    return frozenset(
        key.keyid
        for each in signers_of(session, component)
        for key in (*each.keys, *each.former.keys())
    )


def _row(one: NewStatement) -> dict[str, object]:
    return {
        "path": one.target.path,
        "body": one.target.body,
        "kind": one.target.kind,
        "component": str(one.target.component),
        "name": one.target.name,
        "sha256": one.target.sha256,
        "envelope": one.envelope,
        "signed_at": one.signed_at,
        "expires_at": one.expires_at,
        "stored_at": None,
    }


def statement_file(path: str, sha256: str) -> str:
    """Where the published tree has it (TUF 1.0 §6.2)."""
    folder, _, name = path.rpartition("/")
    return f"targets/{folder}/{sha256}.{name}"


def published_statements(session: Session) -> Iterator[tuple[str, str, bytes]]:
    """``(target path, sha256, envelope)`` of every statement that the published tree has."""
    columns = ReviewStatement.__table__.c
    query = select(columns.path, columns.sha256, columns.envelope)
    rows = session.execute(query.where(columns.stored_at.is_not(None)))
    yield from ((row.path, row.sha256, row.envelope) for row in rows)

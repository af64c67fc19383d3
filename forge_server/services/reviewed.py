"""What reviewer bodies say of releases, read from their signed roles as any client reads them.

What was read is kept for as long as the roles that it was read from are current and have not
expired. What it adds up to is computed anew each time: a decision that ends, or a critical finding,
needs nobody to act.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from sqlalchemy import or_, select
from sqlalchemy.orm import Session

from signing.assessment import COMMUNITY, Assessment, Subject, assess
from signing.bodies import DECISION, PREFIX, ReviewTarget, body_of, is_reviews
from signing.errors import SigningError
from signing.manifest import FILE as MANIFEST
from signing.manifest import parse_manifest
from signing.names import ComponentName
from signing.reviews import BodyWord, Said, about, gather
from signing.roles import Delegation, delegations_in, delegations_of, parse_targets
from signing.verify import subject_of
from storage import PathNotFoundError, PublishedTree

from ..db.models import Component, ReviewStatement, Role
from .clock import Clock
from .components import mark_changed
from .publication import target_path
from .rolebook import current_role, current_roles

_MAX_KEPT: Final = 512


@dataclass(frozen=True, slots=True, kw_only=True)
class _Read:
    """What bodies say of one release; ``fresh_until``: one of the roles then expires."""

    said: Said
    subject: Subject
    bodies: Mapping[str, str]
    fresh_until: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """The level of a release, and the bodies' names for people. At ``look_again`` it may be another
    one by itself: a decision ends then, or a role that nobody renewed; None where nothing can."""

    assessment: Assessment = field(default_factory=lambda: Assessment(level=COMMUNITY))
    bodies: Mapping[str, str] = field(default_factory=dict)
    look_again: datetime | None = None


@dataclass(frozen=True, slots=True)
class Reviewed:
    tree: PublishedTree
    clock: Clock
    _kept: OrderedDict[object, _Read] = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def assess(
        self,
        session: Session,
        name: ComponentName,
        version: str,
        manifest_sha256: str,
        critical_since: datetime | None = None,
    ) -> Judged:
        """What reviewers' word on a published release adds up to now. ``critical_since`` is since
        when an open critical finding is known to the registry."""
        heads = _heads(session, name)
        if not any(map(is_reviews, heads)):
            return Judged()
        now = self.clock()
        key = (manifest_sha256, tuple(sorted(heads.items())))
        with self._lock:
            read = self._kept.get(key)
        if read is None or read.fresh_until <= now:
            try:
                read = self._read(session, name, version, manifest_sha256, heads)
            except (SigningError, PathNotFoundError):  # spoilt: the registry says so elsewhere
                return Judged()
            with self._lock:
                self._kept[key] = read
                while len(self._kept) > _MAX_KEPT:
                    self._kept.popitem(last=False)
        known = [read.said.critical_since(manifest_sha256), critical_since]
        subject = Subject(
            component=read.subject.component,
            version=read.subject.version,
            manifest_sha256=read.subject.manifest_sha256,
            risk_class=read.subject.risk_class,
            keyids=read.subject.keyids,
            critical_since=max((at for at in known if at is not None), default=None),
        )
        found = assess(subject, read.said.decisions, now, unread=read.said.lapses)
        until = found.until
        return Judged(
            assessment=found,
            bodies=read.bodies,
            look_again=None if until is None else min(until, read.fresh_until),
        )

    def bodies(self, session: Session) -> Mapping[str, Delegation]:
        """``{body: delegation}`` as the authority's targets role says."""
        targets = current_role(session, "targets")
        found = {} if targets is None else delegations_of(targets, "targets")
        return {body_of(role): each for role, each in found.items() if is_reviews(role)}

    def spoken_of(self, session: Session) -> frozenset[tuple[str, str]]:
        """``(component, version)`` of every release that some body decided about."""
        rows = session.execute(
            select(ReviewStatement.component, ReviewStatement.name).where(
                ReviewStatement.kind == DECISION
            )
        )
        return frozenset((component, version) for component, version in rows)

    def _read(
        self,
        session: Session,
        name: ComponentName,
        version: str,
        manifest_sha256: str,
        heads: Mapping[str, int],
    ) -> _Read:
        roles = current_roles(session, heads)
        targets = parse_targets(roles["targets"], "targets").signed
        delegations = delegations_in(targets)
        words, expires = [], [targets.expires]
        for role in filter(is_reviews, sorted(heads)):
            if role not in delegations:
                continue  # the authority took the body away
            signed = parse_targets(roles[role], role).signed
            expires.append(signed.expires)
            listed = about(signed, body_of(role), name, version)
            words.append(
                BodyWord(role=role, data=roles[role], envelopes=dict(self._envelopes(listed)))
            )
        now = self.clock()
        path = target_path(name.org, name.name, version, MANIFEST, manifest_sha256)
        manifest = parse_manifest(self.tree.read(path))
        signers = [
            delegations_of(roles[parent], parent).get(child)
            for parent, child in (("registrar", name.org), (name.org, name.role))
            if parent in roles
        ]
        return _Read(
            said=gather(targets, words, name, version, now),
            subject=subject_of(manifest, signers),
            bodies={
                body_of(role): each.body.display_name
                for role, each in delegations.items()
                if is_reviews(role) and each.body is not None
            },
            fresh_until=min((at for at in expires if at > now), default=datetime.max.replace(
                tzinfo=now.tzinfo
            )),
        )  # fmt: skip

    def _envelopes(self, listed: list[ReviewTarget]) -> Iterator[tuple[str, bytes]]:
        for one in listed:
            folder, _, file = one.path.rpartition("/")
            try:
                yield one.path, self.tree.read(f"targets/{folder}/{one.sha256}.{file}")
            except PathNotFoundError:
                continue  # its absence is told when the words are gathered


def _heads(session: Session, name: ComponentName) -> dict[str, int]:
    """``{role: version}`` of everything that the level of a component's releases hangs on."""
    chain = ("targets", "registrar", name.org, name.role)
    rows = session.execute(
        select(Role.name, Role.version).where(
            or_(Role.name.in_(chain), Role.name.startswith(PREFIX, autoescape=True))
        )
    )
    return {row[0]: row[1] for row in rows}


def mark_reviewed(session: Session) -> None:
    """Leaves word, in the transaction that takes a new version of the targets role, that every
    component with a decision must be indexed for search again: a body or a key may be gone."""
    known = select(ReviewStatement.component).distinct()
    mark_changed(session, (Component.organisation + "/" + Component.name).in_(known))

"""Filling the index: which components wait, what there is to say about them, writing it down.

Three steps, so that nothing slow happens while the database is locked. What waits and what the
registry knows of it is read in one transaction; cards are read from the blobs; a second transaction
writes, and takes from those that wait the ones that did not change meanwhile. So two processes may
do this at once, and one may die anywhere: what is still waiting is done again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import delete, func, insert, or_, select, update
from sqlalchemy.orm import Session

from signing.names import ComponentName
from storage import BlobNotFoundError, BlobStore, StorageError

from ..db.engine import Database
from ..db.models import Component, Organisation, Release, ReleaseFile
from ..logs import LOGGER
from ..services.clock import Clock
from ..services.components import mark_changed
from ..services.pages_component import owner_of
from ..services.review_desk import ReviewDesk
from ..services.withheld import withheld_by_digest
from .base import NO_LANGUAGE
from .cards import MAX_CARD_BYTES, Top, top_of, translations
from .documents import FORMATS, Document, Facts, document_of, formats_of, in_milliseconds
from .engine import Engine
from .tables import DOCUMENTS, STATE, WAITING

_AT_ONCE: Final = 250
_MOST_FORMATS: Final = 20_000  # files with a known ending, of one batch
_ENDINGS: Final = [ReleaseFile.path.like(f"%{ending}") for ending in FORMATS]


@dataclass(frozen=True, slots=True)
class _Waiting:
    """A component to be indexed, and the digests of its card and the translations beside it."""

    facts: Facts
    cards: Mapping[str, str]  # {language, or `NO_LANGUAGE`: digest}


@dataclass(frozen=True, slots=True)
class Filling:
    database: Database
    blobs: BlobStore
    engine: Engine
    desk: ReviewDesk
    clock: Clock

    def refresh(self, most: int | None = None) -> int:
        """Indexes what waits; returns how many components were. With ``most`` no batch begins once
        so many are."""
        self._wake()
        done = 0
        while (most is None or done < most) and (marks := self._marks()):
            waiting = self._read(marks)
            documents = [document_of(self._with_cards(each)) for each in waiting]
            done += self._write(marks, documents)
        return done

    def rebuild(self) -> int:
        """Empties the index and fills it again; meanwhile a search finds what is back in it. Where
        it is interrupted, the next `refresh` goes on."""
        with self.database.write() as session:
            self.engine.clear(session)
            session.execute(delete(DOCUMENTS))
            session.execute(delete(WAITING))
            session.execute(
                insert(WAITING).from_select(
                    ["component_id", "mark"], select(Component.id, func.abs(Component.id))
                )
            )
            session.execute(
                update(STATE).values(epoch=STATE.c.epoch + 1, generation=STATE.c.generation + 1)
            )
        return self.refresh()

    def _marks(self) -> dict[int, int]:
        """``{component id: mark}`` of the next that wait."""
        with self.database.read() as session:
            query = select(WAITING.c.component_id, WAITING.c.mark)
            rows = session.execute(query.order_by(WAITING.c.component_id).limit(_AT_ONCE))
            return dict(rows.all())

    def _read(self, marks: Mapping[int, int]) -> list[_Waiting]:
        # After the marks: what changes in between is read, and indexed once more for nothing.
        with self.database.read() as session:
            return _describe(session, marks, self.desk)

    def _wake(self) -> None:
        """Those whose level may have fallen by itself wait as well: nobody changed anything about
        them."""
        due = DOCUMENTS.c.look_at <= in_milliseconds(self.clock())
        with self.database.read() as session:
            if session.scalar(select(DOCUMENTS.c.component_id).where(due).limit(1)) is None:
                return
        with self.database.write() as session:
            mark_changed(session, Component.id.in_(select(DOCUMENTS.c.component_id).where(due)))

    def _with_cards(self, waiting: _Waiting) -> Facts:
        titles, summaries = {}, {}
        for language, digest in waiting.cards.items():
            top = self._top(digest)
            if top.title is not None:
                titles[language] = top.title
            # The signed summary has its own place, beside the first words of the translations.
            if top.summary is not None and language != NO_LANGUAGE:
                summaries[language] = top.summary
        return replace(waiting.facts, titles=titles, summaries=summaries)

    def _top(self, digest: str) -> Top:
        try:
            with self.blobs.open(digest) as file:
                return top_of(file.read(MAX_CARD_BYTES))
        except BlobNotFoundError:
            pass  # a registry that lost it says so elsewhere
        except StorageError as error:
            LOGGER.warning("card %s not read for the index: %s", digest, error.message)
        return Top(title=None, summary=None)

    def _write(self, marks: Mapping[int, int], documents: Sequence[Document]) -> int:
        with self.database.write() as session:
            unchanged = {
                number
                for number, mark in session.execute(
                    select(WAITING.c.component_id, WAITING.c.mark).where(
                        WAITING.c.component_id.in_(marks)
                    )
                )
                if marks[number] == mark
            }
            kept = [each for each in documents if each.component_id in unchanged]
            generation = session.scalar(select(STATE.c.generation)) or 0
            session.execute(delete(DOCUMENTS).where(DOCUMENTS.c.component_id.in_(unchanged)))
            if kept:
                rows = [document.row(generation + 1) for document in kept]
                session.execute(insert(DOCUMENTS), rows)
                self.engine.put(session, kept)
            session.execute(delete(WAITING).where(WAITING.c.component_id.in_(unchanged)))
            session.execute(update(STATE).values(generation=generation + 1))
        return len(kept)


def _describe(session: Session, marks: Iterable[int], desk: ReviewDesk) -> list[_Waiting]:
    rows = session.execute(
        select(Component, Organisation, Release)
        .join(Organisation, Component.organisation == Organisation.name)
        .join(
            Release,
            (Release.component_id == Component.id) & (Release.version == Component.latest),
        )
        .where(Component.id.in_(marks))
    ).all()
    releases = [release for _, _, release in rows]
    formats = _formats(session, releases)
    cards = _cards(session, releases)
    withheld = withheld_by_digest(session)
    decided = desk.decided(session)
    found = []
    for component, organisation, release in rows:
        held = withheld.get(release.manifest_sha256)
        states = [] if release.yanked is None else ["yanked"]
        if release.deprecated is not None:
            states.append("deprecated")
        if held is not None:
            states.append(held.state)
        facts = _facts(component, organisation, release)
        if (f"{component.organisation}/{component.name}", release.version) in decided:
            facts = _with_level(session, facts, release, desk)
        found.append(
            _Waiting(
                replace(
                    facts,
                    formats=formats.get(release.id, frozenset()),
                    states=tuple(states),
                ),
                cards.get(release.id, {}),
            )
        )
    return found


def _facts(component: Component, organisation: Organisation, release: Release) -> Facts:
    owner = owner_of(organisation)
    risk: dict[str, Any] = release.details.get("risk") or {}
    return Facts(
        component_id=component.id,
        organisation=component.organisation,
        name=component.name,
        version=release.version,
        kind=component.kind,
        summary=component.summary,
        licence=component.license,
        languages=component.languages,
        tasks=component.tasks,
        updated_at=component.updated_at,
        organisation_title=owner.display_name,
        organisation_kind=owner.kind,
        organisation_names=owner.names,
        region=owner.region,
        size=release.total_bytes,
        risk=risk.get("class"),
    )


def _with_level(session: Session, facts: Facts, release: Release, desk: ReviewDesk) -> Facts:
    name = ComponentName.parse(f"{facts.organisation}/{facts.name}")
    assessment, said = desk.assessment(session, name, release)
    return replace(
        facts,
        review=assessment.level,
        review_until=assessment.until,
        look_again=desk.look_again(session, assessment, said.waivers),
    )


def _formats(session: Session, releases: Sequence[Release]) -> dict[int, frozenset[str]]:
    """``{release id: formats of its files}``"""
    paths: dict[int, list[str]] = {}
    rows = session.execute(
        select(ReleaseFile.release_id, ReleaseFile.path)
        .where(ReleaseFile.release_id.in_([each.id for each in releases]), or_(*_ENDINGS))
        .limit(_MOST_FORMATS)
    )
    for number, path in rows:
        paths.setdefault(number, []).append(path)
    return {number: formats_of(each) for number, each in paths.items()}


def _cards(session: Session, releases: Sequence[Release]) -> dict[int, dict[str, str]]:
    """``{release id: {language: digest}}`` of the cards that are there."""
    wanted: dict[tuple[int, str], str] = {}
    for release in releases:
        card = release.details.get("card")
        if card is not None:
            wanted[release.id, card] = NO_LANGUAGE
            for language, path in translations(card).items():
                wanted.setdefault((release.id, path), language)
    if not wanted:
        return {}
    found: dict[int, dict[str, str]] = {}
    rows = session.execute(
        select(ReleaseFile.release_id, ReleaseFile.path, ReleaseFile.sha256).where(
            ReleaseFile.release_id.in_({number for number, _ in wanted}),
            ReleaseFile.path.in_({path for _, path in wanted}),
        )
    )
    for number, path, digest in rows:
        if (number, path) in wanted:
            found.setdefault(number, {})[wanted[number, path]] = digest
    return found

"""Changes of several publishers in one transaction, announced by one snapshot.

What a publish costs is hardly the publisher's own: a transaction, a checkpoint of the log, a
snapshot and a timestamp, each signed and recorded. Whoever comes while another one's transaction
runs waits for it anyway; then one of those who wait leads (`gathering`), and makes the changes of
all of them in a single transaction. Each change is a part by itself: what fails leaves no trace and
is told to the one who asked, and the others go on.

Failing is rare, and a savepoint for each change costs two more questions to the database. So they
are first made without; where one fails everything is rolled back and made again, with savepoints.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..db.engine import Database
from ..db.later import write_now
from ..errors import RegistryError
from .gathering import Gathering
from .log import part

_Made = TypeVar("_Made")

Change = Callable[[Session], tuple[_Made, bool]]
"""Makes a change in a transaction, which does not flush by itself; returns what came of it, and
whether anything changed that must be announced. It may be called several times, each in a
transaction or part of one that is rolled back but for the last."""


class _OneFailedError(Exception):
    """A change failed in a transaction that has others in it, without a savepoint before it."""


@dataclass(frozen=True, slots=True)
class Together:
    """``announce`` ends a transaction in which anything changed; what it raises undoes it all.
    ``foresee`` is told beforehand what several changes of one transaction are about to ask of the
    database, so that it may ask that once."""

    database: Database
    announce: Callable[[Session], object]
    foresee: Callable[[Session, Sequence[Any]], object] = lambda _session, _wishes: None
    _gathering: Gathering[tuple[Change[Any], Any], Any] = field(default_factory=Gathering)

    @contextmanager
    def coming(self) -> Iterator[Callable[[], None]]:
        """Around all that somebody does before `make`: see `Gathering.coming`."""
        with self._gathering.coming() as arrive:
            yield arrive

    def make(self, change: Change[_Made], wish: object = None) -> _Made:
        """Makes ``change`` and commits it, with those of others who ask meanwhile. ``wish`` is for
        ``foresee``.

        Raises:
            RegistryError: what `Database.write` raises, or ``announce``.
            Exception: whatever ``change`` raised. Nothing of it is left.
        """
        made: _Made = self._gathering.ask((change, wish), self._make)
        return made

    def _make(self, changes: Sequence[tuple[Change[Any], Any]]) -> Sequence[Any]:
        try:
            try:
                return self._try(changes, in_parts=False)
            except _OneFailedError:
                return self._try(changes, in_parts=True)
        except RegistryError:
            raise
        except Exception:
            # One of them broke the transaction of all. Alone, each has what is its own.
            if len(changes) == 1:
                raise
            return [self._alone(each) for each in changes]

    def _alone(self, change: tuple[Change[Any], Any]) -> Any:
        try:
            return self._try([change], in_parts=False)[0]
        except Exception as error:
            return error

    def _try(self, changes: Sequence[tuple[Change[Any], Any]], *, in_parts: bool) -> Sequence[Any]:
        """What came of each; nobody is told anything before the end of the transaction."""
        outcomes: list[Any] = []
        one = len(changes) == 1  # the transaction is its part
        # Nothing is flushed before somebody says so: what the session waits for is written for all
        # changes at once.
        with self.database.write() as session, session.no_autoflush:
            has_news = False
            if not in_parts:
                self.foresee(session, [wish for _, wish in changes])
            for change, _ in changes:
                try:
                    with part(session) if in_parts and not one else nullcontext():
                        result, changed = change(session)
                except Exception as error:
                    # Of a failure of the database nobody knows what it left of the transaction.
                    if one or isinstance(error, SQLAlchemyError):
                        raise
                    if not in_parts:
                        raise _OneFailedError from error
                    outcomes.append(error)
                else:
                    outcomes.append(result)
                    has_news = has_news or changed
            try:
                write_now(session)  # what waits is a change's, which must not fail as all of them
            except RegistryError as error:
                if one:
                    raise
                raise _OneFailedError from error
            if has_news:
                self.announce(session)
        return outcomes

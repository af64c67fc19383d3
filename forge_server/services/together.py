"""Changes of several publishers in one transaction, announced by one snapshot.

What a publish costs is hardly the publisher's own: a transaction, a checkpoint of the log, a
snapshot and a timestamp, each signed and recorded. Whoever comes while another one's transaction
runs waits for it anyway; then one of those who wait leads, and makes the changes of all of them in
a single transaction. Each change is a part by itself: what fails leaves no trace and is told to the
one who asked, and the others go on.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.orm import Session

from ..db.engine import Database
from ..errors import RegistryError
from .log import part

_Made = TypeVar("_Made")
MOST: Final = 64  # changes in one transaction: nobody waits for more than that

Change = Callable[[Session], tuple[_Made, bool]]
"""Makes a change in a transaction; returns what came of it, and whether anything changed that must
be announced. It may be called twice, in two transactions, of which one is rolled back."""


@dataclass(slots=True)
class _Asked(Generic[_Made]):
    change: Change[_Made]
    made: list[_Made] = field(default_factory=list)  # one, once it is committed
    error: BaseException | None = None

    @property
    def is_done(self) -> bool:
        return bool(self.made) or self.error is not None


@dataclass(frozen=True, slots=True)
class Together:
    """``announce`` ends a transaction in which anything changed; what it raises undoes it all."""

    database: Database
    announce: Callable[[Session], object]
    _leading: threading.Lock = field(default_factory=threading.Lock)
    _waiting: deque[_Asked[object]] = field(default_factory=deque)

    def make(self, change: Change[_Made]) -> _Made:
        """Makes ``change`` and commits it, with those of others who ask meanwhile.

        Raises:
            RegistryError: what `Database.write` raises, or ``announce``.
            Exception: whatever ``change`` raised. Nothing of it is left.
        """
        asked: _Asked[_Made] = _Asked(change)
        self._waiting.append(asked)  # type: ignore[arg-type]
        while not asked.is_done:
            with self._leading:
                if not asked.is_done:
                    self._lead()
        if asked.error is not None:
            raise asked.error
        return asked.made[0]

    def _lead(self) -> None:
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST))]
        try:
            self._try(group)
        except RegistryError as error:
            _fail(group, error)
        except Exception as error:
            # One of them broke the transaction of all. Alone, each has what is its own.
            if len(group) == 1:
                _fail(group, error)
            for asked in group:
                if not asked.is_done:
                    self._alone(asked)
        except BaseException:
            _fail(group, RegistryError("busy", "the server is going down; send it again"))
            raise

    def _alone(self, asked: _Asked[object]) -> None:
        try:
            self._try([asked])
        except Exception as error:
            _fail([asked], error)

    def _try(self, group: Sequence[_Asked[object]]) -> None:
        made: list[tuple[_Asked[object], object]] = []
        failed: list[tuple[_Asked[object], Exception]] = []
        one = len(group) == 1  # the transaction is its part
        with self.database.write() as session:
            has_news = False
            for asked in group:
                try:
                    with nullcontext() if one else part(session):
                        result, changed = asked.change(session)
                except Exception as error:
                    # Of a failure of the database nobody knows what it left of the transaction.
                    if one or isinstance(error, SQLAlchemyError):
                        raise
                    failed.append((asked, error))
                else:
                    made.append((asked, result))
                    has_news = has_news or changed
            if has_news:
                self.announce(session)
        # Nobody is told anything before the end of the transaction.
        for asked, result in made:
            asked.made.append(result)
        for asked, why in failed:
            asked.error = why


def _fail(group: Sequence[_Asked[object]], error: BaseException) -> None:
    for asked in group:
        if not asked.is_done:
            asked.error = error

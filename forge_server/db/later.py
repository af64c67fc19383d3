"""Writes that wait for the end of their transaction, so that several of one kind are one statement.

A transaction that publishes for many has many rows for the same tables, of which nothing in it is
read again. They are collected and written when it commits. Whoever does want to read them before
calls `write_now` first.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from sqlalchemy import event
from sqlalchemy.orm import Session, sessionmaker

_WRITTEN: Final = "later is written"  # in the info of a session: its commit writes what waits
_WAITING: Final = "later"  # in the info of a session: {work: items}

Work = Callable[[Session, list[Any]], object]
"""Writes all the items that were collected for it, in their order."""


def attach(writing: sessionmaker[Session]) -> None:
    """From now on a commit of ``writing`` writes what waits."""
    writing.configure(info={**writing.kw.get("info", {}), _WRITTEN: True})
    event.listen(writing, "before_commit", _before_commit)


def _before_commit(session: Session) -> None:
    if not session.in_nested_transaction():
        write_now(session)


def later(session: Session, work: Work, *items: Any) -> None:
    """Has ``work`` write ``items`` in this transaction, together with those of others."""
    if _WRITTEN not in session.info:
        raise AssertionError("it would be lost: nothing writes what waits in this session")
    session.info.setdefault(_WAITING, {}).setdefault(work, []).extend(items)


def write_now(session: Session) -> None:
    """Writes what waits; whatever is collected meanwhile as well."""
    while waiting := session.info.pop(_WAITING, None):
        for work, items in waiting.items():
            work(session, items)


def forget(session: Session) -> None:
    """Drops what waits: it belongs to a part of the transaction that failed."""
    session.info.pop(_WAITING, None)

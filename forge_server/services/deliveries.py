"""Sending what stands in the outbox: at least once, in as many processes as like to.

A message is claimed in a writing transaction, of which there is one at a time whatever the database
(`db.engine`), so two replicas never claim the same one. A claim that is older than a minute is that
of the dead, and the message is sent again. Each owner has one message on its way at a time: a
receiver that takes its time, or a thousand of them of one owner, make no other owner wait. A clock
that went back makes nothing wait for longer than a day.
"""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.orm import Session

from .. import __version__
from ..db.engine import Database
from ..db.hook_models import Webhook, WebhookDelivery
from ..db.models import Release
from ..domain.hooks import LONGEST, headers_for, host_of, next_try, retry_after
from ..errors import RegistryError
from ..logs import LOGGER
from .audit import Audit
from .callers import Caller
from .clock import Clock
from .outbox import WAITING
from .posting import Answer, NotPostedError, Poster
from .webhooks import end_hook

AT_ONCE: Final = 4  # messages on their way, of one process
CLAIM: Final = timedelta(seconds=60)
GIVES_UP: Final = timedelta(days=5)
KEPT: Final = timedelta(days=30)
POLL_SECONDS: Final = 2.0
_PRUNE_AT_ONCE: Final = 500
_MOST_REST: Final = timedelta(minutes=5)
_GONE: Final = 410
_OWNER: Final = func.coalesce(Webhook.organisation, "")


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A message that was claimed, and how it is to be sent."""

    message: str
    claim: str
    url: str
    secrets: Sequence[str]
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a try came to: an answer, or the ``problem`` that there is none."""

    milliseconds: int
    answer: Answer | None = None
    problem: str | None = None

    @property
    def succeeded(self) -> bool:
        return self.answer is not None and 200 <= self.answer.status < 300


@dataclass(frozen=True, slots=True)
class Deliveries:
    database: Database
    audit: Audit
    clock: Clock
    poster: Poster
    chance: Callable[[], float] = random.random
    _freed: threading.Event = field(default_factory=threading.Event)

    def claim(self, most: int = AT_ONCE) -> list[Job]:
        """At most ``most`` messages that are due, for the caller to send, each of another owner.

        Raises:
            RegistryError: the database is busy, or not there.
        """
        now = self.clock()
        with self.database.read() as session:
            if most <= 0 or not _owners(session, now, 1):
                return []
        jobs = []
        with self.database.write() as session:
            for owner in _owners(session, now, most):
                row, hook = session.execute(
                    _due(now, WebhookDelivery, Webhook)
                    .where(owner == _OWNER)
                    .order_by(WebhookDelivery.due_at, WebhookDelivery.id)
                    .limit(1)
                ).one()
                row.claim, row.claimed_at = os.urandom(8).hex(), now
                secrets = [hook.secret]
                if hook.old_secret is not None and now < hook.old_secret_until:
                    secrets.append(hook.old_secret)
                jobs.append(
                    Job(
                        message=row.id, claim=row.claim, url=hook.url, secrets=secrets,
                        body=row.body.encode(),
                    )
                )  # fmt: skip
        return jobs

    def send(self, job: Job) -> Outcome:
        """Tries once, and writes down what came of it."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"national-software-forge/{__version__}",
            **headers_for(job.message, job.secrets, self.clock(), job.body),
        }
        begun = monotonic()
        answer = problem = None
        try:
            answer = self.poster.post(job.url, headers, job.body)
        except NotPostedError as error:
            problem = str(error)
        milliseconds = round((monotonic() - begun) * 1000)
        outcome = Outcome(milliseconds=milliseconds, answer=answer, problem=problem)
        self._settle(job, outcome)
        return outcome

    def _settle(self, job: Job, outcome: Outcome) -> None:
        now = self.clock()
        with self.database.write() as session:
            row = session.get(WebhookDelivery, job.message)
            if row is None or row.claim != job.claim:
                return  # it was removed, or took so long that another one has it
            hook = session.get_one(Webhook, row.webhook_id)
            row.claim = row.claimed_at = None
            row.tries, row.tried_at = row.tries + 1, now
            row.milliseconds, row.problem = outcome.milliseconds, outcome.problem
            answer = outcome.answer
            row.status = None if answer is None else answer.status
            row.answer = None if answer is None else answer.text
            if outcome.succeeded:
                row.state = "delivered"
                hook.failing_since = hook.resting_until = None
                return
            self._failed(session, row, hook, answer, now)

    def _failed(
        self,
        session: Session,
        row: WebhookDelivery,
        hook: Webhook,
        answer: Answer | None,
        now: datetime,
    ) -> None:
        if answer is not None and answer.status == _GONE:
            row.state = "failed"
            self._end(session, hook, "its receiver answered 410: gone", now)
            return
        asked = None if answer is None else retry_after(answer.retry_after, now)
        wait = next_try(row.tries, asked, self.chance())
        if hook.failing_since is None or hook.failing_since > now:  # the clock went back
            hook.failing_since = now
        hook.resting_until = now + min(wait or _MOST_REST, _rest(asked))
        if wait is not None:
            row.due_at = now + wait
            return
        row.state = "failed"
        if hook.failing_since <= now - GIVES_UP:
            days = GIVES_UP.days
            self._end(session, hook, f"nothing was delivered for more than {days} days", now)

    def _end(self, session: Session, hook: Webhook, why: str, now: datetime) -> None:
        end_hook(session, hook, why, now)
        self.audit.record(
            session, Caller(), "webhook.disable", hook.organisation, webhook=hook.id,
            host=host_of(hook.url), reason=why,
        )  # fmt: skip
        LOGGER.warning("webhook %s of %s ended: %s", hook.id, hook.organisation or "-", why)

    def prune(self) -> int:
        """Forgets messages that nobody waits for any more; returns how many."""
        before = self.clock() - KEPT
        old = (WebhookDelivery.created_at < before) & (WebhookDelivery.state != WAITING)
        ids = select(WebhookDelivery.id).where(old).limit(_PRUNE_AT_ONCE)
        with self.database.read() as session:
            if session.scalar(ids) is None:
                return 0
        with self.database.write() as session:
            gone = session.scalars(ids).all()
            session.execute(delete(WebhookDelivery).where(WebhookDelivery.id.in_(gone)))
        return len(gone)

    def run(self, stop: threading.Event, poll_seconds: float = POLL_SECONDS) -> None:
        """Sends what is due until ``stop`` is set."""
        busy: list[threading.Thread] = []
        while not stop.is_set():
            self._freed.clear()
            busy = [each for each in busy if each.is_alive()]
            for job in self._claimed(AT_ONCE - len(busy)):
                thread = threading.Thread(
                    target=self._quietly, args=(job,), name="webhook", daemon=True
                )
                thread.start()
                busy.append(thread)
            # What was just delivered may let the owner's next message go.
            if busy:
                self._freed.wait(poll_seconds)
            else:
                stop.wait(poll_seconds)

    def _claimed(self, most: int) -> list[Job]:
        try:
            return self.claim(most)
        except RegistryError as error:  # what is due stays due
            LOGGER.warning("webhooks: %s", error.message)
        except Exception:
            LOGGER.exception("fault while looking for messages to send")
        return []

    def _quietly(self, job: Job) -> None:
        try:
            self.send(job)
        except RegistryError as error:  # the claim ends by itself, and the message goes again
            LOGGER.warning("webhooks: %s: %s", job.message, error.message)
        except Exception:
            LOGGER.exception("fault while sending %s", job.message)
        finally:
            self._freed.set()


def _rest(asked: timedelta | None) -> timedelta:
    """How long a receiver that failed is left alone at most: as it asks, or some minutes, so that
    a message that it cannot read does not keep others from it."""
    return min(max(_MOST_REST, asked or timedelta()), LONGEST)


def _is_claimed(now: datetime) -> ColumnElement[bool]:
    """Somebody sends it right now. One from the future is of before the clock went back, unless
    it is so near that another machine's clock may be a little ahead."""
    return and_(WebhookDelivery.claimed_at > now - CLAIM, WebhookDelivery.claimed_at < now + CLAIM)


def _owners(session: Session, now: datetime, most: int) -> list[str]:
    """Whose messages may go, the first due first."""
    busy = (
        select(_OWNER)
        .select_from(WebhookDelivery)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(WebhookDelivery.state == WAITING, _is_claimed(now))
    )
    query = (
        _due(now, _OWNER)
        .where(_OWNER.not_in(busy))
        .group_by(_OWNER)
        .order_by(func.min(WebhookDelivery.due_at), _OWNER)
        .limit(most)
    )
    return list(session.scalars(query))


def _due(now: datetime, *columns: Any) -> Any:
    """A query for messages that may go now."""
    unpublished = select(Release.id).where(
        Release.manifest_sha256 == WebhookDelivery.awaits, Release.stored_at.is_(None)
    )
    return (
        select(*columns)
        .select_from(WebhookDelivery)
        .join(Webhook, Webhook.id == WebhookDelivery.webhook_id)
        .where(
            WebhookDelivery.state == WAITING,
            _has_come(WebhookDelivery.due_at, now),
            or_(Webhook.resting_until.is_(None), _has_come(Webhook.resting_until, now)),
            WebhookDelivery.claimed_at.is_(None) | ~_is_claimed(now),
            ~unpublished.exists(),
        )
    )


def _has_come(moment: Any, now: datetime) -> ColumnElement[bool]:
    """Nothing is put off by more than a day: what is later was, before the clock went back."""
    return or_(moment <= now, moment > now + LONGEST)

"""Many who ask for work of one kind at the same time have it done by one of them, in one go.

Whoever comes while the work is being done has to wait for it anyway. When it ends, one of those
who wait leads: it takes all that was asked by then and does it at once, which for most work costs
little more than doing one. With nobody waiting nothing changes.

Work that costs much beside what is asked is better done for more of them. So who is about to ask
may say so (`coming`), and whoever leads waits for them, for a moment: where many come the moment is
made up for, and alone nobody waits.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

from ..errors import RegistryError

_Asked = TypeVar("_Asked")
_Made = TypeVar("_Made")
MOST: Final = 64  # in one go: nobody waits for more than that
PATIENCE_SECONDS: Final = 0.1  # with those who are coming


@dataclass(slots=True)
class _Waiter(Generic[_Asked, _Made]):
    asked: _Asked
    made: list[_Made] = field(default_factory=list)  # one, once it is done
    error: Exception | None = None

    @property
    def is_done(self) -> bool:
        return bool(self.made) or self.error is not None

    def settle(self, outcome: _Made | Exception) -> None:
        if isinstance(outcome, Exception):
            self.error = outcome
        else:
            self.made.append(outcome)


@dataclass(frozen=True, slots=True)
class Gathering(Generic[_Asked, _Made]):
    """The threads of this process that want the same kind of work."""

    _leading: threading.Lock = field(default_factory=threading.Lock)
    _waiting: deque[_Waiter[_Asked, _Made]] = field(default_factory=deque)
    _coming: set[object] = field(default_factory=set)
    _arrived: threading.Condition = field(default_factory=threading.Condition)

    @contextmanager
    def coming(self) -> Iterator[Callable[[], None]]:
        """Around what somebody does before `ask`; what it gives is to be called when that is done.
        Whoever leads meanwhile waits a moment for them."""
        somebody = object()

        def arrive() -> None:
            with self._arrived:
                self._coming.discard(somebody)
                self._arrived.notify_all()

        with self._arrived:
            self._coming.add(somebody)
        try:
            yield arrive
        finally:
            arrive()

    def ask(
        self, asked: _Asked, work: Callable[[Sequence[_Asked]], Sequence[_Made | Exception]]
    ) -> _Made:
        """What ``work``, begun after this call, makes of ``asked``. From several that were asked it
        makes as many outcomes in their order, of which those that failed are exceptions; where it
        raises one itself, all have failed.

        Raises:
            Exception: the outcome of ``asked``.
        """
        waiter: _Waiter[_Asked, _Made] = _Waiter(asked)
        self._waiting.append(waiter)
        while not waiter.is_done:
            with self._leading:
                if not waiter.is_done:
                    self._lead(work)
        if waiter.error is not None:
            raise waiter.error
        return waiter.made[0]

    def _lead(self, work: Callable[[Sequence[_Asked]], Sequence[_Made | Exception]]) -> None:
        with self._arrived:
            self._arrived.wait_for(lambda: not self._coming, PATIENCE_SECONDS)
        group = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST))]
        outcomes: Sequence[_Made | Exception]
        going = RegistryError("busy", "the server is going down; send it again")
        outcomes = [going] * len(group)
        try:
            outcomes = work([each.asked for each in group])
        except Exception as error:
            outcomes = [error] * len(group)
        finally:
            for waiter, outcome in zip(group, outcomes, strict=True):
                waiter.settle(outcome)

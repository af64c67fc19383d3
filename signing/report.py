"""Numbered checks, and the report on how each of them ended.

Each check says what it establishes and what it does not, because "verified" alone is a green
tick. The first check that fails ends the procedure; what stands on it is reported as not
reached.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from .assessment import Assessment
from .errors import SigningError, VerificationError
from .manifest import Manifest

PASSED, FAILED, NOT_CHECKED = "passed", "failed", "not-checked"

P = TypeVar("P")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One numbered check and how it ended. ``error`` is set where it failed."""

    number: int
    title: str
    status: str
    establishes: str
    does_not_establish: str
    detail: str
    error: SigningError | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """All checks in order, and the manifest that they speak of (None where none was reached).
    ``assessment`` is what reviewers decided, where that was looked at.

    The manifest of a report that is not `ok` is not to be relied on; `require` refuses it.
    """

    checks: tuple[Check, ...]
    release: Manifest | None
    assessment: Assessment | None = None

    @property
    def ok(self) -> bool:
        """Whether no check failed. Checks that could not be made do not count against it."""
        return self.first_failure is None

    @property
    def first_failure(self) -> Check | None:
        return next((check for check in self.checks if check.status == FAILED), None)

    def require(self) -> Manifest:
        """The verified manifest.

        Raises:
            SigningError: of the first check that failed.
        """
        failure = self.first_failure
        if failure is not None and failure.error is not None:
            raise failure.error
        if self.release is None:
            raise VerificationError("chain-broken", "release", "a manifest", "none")
        return self.release


class NotAtHand(Exception):  # not an error: reported as not made
    """A check cannot be made with what was handed in; says why."""


@dataclass(frozen=True, slots=True)
class Step(Generic[P]):
    """A check to be made: ``run`` returns the detail to show, or raises."""

    title: str
    run: Callable[[P], str]
    establishes: str
    does_not_establish: str


def run_steps(steps: tuple[Step[P], ...], procedure: P) -> tuple[Check, ...]:
    """Makes the checks one after the other; never raises for what a check finds."""
    checks: list[Check] = []
    broken = False
    for number, step in enumerate(steps, start=1):
        status, detail, error = NOT_CHECKED, "not reached: an earlier check failed", None
        if not broken:
            try:
                status, detail = PASSED, step.run(procedure)
            except NotAtHand as reason:
                status, detail = NOT_CHECKED, str(reason)
            except SigningError as failure:
                status, detail, error, broken = FAILED, failure.message, failure, True
        checks.append(
            Check(
                number=number,
                title=step.title,
                status=status,
                establishes=step.establishes,
                does_not_establish=step.does_not_establish,
                detail=detail,
                error=error,
            )
        )
    return tuple(checks)

"""What the witness refuses, told apart by who has to act.

WitnessError
├── Refused          the one who asks: answered with a status of tlog-witness
└── UnusableError    the operator: the folder or its contents are not what they must be
"""

from __future__ import annotations


class WitnessError(Exception):
    """``str(error)`` is the message; ``hint`` says what to do next."""

    def __init__(self, message: str, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class Refused(WitnessError):
    """A checkpoint is not cosigned. ``status`` is HTTP's.

    ``size`` is what the witness cosigned last, where that is the answer (409). ``contradicts``:
    the log signed two things that cannot both be true. ``unproven``: it signed what the proof in
    the request does not lead to, which may be the fault of whoever sent it.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        size: int | None = None,
        contradicts: bool = False,
        unproven: bool = False,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.size = size
        self.contradicts = contradicts
        self.unproven = unproven


class UnusableError(WitnessError):
    """The witness's own folder: missing, damaged, or older than what the witness has said."""

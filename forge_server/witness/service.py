"""Cosigning: judge, sign, remember, and only then answer; one request of a log after the other."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from signing.keys import PrivateKey
from signing.tlog.checkpoint import cosign
from signing.tlog.note import Note, NoteSignature

from ..logs import LOGGER
from .errors import Refused
from .evidence import keep_evidence
from .judging import (
    Asked,
    Seen,
    read_request,
    require_growth,
    require_remembered,
    require_signed,
)
from .memory import LogMemory, WitnessFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A witness with its key in memory."""

    folder: WitnessFolder
    key: PrivateKey
    clock: Callable[[], datetime]

    def add_checkpoint(self, body: bytes) -> bytes:
        """Our cosignature line over the checkpoint in ``body``, remembered before it is returned.

        Raises:
            Refused: nothing was cosigned.
            UnusableError: our memory of this log is lost, damaged or too old.
        """
        asked = read_request(body)
        log = self.folder.log(asked.head.origin)
        if log is None:
            raise Refused(
                404, f"{asked.head.origin}: expected a log that this witness knows, found another"
            )
        # Before the lock: who has no signature of the log holds nobody up.
        signatures = require_signed(asked.note, log.keys())
        # Reading what was seen, judging and remembering are one step. Otherwise a slow request for
        # a smaller tree would roll back what a faster one for a larger tree left (tlog-witness).
        with log.locked():
            return self._judge_and_cosign(log, asked, signatures)

    def _judge_and_cosign(
        self, log: LogMemory, asked: Asked, signatures: Sequence[NoteSignature]
    ) -> bytes:
        seen = log.seen()
        try:
            require_remembered(asked, seen, self.folder.own)
        except Refused:
            log.mark_forgotten(asked.note)  # or the next request would not show it any more
            LOGGER.critical("%s: OUR MEMORY IS AN OLD COPY", asked.head.origin)
            raise
        try:
            require_growth(asked, seen)
        except Refused as refusal:
            if refusal.contradicts or refusal.unproven:
                self._accuse(refusal, log, asked, signatures, seen)
            raise
        own = cosign(asked.note.text, self.folder.own.name, self.key, self.clock())
        log.remember(Note(text=asked.note.text, signatures=(*signatures, own)))
        LOGGER.info("cosigned %s size %d", asked.head.origin, asked.head.size)
        return own.line.encode()

    def _accuse(
        self,
        refusal: Refused,
        log: LogMemory,
        asked: Asked,
        signatures: Sequence[NoteSignature],
        seen: Seen | None,
    ) -> None:
        path = keep_evidence(
            self.folder.evidence,
            kind="fork" if refusal.contradicts else "unproven",
            asked=asked,
            signatures=signatures,
            seen=seen,
            keys=log.keys(),
            now=self.clock(),
        )
        LOGGER.log(
            logging.CRITICAL if refusal.contradicts else logging.WARNING,
            "%s: %s; evidence: %s",
            "THE LOG CONTRADICTS ITSELF" if refusal.contradicts else "not proven to continue",
            refusal.message,
            path or "not kept, there is too much of it",
        )

    def latest(self, origin_hash: str) -> bytes | None:
        """The last checkpoint cosigned of the log with this origin hash, with the log's signatures
        and ours; None where there is none.

        Raises:
            UnusableError: as above.
        """
        log = self.folder.log_by_hash(origin_hash)
        if log is None:
            return None
        # Under the lock: one that is being written is not on disk yet, and whoever saw it would
        # know of a cosignature that a power cut makes us forget.
        with log.locked():
            seen = log.seen()
        return seen.raw if seen else None

    def require_whole(self) -> None:
        """Raises UnusableError where a log's memory cannot be relied on."""
        for log in self.folder.logs():
            with log.locked():
                log.sweep()
                log.seen()

"""Asking witnesses to cosign a checkpoint (c2sp.org/tlog-witness).

All of them at once, each with the proof that the checkpoint continues what it cosigned last. What
that was, the witness says itself when it is asked wrongly, so nothing about it is kept. A witness
that does not answer, or not to the end, delays nobody for longer than the timeout.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Thread
from time import monotonic
from typing import Final

import urllib3

from signing.errors import MalformedError, SigningError, VerificationError
from signing.tlog.checkpoint import check_cosignature, open_checkpoint
from signing.tlog.merkle import prove_consistency
from signing.tlog.note import (
    COSIGNATURE,
    MAX_NOTE_BYTES,
    Note,
    NoteKey,
    NoteSignature,
    merge_signatures,
    parse_note,
)
from signing.tlog.policy import policy_of
from signing.tlog.witnessing import parse_cosignatures, parse_size_answer, render_add_checkpoint

from ..db.engine import Database
from ..errors import RegistryError
from .log import hash_reader
from .rolebook import current_role

LOGGER = logging.getLogger("forge.witnesses")
_ROUNDS: Final = 3  # a size that another process reached meanwhile, and once more


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """A witness: the key that it cosigns with, and its submission prefix."""

    key: NoteKey
    url: str


def parse_witness(text: str, where: str) -> Witness:
    """Reads ``<verifier key> <URL>``.

    Raises:
        MalformedError: another form, or a key that is no witness's.
    """
    vkey, _, url = text.partition(" ")
    key = NoteKey.parse(vkey, where)
    if key.kind != COSIGNATURE or not url.startswith(("http://", "https://")):
        raise MalformedError(where, "a witness's verifier key, a space and its URL", text)
    return Witness(key=key, url=url.strip().rstrip("/"))


@dataclass(slots=True)
class Witnesses:
    """The witnesses that this registry asks. ``cosign`` is what `LogFiles` calls."""

    database: Database
    witnesses: Sequence[Witness]
    timeout_seconds: float
    _sizes: dict[str, int] = field(default_factory=dict)
    _asking: dict[str, Thread] = field(default_factory=dict)
    _http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=8, retries=False)
    )

    def cosign(self, size: int, note: bytes) -> bytes:
        """``note`` with the cosignature of every witness that gave one.

        Raises:
            RegistryError: fewer than the authority demands (``witnesses-missing``).
        """
        parsed = parse_note(note)
        # Most of the time all of them saw the same size last: one proof serves them all.
        proofs = {
            old: self._prove(old, size) for old in {self._old(w, size) for w in self.witnesses}
        }
        found = self._ask_all(size, parsed, proofs)
        cosigned = merge_signatures(parsed, found).to_bytes()
        self._require_quorum(cosigned)
        return cosigned

    def _require_quorum(self, note: bytes) -> None:
        with self.database.read() as session:
            targets = current_role(session, "targets")
        policy = None if targets is None else policy_of(targets)
        if policy is None:
            return
        try:
            policy.require_quorum(open_checkpoint(note, policy.keys, policy.witnesses))
        except VerificationError as error:
            raise RegistryError(
                "witnesses-missing",
                f"expected {error.expected}, found {error.found}",
                "it is recorded; it becomes visible as soon as they answer. Repeat the command to "
                "see whether it has",
            ) from error

    def _ask_all(
        self, size: int, note: Note, proofs: Mapping[int, Sequence[bytes]]
    ) -> list[NoteSignature]:
        """The cosignatures that came within the timeout.

        The timeout of a socket begins anew with every byte: a witness that sends one now and then
        would hold a publish for days. So nobody waits for its thread; it is asked again when that
        has ended.
        """
        found: dict[str, NoteSignature | None] = {}

        def ask(witness: Witness) -> None:
            found[witness.key.name] = self._ask(witness, size, note, proofs)

        started = []
        for witness in self.witnesses:
            name = witness.key.name
            if name in self._asking and self._asking[name].is_alive():
                LOGGER.warning("witness %s: has not answered the last question yet", name)
                continue
            self._asking[name] = Thread(target=ask, args=(witness,), daemon=True)
            self._asking[name].start()
            started.append((name, self._asking[name]))
        end = monotonic() + self.timeout_seconds
        for name, thread in started:
            thread.join(max(0.0, end - monotonic()))
            if thread.is_alive():
                LOGGER.warning("witness %s: no answer within %g s", name, self.timeout_seconds)
        return [signature for name, _ in started if (signature := found.get(name)) is not None]

    def _old(self, witness: Witness, size: int) -> int:
        """What the witness cosigned last, as far as we know."""
        return min(self._sizes.get(witness.key.name, 0), size)

    def _prove(self, old: int, size: int) -> Sequence[bytes]:
        with self.database.read() as session:
            return prove_consistency(old, size, hash_reader(session, size))

    def _ask(
        self, witness: Witness, size: int, note: Note, proofs: Mapping[int, Sequence[bytes]]
    ) -> NoteSignature | None:
        name = witness.key.name
        try:
            for _ in range(_ROUNDS):
                old = self._old(witness, size)
                proof = proofs[old] if old in proofs else self._prove(old, size)
                status, body = self._post(
                    witness, render_add_checkpoint(old, proof, note.to_bytes())
                )
                if status == 200:
                    self._sizes[name] = size
                    return self._own(witness, body, note)
                if status != 409:
                    LOGGER.warning("witness %s answered %d: %.200r", name, status, body)
                    return None
                self._sizes[name] = parse_size_answer(body)
                if self._sizes[name] > size:
                    LOGGER.warning(
                        "witness %s has cosigned %d entries already, we asked for %d",
                        name, self._sizes[name], size,
                    )  # fmt: skip
                    return None
        except (SigningError, urllib3.exceptions.HTTPError, OSError) as error:
            LOGGER.warning("witness %s: %s", name, error)
        return None

    def _post(self, witness: Witness, body: bytes) -> tuple[int, bytes]:
        response = self._http.request(
            "POST",
            f"{witness.url}/add-checkpoint",
            body=body,
            headers={"Content-Type": "text/plain; charset=utf-8"},
            timeout=self.timeout_seconds,
            redirect=False,
            preload_content=False,
        )
        try:
            return response.status, response.read(MAX_NOTE_BYTES)
        finally:
            response.drain_conn()
            response.release_conn()

    def _own(self, witness: Witness, body: bytes, note: Note) -> NoteSignature | None:
        """The witness's own line of its answer, verified; others are ignored."""
        for signature in parse_cosignatures(body, f"witness {witness.key.name}"):
            if (signature.name, signature.key_id) == (witness.key.name, witness.key.key_id):
                check_cosignature(signature, note.text, witness.key)
                return signature
        LOGGER.warning("witness %s answered without its cosignature", witness.key.name)
        return None

"""Asking witnesses to cosign a checkpoint (c2sp.org/tlog-witness).

All of them at once, each with the proof that the checkpoint continues what it cosigned last. What
that was, the witness says itself when it is asked wrongly, so nothing about it is kept. A witness
that does not answer delays nobody for longer than the timeout.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
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
    _http: urllib3.PoolManager = field(
        default_factory=lambda: urllib3.PoolManager(maxsize=8, retries=False)
    )

    def cosign(self, size: int, note: bytes) -> bytes:
        """``note`` with the cosignature of every witness that gave one.

        Raises:
            RegistryError: fewer than the authority demands (``witnesses-missing``).
        """
        parsed = parse_note(note)
        with ThreadPoolExecutor(max(1, len(self.witnesses))) as pool:
            answers = pool.map(lambda each: self._ask(each, size, parsed), self.witnesses)
            found = [signature for signature in answers if signature is not None]
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

    def _ask(self, witness: Witness, size: int, note: Note) -> NoteSignature | None:
        name = witness.key.name
        try:
            for _ in range(_ROUNDS):
                old = min(self._sizes.get(name, 0), size)
                status, body = self._post(witness, old, size, note)
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

    def _post(self, witness: Witness, old: int, size: int, note: Note) -> tuple[int, bytes]:
        with self.database.read() as session:
            proof = prove_consistency(old, size, hash_reader(session, size))
        response = self._http.request(
            "POST",
            f"{witness.url}/add-checkpoint",
            body=render_add_checkpoint(old, proof, note.to_bytes()),
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

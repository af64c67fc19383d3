"""The three steps of a ceremony after its plan: each signs, one merges, one finishes."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import datetime
from typing import Protocol

from .ceremony import Ceremony, Change
from .ceremony_rules import check_ceremony, quorums
from .errors import ConflictError, VerificationError
from .keys import PublicKey


class Signer(Protocol):
    """A key pair, wherever its private half is: a file, a token, a service."""

    @property
    def public(self) -> PublicKey: ...

    def sign(self, data: bytes) -> bytes: ...


def add_signature(
    ceremony: Ceremony,
    key: Signer,
    now: datetime,
    *,
    fingerprint: str | None,
    digest: str | None = None,
    dev: bool = False,
) -> Ceremony:
    """The ceremony with a signature by ``key`` on everything that asks for it.

    ``digest`` is what the keyholders read to each other, where they did. Signing twice changes
    nothing.

    Raises:
        VerificationError: `check_ceremony`'s, another ceremony than the one agreed upon
            (``ceremony-differs``), or a key that is not asked (``key-unlisted``).
    """
    check_ceremony(ceremony, now, fingerprint=fingerprint, dev=dev)
    if digest is not None and digest != ceremony.digest:
        raise VerificationError(
            "ceremony-differs",
            "ceremony",
            digest,
            ceremony.digest,
            "this is not the file that the others are signing: stop, and compare",
        )
    changes = tuple(_signed(ceremony, change, key) for change in ceremony.changes)
    if all(key.public.keyid not in change.signatures for change in changes):
        asked = {k.keyid[:12] for c in changes for q in quorums(ceremony, c.role) for k in q.keys}
        raise VerificationError(
            "key-unlisted",
            "ceremony",
            f"one of the keys that are asked to sign ({', '.join(sorted(asked))})",
            key.public.keyid[:12],
        )
    return replace(ceremony, changes=changes)


def _signed(ceremony: Ceremony, change: Change, key: Signer) -> Change:
    keyid = key.public.keyid
    asked = any(key.public in quorum.keys for quorum in quorums(ceremony, change.role))
    if not asked or keyid in change.signatures:
        return change
    signature = key.sign(change.payload)
    # A token or a service may answer anything: what does not verify is not carried on.
    key.public.verify(signature, change.payload, f"role {change.role}: the signature just made")
    return replace(change, signatures={**change.signatures, keyid: signature.hex()})


def merge_ceremonies(ceremonies: Iterable[Ceremony]) -> Ceremony:
    """One ceremony with the signatures of all; each is judged afterwards by `check_ceremony`.

    Raises:
        ConflictError: they are not about the same bytes (``ceremony-differs``).
    """
    first, *others = ceremonies
    for other in others:
        if _unsigned(other) != _unsigned(first):
            raise ConflictError(
                "ceremony-differs",
                "the files are of different ceremonies\n"
                f"expected {first.digest}\nfound    {other.digest}",
                "somebody signed another file: find out which one everybody agreed upon",
            )
        changes = zip(first.changes, other.changes, strict=True)
        first = replace(first, changes=tuple(_merged(one, two) for one, two in changes))
    return first


def _unsigned(ceremony: Ceremony) -> Ceremony:
    return replace(
        ceremony, changes=tuple(replace(change, signatures={}) for change in ceremony.changes)
    )


def _merged(one: Change, other: Change) -> Change:
    # Where both hold a signature of one key, the first is as good as the second.
    return replace(one, signatures={**other.signatures, **one.signatures})


def finish(
    ceremony: Ceremony, now: datetime, *, fingerprint: str | None, dev: bool = False
) -> dict[str, bytes]:
    """``{role: signed metadata}`` of a ceremony in which every quorum is complete.

    Raises:
        VerificationError: `check_ceremony`'s, or signatures are missing (``threshold-not-met``).
    """
    check_ceremony(ceremony, now, fingerprint=fingerprint, dev=dev)
    finished = {}
    for change in ceremony.changes:
        for quorum in quorums(ceremony, change.role):
            if quorum.missing(change):
                raise VerificationError(
                    "threshold-not-met",
                    f"role {change.role}",
                    f"{quorum.threshold} signatures by {quorum.by}",
                    f"{len(quorum.signed(change))}",
                    "the others sign first: forge authority sign, then forge authority merge",
                )
        finished[change.role] = change.metadata.to_bytes()
    return finished

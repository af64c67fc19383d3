"""Which log and which witnesses are believed, and how many of them it takes.

The authority names the log's keys and the witnesses in its signed targets role, so that whoever
pinned the root knows them. A client may name witnesses of its own instead: an authority that
could choose every witness could also choose what they say.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache

from tuf.api.metadata import Targets

from ..encoding import Fields
from ..errors import MalformedError, VerificationError
from ..roles import EXPIRY, parse_targets
from .checkpoint import SignedCheckpoint
from .note import COSIGNATURE, ED25519, NoteKey

FIELD = "forge"  # the member of the targets role that holds what TUF has no word for
_MAX_KEYS = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class LogPolicy:
    """A checkpoint counts when one of ``keys`` signed it and ``quorum`` of ``witnesses`` did."""

    keys: tuple[NoteKey, ...]
    witnesses: tuple[NoteKey, ...] = ()
    quorum: int = 0

    @property
    def origin(self) -> str:
        """The log's name: all its keys bear it."""
        return self.keys[0].name

    def require_quorum(self, signed: SignedCheckpoint) -> None:
        """Raises VerificationError (``witnesses-missing``) when too few witnesses cosigned."""
        found = len(signed.witnesses)
        if found < self.quorum:
            names = ", ".join(sorted(signed.witnesses)) or "none"
            raise VerificationError(
                "witnesses-missing",
                f"checkpoint {signed.checkpoint.size} of {signed.checkpoint.origin}",
                f"cosignatures of {self.quorum} of {len(self.witnesses)} witnesses",
                f"{found} ({names})",
                "nobody independent has seen this state of the log: do not rely on it; try again "
                "later, and tell the registry's operator if it stays so",
            )

    def require_recent(self, signed: SignedCheckpoint, now: datetime) -> None:
        """Establishes that the quorum cosigned lately: each signing of the timestamp is a leaf, so
        a checkpoint that nobody cosigned for longer than a timestamp lives is not the newest one.

        Raises:
            VerificationError: ``expired``, with when the quorum was last reached.
        """
        if not self.quorum:
            return
        self.require_quorum(signed)
        reached = sorted(signed.witnesses.values())[-self.quorum]
        if now - reached > EXPIRY["timestamp"]:
            raise VerificationError(
                "expired",
                f"checkpoint {signed.checkpoint.size} of {signed.checkpoint.origin}",
                f"cosignatures of {self.quorum} of {len(self.witnesses)} witnesses from the last "
                f"{EXPIRY['timestamp'].total_seconds() / 3600:.0f} hours",
                f"the last on {reached:%Y-%m-%d %H:%M} UTC",
                "this is an old state of the registry, or its witnesses are away: do not rely on "
                "it; try another mirror, and tell the registry's operator",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Witnesses:
    """The witnesses that a client chose itself; ``quorum`` None stands for more than half."""

    keys: tuple[NoteKey, ...]
    quorum: int | None = None


def default_quorum(witnesses: int) -> int:
    """More than half: 2 of 3. Any two majorities share a witness, which will not cosign two
    histories."""
    return witnesses // 2 + 1 if witnesses else 0


@lru_cache(maxsize=4)  # a server asks of the same bytes several times in every publish
def policy_of(targets: bytes, own: Witnesses | None = None) -> LogPolicy | None:
    """What the authority says in its targets role; None where it names no log. The client's
    ``own`` witnesses, where it has any, take the place of the authority's.

    Raises:
        MalformedError: it says it in a form that is not understood.
    """
    policy = policy_in(parse_targets(targets, "targets").signed)
    if policy is None or own is None:
        return policy
    return with_witnesses(policy, own.keys, own.quorum)


def policy_in(signed: Targets) -> LogPolicy | None:
    """`policy_of` for a role already parsed."""
    extra = signed.unrecognized_fields.get(FIELD)
    if extra is None:
        return None
    fields = Fields.of(extra, f"targets: {FIELD}").only((), optional=("log",))
    return parse_policy(fields.object("log")) if "log" in fields.value else None


def set_policy(signed: Targets, policy: LogPolicy | None) -> None:
    """Has the role say ``policy`` from now on; None lets it name no log."""
    signed.unrecognized_fields.pop(FIELD, None)
    if policy is not None:
        signed.unrecognized_fields[FIELD] = {"log": describe(policy)}


def parse_policy(fields: Fields) -> LogPolicy:
    """Reads ``{keys, witnesses, quorum}``; the two last may be missing."""
    fields.only(("keys",), optional=("witnesses", "quorum"))
    keys = parse_keys(fields.texts("keys", max_items=_MAX_KEYS), ED25519, fields.path("keys"))
    witnesses = parse_keys(
        fields.texts("witnesses", max_items=_MAX_KEYS), COSIGNATURE, fields.path("witnesses")
    )
    if not keys or len({key.name for key in keys}) != 1:
        raise MalformedError(fields.path("keys"), "keys of one log", f"{len(keys)} keys")
    return with_witnesses(
        LogPolicy(keys=keys),
        witnesses,
        fields.integer("quorum") if "quorum" in fields.value else None,
        fields.path("quorum"),
    )


def parse_keys(vkeys: Sequence[str], kind: int, where: str) -> tuple[NoteKey, ...]:
    """The verifier keys, all of one ``kind`` and each with another name and another key: one
    witness under two names would count twice."""
    keys = tuple(NoteKey.parse(text, f"{where}[{at}]") for at, text in enumerate(vkeys))
    wrong = [key.vkey for key in keys if key.kind != kind]
    if wrong:
        raise MalformedError(where, f"keys of kind {kind}", wrong[0])
    if kind == COSIGNATURE:
        names, publics = {key.name for key in keys}, {key.public for key in keys}
        if len(names) < len(keys) or len(publics) < len(keys):
            raise MalformedError(where, "each witness and each key once", "one of them twice")
    return keys


def with_witnesses(
    policy: LogPolicy,
    witnesses: Sequence[NoteKey],
    quorum: int | None,
    where: str = "quorum",
) -> LogPolicy:
    """``policy`` with these witnesses; ``quorum`` None stands for more than half.

    Raises:
        MalformedError: a quorum that no number of them could reach.
    """
    needed = default_quorum(len(witnesses)) if quorum is None else quorum
    if not 0 <= needed <= len(witnesses):
        raise MalformedError(where, f"0 to {len(witnesses)}", needed)
    return LogPolicy(keys=policy.keys, witnesses=tuple(witnesses), quorum=needed)


def describe(policy: LogPolicy) -> dict[str, object]:
    """``policy`` as it stands in the targets role."""
    described: dict[str, object] = {"keys": [key.vkey for key in policy.keys]}
    if policy.witnesses:
        described["witnesses"] = [key.vkey for key in policy.witnesses]
        described["quorum"] = policy.quorum
    return described

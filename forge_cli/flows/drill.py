"""Rehearsing the loss of keys: what would still stand, and the plan that would repair it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from signing.ceremony_plans import Chain, KeySet, edit_key_set, plan_next
from signing.keys import PublicKey

from ..context import Context
from ..errors import ForgeError
from .ceremony_files import create_ceremony, fingerprint_of, read_chain, read_public_keys
from .keys import open_key

ROLES = ("root", "targets", "registrar", "status")


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """One role after the loss: ``tried`` keys proved that they can still sign."""

    role: str
    threshold: int
    keys: tuple[PublicKey, ...]
    lost: tuple[PublicKey, ...]
    tried: tuple[PublicKey, ...]

    @property
    def remaining(self) -> int:
        return len(self.keys) - len(self.lost)

    @property
    def stands(self) -> bool:
        return self.remaining >= self.threshold


def rehearse(
    context: Context, folder: Path, references: Sequence[str], lost: Sequence[str]
) -> tuple[Chain, tuple[Standing, ...]]:
    """What would stand if the keys whose ids begin with ``lost`` were gone.

    Each key of ``references`` signs a text that means nothing to anybody, so that its holder
    knows today, and not in the emergency, that token and passphrase still work.
    """
    chain = read_chain(folder)
    tried = {_try(context, chain, reference) for reference in references}
    sets = {role: chain.key_set(role) for role in ROLES}
    standings = tuple(
        _standing(keys, role, lost, tried) for role, keys in sets.items() if keys.keys
    )
    known = {key for standing in standings for key in standing.keys}
    unlisted = [key.keyid[:12] for key in tried if key not in known]
    unknown = [wanted for wanted in lost if not any(_is(key, wanted) for key in known)]
    if unlisted or unknown:
        listed = ", ".join(sorted(key.keyid[:12] for key in known))
        raise ForgeError(
            "key-unlisted",
            f"not a key of this authority: {', '.join(unlisted + unknown)}\nexpected one of "
            f"{listed}",
            hint="give at least 8 digits of the key id",
        )
    return chain, standings


def _try(context: Context, chain: Chain, reference: str) -> PublicKey:
    key = open_key(context, reference)
    # Not JSON, so it can never be taken for a role.
    text = f"a drill, which signs nothing: {fingerprint_of(chain)}\n".encode()
    key.public.verify(key.sign(text), text, f"key {reference}")
    return key.public


def _is(key: PublicKey, wanted: str) -> bool:
    return len(wanted) >= 8 and key.keyid.startswith(wanted)


def _standing(keys: KeySet, role: str, lost: Sequence[str], tried: set[PublicKey]) -> Standing:
    gone = tuple(key for key in keys.keys if any(_is(key, wanted) for wanted in lost))
    return Standing(
        role=role,
        threshold=keys.threshold,
        keys=keys.keys,
        lost=gone,
        tried=tuple(key for key in keys.keys if key in tried and key not in gone),
    )


def plan_repair(
    context: Context,
    chain: Chain,
    standings: Sequence[Standing],
    add: Sequence[Path],
    out: Path,
    *,
    dev: bool,
) -> list[str]:
    """Write the ceremony that replaces the lost keys in every role; returns the roles."""
    public = read_public_keys(add)
    keys = {
        one.role: edit_key_set(
            one.role,
            chain.key_set(one.role),
            add=[key for key in public if key not in one.keys],
            remove=[key.keyid for key in one.lost],
        )
        for one in standings
        if one.lost
    }
    plan = plan_next(chain, context.now, keys=keys, dev=dev)
    create_ceremony(out, plan)
    return [change.role for change in plan.changes]

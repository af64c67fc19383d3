"""A policy that is only a file yet, held against releases in the registry."""

from __future__ import annotations

from collections.abc import Sequence

from signing.names import ComponentName, Requirement
from signing.policy import Policy

from ..context import Context
from ..lockfile import Lock, LockedComponent, locked_release
from ..policies import PolicyPin
from .choosing import choose
from .permission import Gate, Judgement
from .policies import Pinned
from .proof import Prover


def judge_with(
    context: Context, policy: Policy, label: str, wanted: Sequence[Requirement]
) -> list[Judgement]:
    """What ``policy`` says of the newest release of each of ``wanted``."""
    context.view.refresh()
    gate = Gate(context=context, folder=None, trial=(_unpinned(context, policy, label),))
    found = []
    for requirement in wanted:
        release = locked_release((requirement.component, choose(context.view, requirement)))
        found.append(gate.judge(prover_of(context, release), release))
    return found


def prover_of(context: Context, *releases: LockedComponent) -> Prover:
    """Proves releases of the chosen registry that no lock names."""
    lock = Lock(
        registry=context.pin.url,
        fingerprint=context.pin.fingerprint,
        requirements=(),
        components=releases,
    )
    return Prover(context, lock)


def _unpinned(context: Context, policy: Policy, label: str) -> Pinned:
    pin = PolicyPin(
        component=ComponentName.parse("trial/policy"),
        version="0",
        manifest_sha256="0" * 64,
        registry=context.pin.url,
        fingerprint=context.pin.fingerprint,
    )
    return Pinned(pin=pin, scope=label, policy=policy, verified_at="")

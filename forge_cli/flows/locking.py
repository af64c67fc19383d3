"""The lock of a folder: the one that is there if it will do, else a newly resolved one.

What a policy does not permit is not chosen where something else will do, and it is said what was
passed over and why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

from signing.errors import WithheldError
from signing.names import ComponentName, Requirement

from ..context import Context
from ..errors import ForgeError, NetworkError, UsageError
from ..lockfile import Lock, LockedComponent, locked_release, read_lock, requirement_text
from ..output import clean
from .installed import Site, instant
from .permission import Gate, Overrides, PassedOver, only_needed, open_gate, with_overrides
from .proof import Prover
from .withheld import require_usable

NO_OVERRIDES: Overrides = MappingProxyType({})


def settle_lock(
    context: Context,
    requirements: Sequence[Requirement],
    site: Site,
    *,
    locked_only: bool,
    upgrade: bool,
    overrides: Overrides = NO_OVERRIDES,
) -> Lock:
    """The lock to install: the one that is there if it will do, else a newly resolved one.

    What every policy permits, with the rules put aside that ``overrides`` names.
    """
    old = read_lock(site.lock_path)
    gate = open_gate(context, site.into)
    if gate is not None:
        gate.require_policies()
    if overrides and gate is None:
        raise UsageError(
            "--override: no policy is pinned here, so there is no rule to put aside",
            hint="see what is pinned: forge policy show",
        )
    wanted = merge(old.requirements if old is not None else (), requirements)
    if not wanted:
        raise ForgeError(
            "usage",
            "nothing to install: no requirement, and no forge.lock that has one",
            hint="name a component: forge install ORG/NAME   (find one: forge search WORDS)",
        )
    if old is not None and not upgrade and old.satisfies(wanted):
        kept = _narrowed(old, wanted)
        if (pin := context.trust.with_fingerprint(kept.fingerprint)) is not None:
            try:
                require_usable(context, pin, kept.components)
            except WithheldError as error:
                error.hint = f"{error.hint}\n--upgrade resolves anew, without it"
                raise
        if gate is None:
            return kept
        return _permitted(context, gate, kept, overrides)
    if locked_only:
        raise ForgeError(
            "lock-missing" if old is None else "unsatisfiable",
            f"{site.lock_path}: {'no such file' if old is None else 'does not satisfy'} "
            + ", ".join(map(requirement_text, requirements)),
            hint="leave --locked out to resolve anew",
        )
    if gate is None:
        return resolve_lock(context, wanted, None if upgrade else old)
    # The registry is asked anyway: a review that was taken back an hour ago must not count.
    gate.again = True
    known = None if upgrade else old
    return _resolve_permitted(context, gate, wanted, known, overrides, before=old)


def settle_one(context: Context, requirement: Requirement) -> Lock:
    """The one release that an installation of ``requirement`` would choose, as a lock: without what
    the release itself requires, for those who read its files. Offline it is the newest of those
    that were verified on this machine.

    Raises:
        WithheldError: all that would do is withheld.
        ForgeError: as `resolve`; ``policy-refused``, ``policy-unusable``.
    """
    gate = open_gate(context, Path())
    if gate is None:
        return resolve_lock(context, [requirement], None, alone=True)
    gate.require_policies()
    gate.again = True
    return _resolve_permitted(context, gate, [requirement], None, NO_OVERRIDES, alone=True)


def _permitted(context: Context, gate: Gate, lock: Lock, overrides: Overrides) -> Lock:
    """``lock`` with the overrides written into it, after every policy permitted all of it."""
    asked = _overriding(context, lock, overrides, lock)
    try:
        judgements = gate.require(Prover(context, asked), asked.components)
    except ForgeError as error:
        if error.code == "policy-refused":
            error.hint = f"{error.hint}\n--upgrade resolves anew, without it where that will do"
        raise
    kept = tuple(only_needed(context, judgement, overrides) for judgement in judgements)
    return replace(asked, components=kept)


def _resolve_permitted(
    context: Context,
    gate: Gate,
    wanted: Sequence[Requirement],
    old: Lock | None,
    overrides: Overrides,
    *,
    before: Lock | None = None,
    alone: bool = False,
) -> Lock:
    """The newly resolved lock of releases that every policy permits; what was put aside for them
    in the lock ``before`` still is.

    Only what was chosen is judged: to judge every version of everything, each would have to be
    fetched. What is refused is left out, and chosen anew.
    """
    refused: dict[str, PassedOver] = {}
    while True:
        try:
            lock = resolve_lock(context, wanted, old, frozenset(refused), alone=alone)
        except ForgeError as error:
            if error.code == "unsatisfiable" and refused:
                raise _all_refused(refused, error) from error
            raise
        lock = _overriding(context, lock, overrides, before)
        prover = Prover(context, lock)
        judgements = [gate.judge(prover, release) for release in lock.components]
        new = [PassedOver(judgement=one) for one in judgements if not one.permits]
        if not new:
            break
        refused |= {one.judgement.release.manifest_sha256: one for one in new}
    gate.passed_over.extend(refused.values())
    for one in refused.values():
        context.out.say(clean(one))
    kept = tuple(only_needed(context, judgement, overrides) for judgement in judgements)
    return replace(lock, components=kept)


def _overriding(context: Context, lock: Lock, overrides: Overrides, old: Lock | None) -> Lock:
    """``lock`` with what is put aside for its releases: now, or before for these very releases."""
    before = {} if old is None else {one.manifest_sha256: one.overrides for one in old.components}
    at = instant(context.now)
    components = tuple(
        with_overrides(one, overrides, before.get(one.manifest_sha256, ()), at)
        for one in lock.components
    )
    return replace(lock, components=components)


def _all_refused(refused: Mapping[str, PassedOver], error: ForgeError) -> ForgeError:
    """Why nothing is left: what the policies say of the version that would have been chosen."""
    first, *others = refused.values()
    refusal = first.judgement.error()
    if others:
        names = ", ".join(str(one.judgement.release) for one in others)
        refusal.message += f"\nnothing else will do: {names} not permitted either"
    refusal.facts["unsatisfiable"] = error.message
    return refusal


def merge(old: Sequence[Requirement], new: Sequence[Requirement]) -> tuple[Requirement, ...]:
    """``old`` with each component that ``new`` names asked for as ``new`` says."""
    named = {requirement.component for requirement in new}
    kept = [requirement for requirement in old if requirement.component not in named]
    return tuple(sorted([*kept, *new], key=requirement_text))


def resolve_lock(
    context: Context,
    wanted: Sequence[Requirement],
    old: Lock | None,
    refused: Set[str] = frozenset(),
    *,
    alone: bool = False,
) -> Lock:
    """Choose versions from the registry's signed indexes, or offline from what was verified here;
    ``refused`` are the manifest digests of releases that a policy does not permit. ``alone`` leaves
    out what the chosen ones require."""
    from ..resolve import Release, resolve
    from .kept import choices

    pin, known = context.pin, choices(context)
    if old is not None and old.fingerprint != pin.fingerprint:
        raise ForgeError(
            "conflict",
            f"forge.lock belongs to {old.registry}, not to {pin.url}\n"
            f"expected {old.fingerprint}\nfound    {pin.fingerprint}",
            hint="use that registry (--registry), or another folder (--into)",
        )

    def lookup(name: ComponentName) -> list[Release] | None:
        releases = known.releases(name)
        if releases is None:
            return None
        return [
            Release(
                component=name,
                version=entry.version,
                requires={} if alone else entry.requires,
                yanked=entry.yanked,
                withheld=known.withheld(entry),
                refused=entry.manifest_sha256 in refused,
            )
            for entry in releases.values()
        ]

    preferred = {c.component: c.version for c in old.components} if old is not None else {}
    try:
        chosen = resolve(wanted, lookup, preferred)
    except NetworkError:
        raise
    except ForgeError as error:
        unknown = [r.component for r in wanted if context.offline or lookup(r.component) is None]
        error.hint = next(filter(None, map(known.hint, unknown)), error.hint)
        raise
    components = []
    for name, release in chosen.items():
        entry = (known.releases(name) or {})[str(release.version)]
        if entry.yanked is not None:
            instead = f"; use {entry.yanked_successor}" if entry.yanked_successor else ""
            context.out.warn(
                f"{release} was yanked by its publisher: {clean(entry.yanked)}{instead}"
            )
        if entry.deprecated is not None:
            context.out.warn(
                f"{release} is deprecated by its publisher: {clean(str(entry.deprecated))}"
            )
        components.append(locked_release((name, entry)))
    return Lock(
        registry=pin.url,
        fingerprint=pin.fingerprint,
        requirements=tuple(wanted),
        components=tuple(components),
    )


def _narrowed(lock: Lock, wanted: tuple[Requirement, ...]) -> Lock:
    """``lock`` for other requirements that it satisfies, without what nobody needs any more."""
    by_name = lock.by_name()
    needed: dict[ComponentName, LockedComponent] = {}
    queue = [requirement.component for requirement in wanted]
    while queue:
        name = queue.pop()
        if name not in needed:
            needed[name] = by_name[name]
            queue += [ComponentName.parse(other) for other in by_name[name].requires]
    return Lock(
        registry=lock.registry,
        fingerprint=lock.fingerprint,
        requirements=wanted,
        components=tuple(needed[name] for name in sorted(needed)),
    )

"""Installing: resolve → plan → fetch → verify → build → swap → record → lock → wheels.

Nothing becomes visible in the target before everything was verified, and each component then
appears in one rename. When the lock is satisfied and everything is cached, no request is made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Final

from signing.names import ComponentName, Requirement

from ..context import Context
from ..errors import ForgeError
from ..files import locked
from ..lockfile import Lock, LockedComponent, read_lock, write_lock
from ..output import clean
from ..plan import Build, Keep, Plan, plan_installation, require_room
from ..remote.wanted import Wanted
from ..transfer import WHOLE, Selection
from ..tree import Builder, looks_untouched
from .fetching import Fetched, fetch, measured_speed, olds, to_fetch, wanted_for
from .folders import remember_folder
from .installed import Record, Site, instant
from .locking import NO_OVERRIDES, settle_lock
from .permission import Overrides, open_gate, warn_overrides
from .proof import Proof, Prover
from .withheld import require_usable, warn_stale

_MOST_NAMED: Final = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an installation did. ``known_at`` is when the registry was last asked for what is there
    now, for the oldest of it (an instant as in files)."""

    lock: Lock
    plan: Plan
    known_at: str
    site: Site
    placed: dict[str, int]
    fetched: Fetched


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What an installation would move. ``speed`` in bytes a second, as measured last time from
    this registry; ``disk_bytes`` is what the cache grows by; ``known_at`` as in `Installed`."""

    plan: Plan
    known_at: str
    lock: Lock
    fetch_bytes: int
    reuse_bytes: int
    disk_bytes: int
    speed: float | None
    sources: tuple[str, ...]

    @property
    def seconds(self) -> float | None:
        return None if not self.speed else self.fetch_bytes / self.speed


def install(
    context: Context,
    requirements: Sequence[Requirement],
    into: Path,
    *,
    locked_only: bool = False,
    upgrade: bool = False,
    force: bool = False,
    selection: Selection = WHOLE,
    overrides: Overrides = NO_OVERRIDES,
) -> Installed:
    """Install ``requirements`` beside what ``into`` holds already, and write the lock.

    With a ``selection`` only those files of the components that are named, and the lock stays
    as it is: what it says is always whole.
    """
    site = Site(into)
    with locked(site.private / "lock"):
        lock = settle_lock(
            context,
            requirements,
            site,
            locked_only=locked_only,
            upgrade=upgrade,
            overrides=overrides,
        )
        selections = {wanted.component: selection for wanted in requirements}
        done = _apply(context, lock, site, force=force, selections=selections)
        if not selection:
            write_lock(site.lock_path, lock)
    return done


def plan(
    context: Context,
    requirements: Sequence[Requirement],
    into: Path,
    *,
    locked_only: bool = False,
    upgrade: bool = False,
    selection: Selection = WHOLE,
    overrides: Overrides = NO_OVERRIDES,
) -> Forecast:
    """What `install` would do, without fetching a file or writing anything in ``into``."""
    site = Site(into)
    lock = settle_lock(
        context,
        requirements,
        site,
        locked_only=locked_only,
        upgrade=upgrade,
        overrides=overrides,
    )
    selections = {wanted.component: selection for wanted in requirements}
    steps = _steps(context, Prover(context, lock), lock, site, selections)
    return _forecast(context, site, lock, steps)


def sync(context: Context, into: Path, *, force: bool = False) -> Installed:
    """Make ``into`` hold exactly what its forge.lock says."""
    site = Site(into)
    lock = read_lock(site.lock_path)
    if lock is None:
        raise ForgeError(
            "lock-missing",
            f"{site.lock_path}: no such file",
            hint="write one: forge lock 'org/name>=1,<2', or forge install",
        )
    with locked(site.private / "lock"):
        return _apply(context, lock, site, force=force)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Steps:
    plan: Plan
    known_at: str
    proofs: dict[ComponentName, Proof]


def _steps(
    context: Context,
    prover: Prover,
    lock: Lock,
    site: Site,
    selections: Mapping[ComponentName, Selection],
) -> _Steps:
    """What is to be done, with the proof of each release that is to be put in place."""
    keep: list[Keep] = []
    known: list[str] = []
    proofs: dict[ComponentName, Proof] = {}
    builds: list[Build] = []
    for component in lock.components:
        record = site.record(component.component)
        selection = selections.get(component.component, WHOLE)
        if record is not None and _in_place(site, component, record, selection):
            keep.append(Keep(locked=component))
            known.append(record.verified_at)
            continue
        proof = prover.prove(component)
        known.append(proof.verified_at)
        proofs[component.component] = proof
        _require_matches(selection, proof)
        builds.append(
            Build(
                locked=component,
                manifest=proof.manifest,
                replaces=_version_of(record),
                selection=selection,
            )
        )
    # Also what is in place already: it may have been withheld since it was installed.
    require_usable(context, prover.pin, lock.components)
    if context.offline:
        warn_stale(context, prover.pin)
    if (gate := open_gate(context, site.into)) is not None:
        gate.say_age(gate.require(prover, lock.components))
    # Part of a component is not the answer to what the folder shall hold: nothing goes then.
    partial = any(selections.values())
    gone = (
        set() if partial else {record.component for record in site.records()} - set(lock.by_name())
    )
    cached = {
        entry.sha256: context.cache.has(entry.sha256, entry.size)
        for build in builds
        for entry in build.files
    }
    plan = plan_installation(keep, builds, gone, cached)
    return _Steps(plan=plan, proofs=proofs, known_at=min(known, default=instant(context.now)))


def _require_matches(selection: Selection, proof: Proof) -> None:
    if unmatched := selection.unmatched(proof.manifest):
        patterns = ", ".join(f"'{each}'" for each in unmatched)
        paths = [entry.path for entry in proof.manifest.files]
        more = f" and {len(paths) - _MOST_NAMED} more" if len(paths) > _MOST_NAMED else ""
        raise ForgeError(
            "not-found",
            f"{proof.manifest}: no file matches --include {patterns}",
            hint=f"it has {', '.join(map(clean, paths[:_MOST_NAMED]))}{more}",
        )


def _apply(
    context: Context,
    lock: Lock,
    site: Site,
    *,
    force: bool,
    selections: Mapping[ComponentName, Selection] = MappingProxyType({}),
) -> Installed:
    builder = Builder(site.components)
    builder.sweep()
    prover = Prover(context, lock)
    with context.cache.lent(site.private / "cache"):
        steps = _steps(context, prover, lock, site, selections)
        plan = steps.plan
        for line in plan.lines():
            context.out.say(line)
        for build in plan.build:
            _require_ours(site, build, force=force)
        _require_space(context, site, plan)
        fetched = _fetch(context, site, prover, plan)
        for build in plan.build:
            prover.require_files(steps.proofs[build.locked.component], build.selection)
        _commit(context, site, builder, prover, steps)
    for name in plan.remove:
        site.forget(name)
        builder.remove(site.tree(name))
    warn_overrides(context, lock.components)
    remember_folder(context, site.into)
    return Installed(
        lock=lock,
        plan=plan,
        known_at=steps.known_at,
        site=site,
        placed=dict(builder.how),
        fetched=fetched,
    )


def _in_place(site: Site, component: LockedComponent, record: Record, selection: Selection) -> bool:
    if record.manifest_sha256 != component.manifest_sha256 or record.selection != selection:
        return False
    tree = site.tree(component.component)
    try:
        expected = {entry.path: entry.size for entry in selection.files(record.manifest())}
        return looks_untouched(tree, expected)
    except Exception:  # whatever is wrong with it, building it anew puts it right
        return False


def _version_of(record: Record | None) -> str | None:
    if record is None:
        return None
    with suppress(Exception):
        return str(record.manifest().version)
    return None


def _require_ours(site: Site, build: Build, *, force: bool) -> None:
    """Refuse to replace a folder that somebody else made.

    A crash between the swap and the record leaves our own tree without its record: that one is
    recognised by its content.
    """
    tree = site.tree(build.locked.component)
    if force or not os.path.lexists(tree) or site.record(build.locked.component) is not None:
        return
    expected = {entry.path: entry.size for entry in build.files}
    is_folder = tree.is_dir() and not tree.is_symlink()
    if is_folder and (looks_untouched(tree, expected) or not any(tree.iterdir())):
        return
    raise ForgeError(
        "tree-not-ours",
        f"{tree}: holds files that forge did not put there",
        hint="move it away, or let it be replaced with --force",
    )


def _require_space(context: Context, site: Site, plan: Plan) -> None:
    if not plan.build:
        return
    context.cache.require_writable()
    for needed, place in _room(context, site, plan):
        require_room(needed, shutil.disk_usage(place).free, str(place))


def _room(context: Context, site: Site, plan: Plan) -> list[tuple[int, Path]]:
    """``(bytes, place)`` of what an installation will take, at most."""
    if not plan.build:
        return []
    # What an interrupted run left takes its room already.
    room = [(plan.fetch_bytes - _begun(context, plan), context.cache.work_dir)]
    site.components.mkdir(parents=True, exist_ok=True)
    if os.stat(site.components).st_dev != os.stat(context.cache.work_dir).st_dev:
        total = sum(entry.size for build in plan.build for entry in build.files)
        room.append((total, site.components))
    return room


def _begun(context: Context, plan: Plan) -> int:
    """What an interrupted run left of it on the disk."""
    return sum(
        context.cache.begun_bytes(entry.sha256, entry.size) for _, entry in plan.fetch.values()
    )


def _wanted(context: Context, site: Site, plan: Plan) -> list[Wanted]:
    """What is to be fetched, and which files on this disk can help."""
    here = {name: olds(context, site, name) for name in {name for name, _ in plan.fetch.values()}}
    return [
        wanted_for(entry, f"{name}/{entry.path}", here[name]) for name, entry in plan.fetch.values()
    ]


def _fetch(context: Context, site: Site, prover: Prover, plan: Plan) -> Fetched:
    return fetch(context, prover.pin.url, _wanted(context, site, plan))


def _commit(context: Context, site: Site, builder: Builder, prover: Prover, steps: _Steps) -> None:
    # All trees are complete before the first one is swapped in: running out of space while
    # copying leaves everything as it was.
    builds = steps.plan.build
    staged = [
        builder.build(
            {entry.path: (context.cache.path(entry.sha256), entry.size) for entry in build.files}
        )
        for build in builds
    ]
    for build, stage in zip(builds, staged, strict=True):
        name = build.locked.component
        builder.swap(stage, site.tree(name))
        site.write_record(
            Record(
                component=name,
                manifest_sha256=build.manifest.digest,
                registry=prover.pin.url,
                fingerprint=prover.pin.fingerprint,
                installed_at=instant(context.now),
                verified_at=steps.proofs[name].verified_at,
                evidence=steps.proofs[name].evidence,
                selection=build.selection,
            )
        )


def _forecast(context: Context, site: Site, lock: Lock, steps: _Steps) -> Forecast:
    url = context.pin.url
    wanted = _wanted(context, site, steps.plan)
    needed = to_fetch(context, url, wanted)
    return Forecast(
        plan=steps.plan,
        known_at=steps.known_at,
        lock=lock,
        fetch_bytes=needed,
        reuse_bytes=steps.plan.reuse_bytes + steps.plan.fetch_bytes - needed,
        disk_bytes=steps.plan.fetch_bytes - _begun(context, steps.plan),
        speed=measured_speed(context, url),
        sources=() if context.offline else tuple(context.sources(url)),
    )

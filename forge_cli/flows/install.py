"""Installing: resolve → plan → fetch → verify → build → swap → record → lock → wheels.

Nothing becomes visible in the target before everything was verified, and each component then
appears in one rename. When the lock is satisfied and everything is cached, no request is made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from signing.errors import WithheldError
from signing.names import ComponentName, Requirement

from ..context import Context
from ..errors import ForgeError
from ..files import locked
from ..lockfile import Lock, LockedComponent, read_lock, requirement_text, write_lock
from ..output import clean, count_text, size_text
from ..plan import Build, Keep, Plan, plan_installation, require_room
from ..tree import Builder, looks_untouched
from .installed import Record, Site, instant
from .proof import Proof, Prover
from .withheld import require_usable


@dataclass(frozen=True, slots=True, kw_only=True)
class Installed:
    """What an installation did."""

    lock: Lock
    plan: Plan
    site: Site
    placed: dict[str, int]


def install(
    context: Context,
    requirements: Sequence[Requirement],
    into: Path,
    *,
    locked_only: bool = False,
    upgrade: bool = False,
    force: bool = False,
) -> Installed:
    """Install ``requirements`` beside what ``into`` holds already, and write the lock."""
    site = Site(into)
    with locked(site.private / "lock"):
        lock = settle_lock(context, requirements, site, locked_only=locked_only, upgrade=upgrade)
        done = _apply(context, lock, site, force=force)
        write_lock(site.lock_path, lock)
    return done


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


def settle_lock(
    context: Context,
    requirements: Sequence[Requirement],
    site: Site,
    *,
    locked_only: bool,
    upgrade: bool,
) -> Lock:
    """The lock to install: the one that is there if it will do, else a newly resolved one."""
    old = read_lock(site.lock_path)
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
        return kept
    if locked_only:
        raise ForgeError(
            "lock-missing" if old is None else "unsatisfiable",
            f"{site.lock_path}: {'no such file' if old is None else 'does not satisfy'} "
            + ", ".join(map(requirement_text, requirements)),
            hint="leave --locked out to resolve anew",
        )
    return resolve_lock(context, wanted, None if upgrade else old)


def merge(old: Sequence[Requirement], new: Sequence[Requirement]) -> tuple[Requirement, ...]:
    """``old`` with each component that ``new`` names asked for as ``new`` says."""
    named = {requirement.component for requirement in new}
    kept = [requirement for requirement in old if requirement.component not in named]
    return tuple(sorted([*kept, *new], key=requirement_text))


def resolve_lock(context: Context, wanted: Sequence[Requirement], old: Lock | None) -> Lock:
    """Choose versions from the registry's signed indexes."""
    from ..resolve import Release, resolve

    pin, view = context.pin, context.view
    if old is not None and old.fingerprint != pin.fingerprint:
        raise ForgeError(
            "conflict",
            f"forge.lock belongs to {old.registry}, not to {pin.url}\n"
            f"expected {old.fingerprint}\nfound    {pin.fingerprint}",
            hint="use that registry (--registry), or another folder (--into)",
        )

    def lookup(name: ComponentName) -> list[Release] | None:
        state = view.component(name)
        if state is None or state.delegation is None:
            return None
        return [
            Release(
                component=name,
                version=entry.version,
                requires=entry.requires,
                yanked=entry.yanked,
                withheld=view.withheld(entry),
            )
            for entry in state.releases.values()
        ]

    preferred = {c.component: c.version for c in old.components} if old is not None else {}
    try:
        chosen = resolve(wanted, lookup, preferred)
    except ForgeError as error:
        unknown = (r.component for r in wanted if lookup(r.component) is None)
        error.hint = next(filter(None, map(view.near, unknown)), error.hint)
        raise
    components = []
    for name, release in chosen.items():
        entry = view.require(name).releases[str(release.version)]
        if entry.yanked is not None:
            context.out.warn(f"{release} was yanked by its publisher: {clean(entry.yanked)}")
        components.append(
            LockedComponent(
                component=name,
                version=entry.version,
                kind=entry.kind,
                manifest_sha256=entry.manifest_sha256,
                requires=dict(entry.requires),
            )
        )
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


def _apply(context: Context, lock: Lock, site: Site, *, force: bool) -> Installed:
    builder = Builder(site.components)
    builder.sweep()
    prover = Prover(context, lock)
    keep: list[Keep] = []
    proofs: dict[ComponentName, Proof] = {}
    builds: list[Build] = []
    for component in lock.components:
        record = site.record(component.component)
        if record is not None and _in_place(site, component, record):
            keep.append(Keep(locked=component))
            continue
        proof = prover.prove(component)
        proofs[component.component] = proof
        builds.append(
            Build(locked=component, manifest=proof.manifest, replaces=_version_of(record))
        )
    # Also what is in place already: it may have been withheld since it was installed.
    require_usable(context, prover.pin, lock.components)
    gone = {record.component for record in site.records()} - set(lock.by_name())
    cached = {
        entry.sha256: context.cache.has(entry.sha256, entry.size)
        for build in builds
        for entry in build.manifest.files
    }
    plan = plan_installation(keep, builds, map(str, gone), cached)
    for line in plan.lines():
        context.out.say(line)
    for build in builds:
        _require_ours(site, build, force=force)
    _require_space(context, site, plan)
    _fetch(context, prover, plan)
    for build in builds:
        prover.require_files(proofs[build.locked.component])
    _commit(context, site, builder, prover, builds, proofs)
    for name in gone:
        site.forget(name)
        builder.remove(site.tree(name))
    return Installed(lock=lock, plan=plan, site=site, placed=dict(builder.how))


def _in_place(site: Site, component: LockedComponent, record: Record) -> bool:
    if record.manifest_sha256 != component.manifest_sha256:
        return False
    tree = site.tree(component.component)
    try:
        expected = {entry.path: entry.size for entry in record.manifest().files}
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
    expected = {entry.path: entry.size for entry in build.manifest.files}
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
    require_room(
        plan.fetch_bytes, shutil.disk_usage(context.cache.root).free, str(context.cache.root)
    )
    site.components.mkdir(parents=True, exist_ok=True)
    if os.stat(site.components).st_dev != os.stat(context.cache.root).st_dev:
        total = sum(build.manifest.total_size for build in plan.build)
        require_room(total, shutil.disk_usage(site.components).free, str(site.components))


def _fetch(context: Context, prover: Prover, plan: Plan) -> None:
    if not plan.fetch:
        return
    from ..remote.blobs import Downloader, Wanted

    wanted = [
        Wanted(digest=digest, size=size, label=label)
        for digest, (size, label) in plan.fetch.items()
    ]
    context.out.say(f"fetching {count_text(len(wanted), 'file')}, {size_text(plan.fetch_bytes)}")
    with context.out.progress("fetching", plan.fetch_bytes) as bar:
        Downloader(
            http=context.http,
            url=prover.pin.url,
            cache=context.cache,
            parallel=context.config.parallel,
            progress=bar,
        ).fetch(wanted)


def _commit(
    context: Context,
    site: Site,
    builder: Builder,
    prover: Prover,
    builds: Sequence[Build],
    proofs: dict[ComponentName, Proof],
) -> None:
    # All trees are complete before the first one is swapped in: running out of space while
    # copying leaves everything as it was.
    staged = [
        builder.build(
            {
                entry.path: (context.cache.path(entry.sha256), entry.size)
                for entry in build.manifest.files
            }
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
                verified_at=proofs[name].verified_at,
                evidence=proofs[name].evidence,
            )
        )

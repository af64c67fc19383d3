"""What an installation will do, before it does anything: pure, and shown to the person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from signing.manifest import FileEntry, Manifest
from signing.names import ComponentName

from .errors import ForgeError
from .lockfile import LockedComponent
from .output import count_text, size_text
from .transfer import WHOLE, Selection


@dataclass(frozen=True, slots=True, kw_only=True)
class Keep:
    """Installed already, and untouched."""

    locked: LockedComponent


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """To be put in place: ``replaces`` is the version that is there now."""

    locked: LockedComponent
    manifest: Manifest
    replaces: str | None = None
    selection: Selection = WHOLE

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """The files that are put in place."""
        return self.selection.files(self.manifest)


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything an installation needs. ``fetch`` is ``{digest: (component, file)}``."""

    keep: tuple[Keep, ...]
    build: tuple[Build, ...]
    remove: tuple[ComponentName, ...]
    fetch: Mapping[str, tuple[ComponentName, FileEntry]]
    reuse_bytes: int

    @property
    def fetch_bytes(self) -> int:
        return sum(entry.size for _, entry in self.fetch.values())

    @property
    def idle(self) -> bool:
        return not self.build and not self.remove

    def lines(self) -> list[str]:
        """The plan for people, one line each."""
        lines = []
        for step in self.build:
            was = f" (was {step.replaces})" if step.replaces else ""
            if step.replaces == str(step.locked.version):
                was = (
                    " (in part)"
                    if step.selection
                    else " put right: files were changed, missing or extra"
                )
            lines.append(
                f"{step.locked.component} {step.locked.version}{was}  "
                f"{count_text(len(step.files), 'file')}, "
                f"{size_text(sum(entry.size for entry in step.files))}"
                + (f", of {len(step.manifest.files)}" if step.selection else "")
            )
        lines += [f"{name}  to be removed" for name in self.remove]
        if self.build:
            lines.append(
                f"to fetch {size_text(self.fetch_bytes)}, from the cache "
                f"{size_text(self.reuse_bytes)}"
            )
        return lines


def plan_installation(
    keep: Iterable[Keep],
    build: Iterable[Build],
    remove: Iterable[ComponentName],
    cached: Mapping[str, bool],
) -> Plan:
    """The plan, given which digests the cache holds."""
    build = tuple(build)
    fetch: dict[str, tuple[ComponentName, FileEntry]] = {}
    reuse: dict[str, int] = {}
    for step in build:
        for entry in step.files:
            if cached.get(entry.sha256):
                reuse[entry.sha256] = entry.size
            else:
                fetch.setdefault(entry.sha256, (step.locked.component, entry))
    return Plan(
        keep=tuple(keep),
        build=build,
        remove=tuple(sorted(remove)),
        fetch=fetch,
        reuse_bytes=sum(reuse.values()),
    )


def require_room(needed: int, free: int, where: str) -> None:
    """Raises ForgeError ``disk-full`` before anything is fetched that cannot be kept."""
    if needed > free:
        raise ForgeError(
            "disk-full",
            f"{where}: expected room for {size_text(needed)}, found {size_text(free)}",
            hint="free some space (`forge cache prune`), then run the same command again",
        )

"""What an installation will do, before it does anything: pure, and shown to the person."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from signing.manifest import Manifest

from .errors import ForgeError
from .lockfile import LockedComponent
from .output import count_text, size_text


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """Everything an installation needs. ``fetch`` is ``{digest: (size in bytes, label)}``."""

    keep: tuple[Keep, ...]
    build: tuple[Build, ...]
    remove: tuple[str, ...]
    fetch: Mapping[str, tuple[int, str]]
    reuse_bytes: int

    @property
    def fetch_bytes(self) -> int:
        return sum(size for size, _ in self.fetch.values())

    @property
    def idle(self) -> bool:
        return not self.build and not self.remove

    def lines(self) -> list[str]:
        """The plan for people, one line each."""
        lines = []
        for step in self.build:
            was = f" (was {step.replaces})" if step.replaces else ""
            if step.replaces == str(step.locked.version):
                was = " put right: files were changed, missing or extra"
            lines.append(
                f"{step.locked.component} {step.locked.version}{was}  "
                f"{count_text(len(step.manifest.files), 'file')}, "
                f"{size_text(step.manifest.total_size)}"
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
    remove: Iterable[str],
    cached: Mapping[str, bool],
) -> Plan:
    """The plan, given which digests the cache holds."""
    build = tuple(build)
    fetch: dict[str, tuple[int, str]] = {}
    reuse: dict[str, int] = {}
    for step in build:
        for entry in step.manifest.files:
            if cached.get(entry.sha256):
                reuse[entry.sha256] = entry.size
            else:
                fetch.setdefault(
                    entry.sha256, (entry.size, f"{step.locked.component}/{entry.path}")
                )
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

"""Comparing two releases for a reviewer: which two, verified, and what became of the first.

Signatures come before contents: what is compared is what was signed. Releases that the status host
withholds are compared as well, because somebody has to look at them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from packaging.version import InvalidVersion, Version

from signing.assessment import COMMUNITY, LEVELS
from signing.names import ComponentName
from signing.roles import IndexEntry

from ..compare.released import ReleasedBytes
from ..compare.report import Comparison, compare
from ..compare.sides import Side
from ..context import Context
from ..errors import ForgeError, UsageError
from .choosing import verified_manifest

_MAX_ASSESSED: Final = 50  # versions of which reviewers are asked about


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """``baseline`` says why the old one was chosen, where nobody named it. ``in_parts`` are files
    of which only ranges were read; ``received`` bytes came over the network."""

    comparison: Comparison
    old: str
    new: str
    baseline: str | None
    in_parts: tuple[str, ...]
    received: int

    @property
    def document(self) -> dict[str, Any]:
        return self.comparison.document


@dataclass(frozen=True, slots=True)
class _Named:
    """A side with the words for it."""

    side: Side
    label: str


def compare_named(
    context: Context, target: str, names: Sequence[str], *, measured: bool = True
) -> Compared:
    """Compare what a command line names: ``ORG/NAME [OLD] NEW``, ``ORG/NAME==NEW``, or two folders.
    OLD and NEW are versions, or folders on this machine.

    Raises:
        UsageError: it names something else.
        ForgeError: ``not-found``.
        VerificationError: a release does not hold.
    """
    if len(names) == 1 and Path(target).is_dir() and not _is_version(names[0]):
        return _compared(_folder(target), _folder(names[0]), None, measured)
    name, _, version = target.partition("==")
    wanted = [*names, version] if version else list(names)
    if not 1 <= len(wanted) <= 2:
        raise UsageError(
            "expected ORG/NAME [OLD] NEW, or two folders",
            hint="forge review diff ORG/NAME 1.1.0   compares it with the version before",
        )
    component = ComponentName.parse(name.strip())
    new = _side(context, component, wanted[-1])
    if len(wanted) == 2:
        return _compared(_side(context, component, wanted[0]), new, None, measured)
    old, why = _baseline(context, component, new)
    return _compared(old, new, why, measured)


def compare_releases(
    context: Context, name: ComponentName, old: IndexEntry | None, new: IndexEntry
) -> Compared:
    """Compare two releases of the registry; without ``old`` all of ``new`` is new."""
    before = _Named(Side.nothing(), "nothing") if old is None else _release(context, name, old)
    return _compared(before, _release(context, name, new), None, measured=True)


def _compared(old: _Named, new: _Named, baseline: str | None, measured: bool) -> Compared:
    comparison = compare(old.side, new.side, measured=measured)
    sources = [each.side.bytes for each in (old, new) if isinstance(each.side.bytes, ReleasedBytes)]
    parts = {path for source in sources for path in source.in_parts}
    return Compared(
        comparison=comparison,
        old=old.label,
        new=new.label,
        baseline=baseline,
        in_parts=tuple(sorted(parts)),
        received=sum(source.received for source in sources),
    )


def _side(context: Context, name: ComponentName, text: str) -> _Named:
    if not _is_version(text):
        return _folder(text)
    releases = context.view.require(name).releases
    entry = next((each for each in releases.values() if each.version == Version(text)), None)
    if entry is None:
        raise ForgeError(
            "not-found",
            f"{name}=={text}: no such version",
            hint="there are: " + ", ".join(reversed(releases)),
        )
    return _release(context, name, entry)


def _baseline(context: Context, name: ComponentName, new: _Named) -> tuple[_Named, str]:
    """What ``new`` is compared with where nobody said: the last version before it that reviewers
    approved, or passed, and else the version before it."""
    releases = context.view.require(name).releases.values()
    version = None if new.side.version is None else Version(new.side.version)
    before = [
        entry
        for entry in releases
        if entry.manifest_sha256 != new.side.manifest_sha256
        and (version is None or entry.version < version)
    ]
    usable = [entry for entry in before if entry.yanked is None]
    if not before:
        return _Named(Side.nothing(), "nothing"), "there is no version before it"
    ordered = sorted(usable or before, key=lambda entry: entry.version, reverse=True)
    for entry, level in _levels(context, name, ordered[:_MAX_ASSESSED]):
        if level != COMMUNITY:
            return _release(context, name, entry), f"the last version before it that is {level}"
    return _release(context, name, ordered[0]), "the version before it"


def _levels(
    context: Context, name: ComponentName, entries: Sequence[IndexEntry]
) -> list[tuple[IndexEntry, str]]:
    """Those of ``entries`` with what reviewers decided about them, the highest level first and the
    newest of each. Nothing is asked where the authority names no reviewers."""
    reviews = context.view.reviewers
    if not reviews.bodies():
        return []
    levels = [(entry, reviews.assess(name, entry).level) for entry in entries]
    return sorted(levels, key=lambda pair: -LEVELS.index(pair[1]))


def _release(context: Context, name: ComponentName, entry: IndexEntry) -> _Named:
    manifest = verified_manifest(context, name, entry)
    source = ReleasedBytes(context, context.view.url)
    return _Named(Side.of_release(manifest, source), f"{name} {entry.version}")


def _folder(text: str) -> _Named:
    return _Named(Side.of_folder(Path(text)), text)


def _is_version(text: str) -> bool:
    try:
        Version(text)
    except InvalidVersion:
        return False
    return True

"""How a person wants bytes moved, and which files of a component: options without behaviour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from signing.manifest import FileEntry, Manifest

    from .remote.pace import Pace, Window


@dataclass(frozen=True, slots=True, kw_only=True)
class Transfer:
    """``--max-rate`` in bytes a second, ``--window``, and the ``--mirror`` URLs."""

    max_rate: int | None = None
    window: Window | None = None
    mirrors: tuple[str, ...] = ()

    def pace(self) -> Pace:
        from .remote.pace import Pace

        return Pace(self.max_rate, self.window)


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """``--include`` and ``--exclude``: patterns over whole paths, in which ``*`` also matches
    slashes. A file is taken when it matches one to include (all, where there is none) and none
    to exclude. forge.toml always is: without it nothing can be verified."""

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.include or self.exclude)

    def takes(self, path: str) -> bool:
        if path == "forge.toml":
            return True
        wanted = not self.include or any(fnmatchcase(path, each) for each in self.include)
        return wanted and not any(fnmatchcase(path, each) for each in self.exclude)

    def files(self, manifest: Manifest) -> tuple[FileEntry, ...]:
        return tuple(entry for entry in manifest.files if self.takes(entry.path))

    def unmatched(self, manifest: Manifest) -> tuple[str, ...]:
        """Patterns to include that match no file: mistyped, or of another release."""
        return tuple(
            each
            for each in self.include
            if not any(fnmatchcase(entry.path, each) for entry in manifest.files)
        )

    def paths(self, manifest: Manifest) -> frozenset[str] | None:
        """The paths that are taken; None when all are."""
        return frozenset(entry.path for entry in self.files(manifest)) if self else None

    def __str__(self) -> str:
        texts = [f"--include '{each}'" for each in self.include]
        return " ".join(texts + [f"--exclude '{each}'" for each in self.exclude])

    def to_json(self) -> dict[str, list[str]] | None:
        if not self:
            return None
        return {"include": list(self.include), "exclude": list(self.exclude)}

    @classmethod
    def from_json(cls, value: Any) -> Selection:
        """Raises TypeError or KeyError when it is not what `to_json` writes."""
        if value is None:
            return WHOLE
        lists = [_texts(value[name]) for name in ("include", "exclude")]
        return cls(include=lists[0], exclude=lists[1])


def _texts(value: Iterable[Any]) -> tuple[str, ...]:
    texts = tuple(value)
    if not all(isinstance(text, str) for text in texts):
        raise TypeError
    return texts


WHOLE: Final = Selection()

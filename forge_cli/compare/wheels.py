"""Wheels by what is in them: files, imports, entry points, requirements. Nothing is unpacked.

A ZIP archive says many things twice, and readers believe different ones. Python's own reader is
the one that pip uses; it is handed nothing but archives whose directory is small, and told to stop
at the sizes that were promised.
"""

from __future__ import annotations

import hashlib
import io
import struct
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from packaging.utils import InvalidWheelFilename, parse_wheel_filename

from signing.manifest import FileEntry

from . import python, requirements
from .document import ATTENTION, DANGER, Found, RefusedError, Remark, refused, short
from .files import nature
from .models import not_compared
from .structured import change_text

MAX_BYTES: Final = 256 << 20
MAX_DIRECTORY_BYTES: Final = 8 << 20
MAX_UNPACKED_BYTES: Final = 1 << 30
_MAX_MEMBERS: Final = 50_000
_MAX_SHOWN: Final = 200
_END: Final = b"PK\x05\x06"
_BLOCK: Final = 1 << 20


def is_wheel(path: str) -> bool:
    return path.lower().endswith(".whl")


def pairs_of(
    pairs: Sequence[tuple[FileEntry | None, FileEntry | None]],
) -> list[tuple[FileEntry | None, FileEntry | None]]:
    """The wheels among ``pairs``; one that went and one that came with the same project and tags
    are two versions of one wheel."""
    wheels = [pair for pair in pairs if is_wheel((pair[1] or pair[0]).path)]  # type: ignore[union-attr]
    found = [pair for pair in wheels if None not in pair]
    gone = {_key(old): old for old, new in wheels if old is not None and new is None}
    for old, new in wheels:
        if old is None and new is not None:
            found.append((gone.pop(_key(new), None), new))
    found += [(old, None) for old in gone.values()]
    return sorted(found, key=lambda pair: (pair[1] or pair[0]).path)  # type: ignore[union-attr]


def _key(entry: FileEntry) -> str:
    name = entry.path.rpartition("/")[2]
    try:
        project, _, build, tags = parse_wheel_filename(name)
    except InvalidWheelFilename:
        return entry.path
    return f"{project} {build} {sorted(map(str, tags))}"


@dataclass(slots=True)
class Wheel:
    """The members of a wheel by name, without the version in the names of its own folders.
    ``digests`` are of their contents."""

    archive: zipfile.ZipFile | None = None
    names: dict[str, zipfile.ZipInfo] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)

    def read(self, name: str, limit: int) -> bytes:
        if name not in self.names or self.archive is None:
            return b""
        if self.names[name].file_size > limit:
            raise refused(f"at most {limit} bytes", self.names[name].file_size)
        with _sound(), self.archive.open(self.names[name]) as file:
            return file.read(limit)

    def head(self, name: str) -> bytes:
        assert self.archive is not None
        with _sound(), self.archive.open(self.names[name]) as file:
            return file.read(64)

    def named(self, suffix: str) -> str | None:
        """The member of the metadata folder with that name."""
        return next((name for name in self.names if name.endswith(f".dist-info/{suffix}")), None)


class _sound:  # a context manager, named like `border.sound`
    """What Python's reader raises about hostile archives, as our refusal."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(
            error,
            zipfile.BadZipFile | zlib.error | NotImplementedError | RuntimeError | ValueError
            | EOFError | OSError | struct.error | UnicodeError,
        ) and not isinstance(error, RefusedError):  # fmt: skip
            raise refused("a wheel", short(f"{type(error).__name__}: {error}")) from None


def open_wheel(data: bytes | None) -> Wheel:
    """What is in a wheel; an empty one where there is none.

    Raises:
        RefusedError: it is no archive, or one beyond the limits.
    """
    if data is None:
        return Wheel()
    _require_small(data)
    with _sound():
        archive = zipfile.ZipFile(io.BytesIO(data))
    members = [each for each in archive.infolist() if not each.is_dir()]
    if len(members) > _MAX_MEMBERS or sum(each.file_size for each in members) > MAX_UNPACKED_BYTES:
        raise refused(
            f"at most {_MAX_MEMBERS} files and {MAX_UNPACKED_BYTES} bytes in a wheel", "more"
        )
    wheel = Wheel(archive)
    for each in members:
        name = _plain(each.filename)
        if name in wheel.names:
            raise refused("every member once", short(each.filename))
        wheel.names[name] = each
        with _sound(), archive.open(each) as file:
            wheel.digests[name] = _digest(file)
    return wheel


def _digest(file: Any) -> str:
    hasher = hashlib.sha256()
    while block := file.read(_BLOCK):
        hasher.update(block)
    return hasher.hexdigest()


def _require_small(data: bytes) -> None:
    """Python reads the whole directory of an archive, whatever its size."""
    at = data.rfind(_END, max(0, len(data) - 65_557))
    if at < 0 or len(data) - at < 22:
        raise refused("a wheel", "something that is no ZIP archive")
    if len(data) - at - 22 != int.from_bytes(data[at + 20 : at + 22], "little"):
        raise refused("a wheel", "bytes behind its end")
    size, start = struct.unpack("<II", data[at + 12 : at + 20])
    # Whatever lies between directory and end would be read as a part of it: ZIP64, a second one.
    if size > MAX_DIRECTORY_BYTES or start + size != at:
        raise refused(f"a directory of at most {MAX_DIRECTORY_BYTES} bytes at the end", size)


def _plain(name: str) -> str:
    """``name`` without the version: a wheel's own folders carry it."""
    first, slash, rest = name.partition("/")
    for suffix in (".dist-info", ".data"):
        if slash and first.endswith(suffix) and "-" in first:
            return f"{first.partition('-')[0]}{suffix}/{rest}"
    return name


def compare(old: tuple[str, bytes] | None, new: tuple[str, bytes] | None) -> Iterator[Found]:
    """What differs between two wheels, each a path and its bytes.

    Raises:
        RefusedError: one of the two is no wheel.
    """
    before = open_wheel(None if old is None else old[1])
    after = open_wheel(None if new is None else new[1])
    path = (new or old or ("", b""))[0]
    added = sorted(after.digests.keys() - before.digests.keys())
    removed = sorted(before.digests.keys() - after.digests.keys())
    changed = sorted(
        name
        for name in before.digests.keys() & after.digests.keys()
        if before.digests[name] != after.digests[name]
    )
    value: dict[str, Any] = {"part": "wheels", "path": path}
    if old is not None and old[0] != path:
        value["old_path"] = old[0]
    for label, names in (("added", added), ("removed", removed), ("changed", changed)):
        if names:
            value[label] = {"count": len(names), "first": [short(n) for n in names[:_MAX_SHOWN]]}
    entry_points, remarks = _entry_points(path, before, after)
    if entry_points:
        value["entry_points"] = entry_points
    yield Found(members=[value], remarks=[*remarks, *_natures(path, before, after, added, changed)])
    yield from _parts(path, before, after, [*added, *removed, *changed])


def _parts(path: str, before: Wheel, after: Wheel, names: Sequence[str]) -> Iterator[Found]:
    """Sources and metadata, as if they lay in a folder."""
    meta = (before.named("METADATA"), after.named("METADATA"))
    one, other = (
        {} if name is None else requirements.of_metadata(wheel.read(name, requirements.MAX_BYTES))
        for wheel, name in zip((before, after), meta, strict=True)
    )
    found = requirements.compare(path, one.get("requires-dist", []), other.get("requires-dist", []))
    yield Found(
        members=[{"part": "requirements", **each} for each in found.members], remarks=found.remarks
    )
    for name in sorted(filter(python.is_source, names)):
        inside = f"{path}!/{name}"
        try:
            source = python.compare(
                inside,
                before.read(name, python.MAX_BYTES) if name in before.names else None,
                after.read(name, python.MAX_BYTES) if name in after.names else None,
            )
        except RefusedError as error:
            yield Found(remarks=[not_compared(inside, error)])
            continue
        members = [{"part": "python", **each} for each in source.members]
        yield Found(members=members, remarks=source.remarks)


def _natures(
    path: str, before: Wheel, after: Wheel, added: Sequence[str], changed: Sequence[str]
) -> list[Remark]:
    """Code in a wheel that is no Python source, and data that run code on loading."""
    remarks = []
    for name in [*added, *changed]:
        if python.is_source(name):
            continue
        found = nature(name, after.head(name))
        if found is not None:
            how = "new" if name in added else "changed"
            code = f"{'code' if found.code else 'executing-format'}-{how}"
            remarks.append(
                Remark(level=DANGER, code=code, text=f"{how}: {found.what}", path=f"{path}!/{name}")
            )
    return remarks


def _entry_points(
    path: str, before: Wheel, after: Wheel
) -> tuple[list[dict[str, Any]], list[Remark]]:
    """Commands and plug-ins that a wheel adds to the environment."""
    one, other = _points(before), _points(after)
    value = [
        {"key": key, "old": one.get(key), "new": other.get(key)}
        for key in sorted(one.keys() | other.keys())
        if one.get(key) != other.get(key)
    ]
    remarks = [
        Remark(
            level=ATTENTION,
            code="entry-point",
            text=f"entry point {each['key']}: {change_text(each['old'], each['new'])}",
            path=path,
        )
        for each in value
        if each["new"] is not None
    ]
    return value, remarks


def _points(wheel: Wheel) -> Mapping[str, str]:
    """``{"group name": "module:object"}`` of entry_points.txt."""
    name = wheel.named("entry_points.txt")
    if name is None:
        return {}
    group, found = "", {}
    for line in wheel.read(name, 1 << 18).decode("utf-8", "backslashreplace").split("\n"):
        text = line.strip()
        if text.startswith("[") and text.endswith("]"):
            group = text[1:-1].strip()
        elif "=" in text and not text.startswith(("#", ";")):
            key, _, target = text.partition("=")
            found[short(f"{group} {key.strip()}")] = short(target.strip())
    return found

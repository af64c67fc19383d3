"""Archives whose members would leave the folder they are unpacked into, or that two programs read
differently: zip, wheels and tar. Nothing is unpacked but to be counted."""

from __future__ import annotations

import itertools
import re
import stat
import tarfile
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterator
from typing import BinaryIO, Final

from signing.zips import Directory, Member, directories, entries, local_members

from .base import CLEAN, FINDINGS, HIGH, MEDIUM, NOT_SCANNED, Answer, FoundItem, Target, limited
from .slim import reading

_MAX_MEMBERS: Final = 100_000
_MAX_RATIO: Final = 200
_MAX_TOTAL: Final = 2**38
_SMALL: Final = 2**20  # whose ratio hurts nobody
_NAMES: Final = (".zip", ".whl", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".jar", ".egg")
_INNER: Final = (*_NAMES, ".gz", ".7z", ".rar")
_DRIVE: Final = re.compile(r"[A-Za-z]:")


class Archives:
    name = "archives"
    version = "1"
    header_only = False

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        return (
            path.lower().endswith(_NAMES)
            or head.startswith((b"PK\x03\x04", b"PK\x05\x06"))
            or b"PK\x05\x06" in tail
            or head[257:262] == b"ustar"
        )

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        read_at = reading(file)
        found = directories(read_at, target.file.size)
        if found or read_at(0, 4) == b"PK\x03\x04":
            items = list(_zip(file, target.file.size, found))
        else:
            try:
                items = list(_tar(file))
            except (tarfile.TarError, EOFError, OSError, ValueError, zlib.error) as error:
                return Answer(state=NOT_SCANNED, detail=f"not read: {type(error).__name__}")
        path = target.file.path
        unique = {(rule, place): (grade, title) for rule, grade, title, place in items}
        listed = [
            FoundItem(rule=rule, severity=grade, title=limited(title), path=path,
                      location=limited(place))
            for (rule, place), (grade, title) in list(unique.items())[:100]
        ]  # fmt: skip
        return Answer(state=FINDINGS if listed else CLEAN, items=listed)


Odd = tuple[str, str, str, str]
"""(rule, severity, title, where)."""


def _names(names: list[str]) -> Iterator[Odd]:
    for name in names:
        parts = re.split(r"[/\\]", name)
        if ".." in parts or name.startswith(("/", "\\")) or _DRIVE.match(name):
            yield "traversal", HIGH, f"a member that leaves its folder: {name!r:.200}", name
        elif any(ord(c) < 32 for c in name) or "\\" in name:
            yield "name", MEDIUM, f"a member with a strange name: {name!r:.200}", name
    plain = Counter(unicodedata.normalize("NFC", name).casefold().rstrip("/") for name in names)
    for name, count in plain.items():
        if count > 1:
            yield "duplicate", HIGH, f"{count} members of the same name: {name!r:.200}", name
    for name in names:
        if name.lower().endswith(_INNER):
            yield (
                "nested",
                MEDIUM,
                f"an archive in the archive, not looked into: {name!r:.200}",
                name,
            )


def _zip(file: BinaryIO, size: int, found: list[Directory]) -> Iterator[Odd]:
    read_at = reading(file)
    if not found:
        yield "no-directory", HIGH, "a zip archive without a directory", ""
        yield from _names([each.name for each in local_members(read_at, size)])
        return
    directory = found[0]
    if len(found) > 1:
        yield "end-records", HIGH, f"{len(found)} end records: which one counts is not certain", ""
    if directory.end != size:
        yield "trailing", MEDIUM, f"{size - directory.end} bytes behind the archive", ""
    if directory.shift:
        yield "leading", MEDIUM, f"{directory.shift} bytes before the archive", ""
    listed: list[Member] = []
    for member in entries(read_at, directory):
        listed.append(member)
        if len(listed) > _MAX_MEMBERS:
            yield "bomb", HIGH, f"more than {_MAX_MEMBERS} members", ""
            break
        yield from _member(member, read_at(member.header, 30), read_at)
    if len(listed) <= _MAX_MEMBERS and len(listed) & 0xFFFF != directory.entries & 0xFFFF:
        yield "count", HIGH, f"{directory.entries} members said, {len(listed)} listed", ""
    if sum(each.size for each in listed) > _MAX_TOTAL:
        yield "bomb", HIGH, f"more than {_MAX_TOTAL} bytes unpacked", ""
    spans = sorted((each.header, each.start + each.packed) for each in listed)
    if any(after[0] < before[1] for before, after in itertools.pairwise(spans)):
        yield "overlap", HIGH, "members that share bytes", ""
    yield from _names([each.name for each in listed])


def _member(member: Member, local: bytes, read_at: object) -> Iterator[Odd]:
    name = member.name
    if stat.S_ISLNK(member.external >> 16):
        yield "link", HIGH, f"a link: {name!r:.200}", name
    if member.size > max(_SMALL, _MAX_RATIO * member.packed):
        yield "bomb", HIGH, f"{member.size} bytes out of {member.packed}: {name!r:.200}", name
    if member.flags & 1:
        yield "encrypted", MEDIUM, f"marked as encrypted: {name!r:.200}", name
    if len(local) < 30 or not local.startswith(b"PK\x03\x04"):
        yield "mismatch", HIGH, f"no member where the directory says: {name!r:.200}", name
        return
    length = int.from_bytes(local[26:28], "little")
    own = read_at(member.header + 30, length)  # type: ignore[operator]
    method = int.from_bytes(local[8:10], "little")
    packed = int.from_bytes(local[18:22], "little")
    unsaid = local[6] & 8 or packed == 0xFFFFFFFF
    if (
        own.decode("utf-8", "replace") != name
        or method != member.method
        or (not unsaid and packed != member.packed)
    ):
        yield "mismatch", HIGH, f"told otherwise in directory and member: {name!r:.200}", name


def _tar(file: BinaryIO) -> Iterator[Odd]:
    file.seek(0)
    names, total = [], 0
    with tarfile.open(fileobj=file, mode="r:*", errorlevel=2) as archive:
        for member in archive:
            names.append(member.name)
            total += member.size
            if len(names) > _MAX_MEMBERS or total > _MAX_TOTAL:
                yield "bomb", HIGH, "more members or bytes than anybody needs", ""
                break
            if member.issym() or member.islnk():
                yield "link", HIGH, f"a link to {member.linkname!r:.200}", member.name
            elif not member.isfile() and not member.isdir():
                yield "special", HIGH, "a device, pipe or other special file", member.name
            if member.mode & (stat.S_ISUID | stat.S_ISGID):
                yield "setuid", HIGH, "a file that runs as another user", member.name
            if member.sparse:
                yield "sparse", MEDIUM, "a sparse file", member.name
    yield from _names(names)

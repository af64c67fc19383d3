"""What a wheel says of itself: its ``METADATA``, read out of an archive that may be hostile. Pure.

Only the archive's directory and this one member are looked at, each within a limit, so a bomb is
never unpacked. What clients would take for another distribution than the file's name says is
refused: its name is what the registry reserves.
"""

from __future__ import annotations

import re
import struct
import zipfile
import zlib
from dataclasses import dataclass
from email.errors import MessageError
from typing import BinaryIO, Final

from packaging.metadata import parse_email
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import (
    InvalidSdistFilename,
    InvalidWheelFilename,
    canonicalize_name,
    parse_sdist_filename,
    parse_wheel_filename,
)
from packaging.version import InvalidVersion, Version

MAX_METADATA_BYTES: Final = 2 * 1024 * 1024
MAX_DIRECTORY_BYTES: Final = 16 * 1024 * 1024
NAME: Final = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
"""The normal form of a name (PEP 503)."""
# What those who parse such names let pass beyond this: letters of other scripts, which stand for
# ASCII ones in the eyes of people, and what means something in addresses and headers.
_FILENAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+!-]{0,254}")
_END: Final = struct.Struct("<4s4H2LH")  # end of central directory (APPNOTE.TXT §4.3.16)
_TAIL_BYTES: Final = 65_535 + _END.size
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


class WheelRefusedError(Exception):
    """Not a wheel that may be offered under its file's name; says why."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What a file's name says: ``project`` in its normal form (PEP 503), ``version`` as written."""

    filename: str
    project: str
    version: str
    is_wheel: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """``data`` is the exact ``METADATA`` (PEP 658); ``requires_python`` None: any."""

    data: bytes
    requires_python: str | None


def distribution_of(path: str) -> Distribution | None:
    """The distribution that the file at ``path`` of a release is; None: it is none."""
    filename = path.rpartition("/")[2]
    if not _FILENAME.fullmatch(filename):
        return None
    try:
        if filename.endswith(".whl"):
            name, version, _, _ = parse_wheel_filename(filename)
        elif filename.endswith(".tar.gz"):  # PEP 625: the one form of an sdist
            name, version = parse_sdist_filename(filename)
        else:
            return None
    except (InvalidWheelFilename, InvalidSdistFilename, InvalidVersion):
        return None
    if not NAME.fullmatch(name):
        return None
    return Distribution(
        filename=filename,
        project=name,
        version=str(version),
        is_wheel=filename.endswith(".whl"),
    )


def read_metadata(file: BinaryIO, size: int, wheel: Distribution) -> Metadata:
    """The metadata of the wheel in ``file``, which can seek and is ``size`` bytes long.

    Raises:
        WheelRefusedError: no sound archive, beyond a limit, or about another distribution.
    """
    _check_directory(file, size)
    try:
        with zipfile.ZipFile(file) as archive:
            data = _member(archive, wheel)
    except (zipfile.BadZipFile, zlib.error, ValueError, EOFError, NotImplementedError) as error:
        raise WheelRefusedError(f"expected a zip archive, found another: {error!s:.80}") from None
    return _parse(data, wheel)


def _check_directory(file: BinaryIO, size: int) -> None:
    """Establishes that the archive's directory fits into memory before anybody reads it."""
    count = min(size, _TAIL_BYTES)
    file.seek(size - count)
    tail = file.read(count)
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) - at < _END.size:
        raise WheelRefusedError("expected a zip archive, found another")
    _, disk, first, here, total, length, start, comment = _END.unpack_from(tail, at)
    if at + _END.size + comment != len(tail):
        raise WheelRefusedError("expected nothing after the archive, found more")
    if disk or first or here != total or 0xFFFF in (here, total) or start == 0xFFFFFFFF:
        raise WheelRefusedError("expected one archive of up to 65,534 members, found another")
    if length > MAX_DIRECTORY_BYTES or start + length > size:
        raise WheelRefusedError(f"expected a directory of the archive within it, found {length}")


def _member(archive: zipfile.ZipFile, wheel: Distribution) -> bytes:
    folders = {
        top for top in (name.partition("/")[0] for name in archive.namelist())
        if top.endswith(".dist-info")
    }  # fmt: skip
    if len(folders) != 1:
        raise WheelRefusedError(f"expected one .dist-info folder, found {len(folders)}")
    folder = folders.pop()
    name, _, version = folder.removesuffix(".dist-info").rpartition("-")
    _require_same("the .dist-info folder", name, version, wheel)
    found = [info for info in archive.infolist() if info.filename == f"{folder}/METADATA"]
    if len(found) != 1:
        raise WheelRefusedError(f"expected one {folder}/METADATA, found {len(found)}")
    info = found[0]
    if info.flag_bits & 1 or info.compress_type not in _METHODS:
        raise WheelRefusedError("METADATA: expected plain or deflated bytes, found others")
    if info.file_size > MAX_METADATA_BYTES:
        raise WheelRefusedError(
            f"METADATA: expected at most {MAX_METADATA_BYTES} bytes, found {info.file_size}"
        )
    with archive.open(info) as member:
        # What the directory says may be a lie: never more than this is unpacked.
        data = member.read(MAX_METADATA_BYTES + 1)
    if len(data) > MAX_METADATA_BYTES:
        raise WheelRefusedError(f"METADATA: expected at most {MAX_METADATA_BYTES} bytes")
    return data


def _parse(data: bytes, wheel: Distribution) -> Metadata:
    try:
        data.decode("utf-8")
        fields, _ = parse_email(data)
    except (UnicodeDecodeError, MessageError, ValueError):
        raise WheelRefusedError("METADATA: expected the core metadata, found another") from None
    _require_same("METADATA", fields.get("name", ""), fields.get("version", ""), wheel)
    requires = fields.get("requires_python")
    if requires is not None:
        try:
            SpecifierSet(requires)
        except InvalidSpecifier:
            raise WheelRefusedError(
                f"METADATA: Requires-Python: expected a range, found {requires!r:.60}"
            ) from None
    return Metadata(data=data, requires_python=requires)


def _require_same(where: str, name: str, version: str, wheel: Distribution) -> None:
    try:
        same = Version(version) == Version(wheel.version)
    except InvalidVersion:
        same = False
    if not same or canonicalize_name(name) != wheel.project:
        raise WheelRefusedError(
            f"{where}: expected {wheel.project} {wheel.version}, found {name!r:.60} {version!r:.40}"
        )

"""A project's page of another Python index (PEP 691 JSON), which nobody here trusts. Pure.

What is not understood of a single file leaves that file out: indexes have twenty years of them.
What is not understood of the page refuses it whole.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import urldefrag, urljoin

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name

from signing.encoding import parse_json
from signing.errors import MalformedError
from storage.checks import is_digest

from .origins import origin_of
from .text import harmless
from .wheels import MAX_METADATA_BYTES, NAME, distribution_of

__all__ = ["MAX_METADATA_BYTES", "Found", "FoundFile", "parse_page", "read_name"]

ACTIVE: Final = "active"
STATUSES: Final = (ACTIVE, "archived", "quarantined", "deprecated")  # PEP 792
_MAX_FILES: Final = 50_000
_MAX_TEXT: Final = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class FoundFile:
    """``url`` is absolute; ``size`` in bytes; ``metadata_sha256`` None: it has none to ask for;
    ``yanked`` None: it is not."""

    filename: str
    version: str
    url: str
    sha256: str
    size: int
    uploaded_at: datetime
    requires_python: str | None
    metadata_sha256: str | None
    yanked: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """``left_out`` counts files that can never be offered: no wheel or sdist of this project, no
    SHA-256, size or time, or at an address that is not allowed."""

    files: tuple[FoundFile, ...]
    left_out: int
    status: str
    status_reason: str | None


def read_name(text: str) -> str:
    """The project's name in its normal form. Raises MalformedError."""
    name = str(canonicalize_name(text))
    if len(name) > 100 or not NAME.fullmatch(name):
        raise MalformedError("name", "the name of a Python distribution", repr(text[:60]))
    return name


def parse_page(
    data: bytes, name: str, url: str, *, origins: Iterable[str], max_bytes: int
) -> Found:
    """The page of project ``name`` that came from ``url``; files may be at ``origins`` alone.

    Raises:
        MalformedError: not such a page.
    """
    value = parse_json(data, "page", max_bytes=max_bytes)
    if not isinstance(value, dict):
        raise MalformedError("page", "an object", type(value).__name__)
    meta, files, said = value.get("meta"), value.get("files"), value.get("name")
    version = meta.get("api-version") if isinstance(meta, dict) else None
    if not isinstance(version, str) or version.partition(".")[0] != "1":
        raise MalformedError("page.meta.api-version", "version 1 (PEP 691)", repr(version)[:60])
    if not isinstance(said, str) or canonicalize_name(said) != name:
        raise MalformedError("page.name", name, repr(said)[:60])
    if not isinstance(files, list) or len(files) > _MAX_FILES:
        raise MalformedError("page.files", f"a list of up to {_MAX_FILES}", "another")
    allowed = frozenset(origins)
    found: dict[str, FoundFile] = {}
    for item in files:
        file = _file(item, name, url, allowed)
        if file is not None:
            found.setdefault(file.filename, file)
    status, reason = _status(value.get("project-status"))
    return Found(
        files=tuple(found.values()),
        left_out=len(files) - len(found),
        status=status,
        status_reason=reason,
    )


def _status(value: Any) -> tuple[str, str | None]:
    """An unknown marker says nothing that we could repeat."""
    if not isinstance(value, dict) or value.get("status") not in STATUSES:
        return ACTIVE, None
    return str(value["status"]), _text(value.get("reason"))


def _file(item: Any, name: str, page: str, origins: frozenset[str]) -> FoundFile | None:
    if not isinstance(item, dict):
        return None
    filename, url, size = item.get("filename"), item.get("url"), item.get("size")
    hashes = item.get("hashes")
    sha256 = hashes.get("sha256") if isinstance(hashes, dict) else None
    if not isinstance(filename, str) or "/" in filename:
        return None
    named = distribution_of(filename)
    if named is None or named.project != name:
        return None
    if type(size) is not int or size < 1 or not isinstance(sha256, str) or not is_digest(sha256):
        return None
    uploaded_at = _instant(item.get("upload-time"))
    absolute = _absolute(page, url)
    if uploaded_at is None or absolute is None or origin_of(absolute) not in origins:
        return None
    return FoundFile(
        filename=filename,
        version=named.version,
        url=absolute,
        sha256=sha256,
        size=size,
        uploaded_at=uploaded_at,
        requires_python=_range(item.get("requires-python")),
        metadata_sha256=_metadata(item) if named.is_wheel else None,
        yanked=_yanked(item.get("yanked")),
    )


def _absolute(page: str, url: Any) -> str | None:
    if not isinstance(url, str) or origin_of(page) is None:
        return None
    try:
        absolute = urldefrag(urljoin(page, url)).url
    except ValueError:
        return None
    return absolute if origin_of(absolute) is not None else None


def _metadata(item: dict[str, Any]) -> str | None:
    """PEP 658, under either of the names that it goes by (PEP 714)."""
    value = item.get("core-metadata", item.get("dist-info-metadata"))
    digest = value.get("sha256") if isinstance(value, dict) else None
    return digest if isinstance(digest, str) and is_digest(digest) else None


def _yanked(value: Any) -> str | None:
    if isinstance(value, str) and value:
        return _text(value)
    return "" if value else None


def _range(value: Any) -> str | None:
    """A range that nobody can read bounds nothing, as installers have it too."""
    if not isinstance(value, str) or len(value) > _MAX_TEXT:
        return None
    try:
        SpecifierSet(value)
    except InvalidSpecifier:
        return None
    return value


def _instant(value: Any) -> datetime | None:
    """An ISO 8601 moment with a zone (PEP 700)."""
    if not isinstance(value, str) or len(value) > 40:
        return None
    try:
        moment = datetime.fromisoformat(value)
        return None if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _text(value: Any) -> str | None:
    return harmless(value)[:_MAX_TEXT] if isinstance(value, str) and value else None

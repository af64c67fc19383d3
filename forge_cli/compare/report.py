"""Two sides put beside each other: the whole document."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from signing.manifest import FileEntry

from . import cards, facts, files, models, python, requirements, structured, tokens, wheels
from .document import SCHEMA, Found, RefusedError, Remark, digest, ordered, refused
from .sides import Side

# The parts of the document that are lists; each member of `Found` says where it belongs.
PARTS: Final = ("models", "tokenizers", "configs", "python", "wheels", "requirements", "cards")
_MAX_FETCHED_BYTES: Final = 64 << 20  # of one file that is read whole
Compare = Callable[[str, bytes | None, bytes | None], Found]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """``document`` is deterministic, ``sha256`` its digest."""

    document: dict[str, Any]
    sha256: str
    remarks: Sequence[Remark]


def compare(old: Side, new: Side, *, measured: bool = True) -> Comparison:
    """What changed from ``old`` to ``new``."""
    pairs = files.pair_files(old.files, new.files)
    described, dangers = files.describe(pairs, old, new)
    stated = facts.compare(old, new)
    remarks: list[Remark] = [*dangers.remarks, *stated.remarks]
    parts: dict[str, list[dict[str, Any]]] = {part: [] for part in PARTS}
    for found in (
        *models.compare_models(old, new, measured=measured),
        *_contents(old, new, pairs.both),
        *_wheels(old, new, pairs.both),
    ):
        remarks += found.remarks
        for member in found.members:
            value = dict(member)
            parts[value.pop("part")].append(value)
    seen = {(each.path, each.code, each.text): each for each in remarks}
    listed = ordered(seen.values())
    document = {
        "schema": SCHEMA,
        "old": old.to_json(),
        "new": new.to_json(),
        "values": "measured" if measured else "not measured",
        "remarks": [each.to_json() for each in listed],
        "facts": list(stated.members),
        "files": described,
        **parts,
    }
    return Comparison(document=document, sha256=digest(document), remarks=listed)


def _wheels(
    old: Side, new: Side, pairs: Sequence[tuple[FileEntry | None, FileEntry | None]]
) -> Iterator[Found]:
    for before, after in wheels.pairs_of(pairs):
        path = files.path_of(before, after)
        try:
            one, other = (
                _whole(side, entry, wheels.MAX_BYTES)
                for side, entry in ((old, before), (new, after))
            )
            yield from wheels.compare(
                None if before is None or one is None else (before.path, one),
                None if after is None or other is None else (after.path, other),
            )
        except RefusedError as error:
            yield Found(remarks=[models.not_compared(path, error)])


def _contents(
    old: Side, new: Side, pairs: Sequence[tuple[FileEntry | None, FileEntry | None]]
) -> Iterator[Found]:
    """Whatever is read whole: texts, configurations, sources, vocabularies."""
    read = [
        (path, chosen, before, after)
        for before, after in pairs
        if (chosen := _reader(path := files.path_of(before, after))) is not None
    ]
    for side, entries in (
        (old, [before for _, _, before, _ in read if before is not None]),
        (new, [after for _, _, _, after in read if after is not None]),
    ):
        side.bytes.ready([entry for entry in entries if entry.size <= _MAX_FETCHED_BYTES])
    for path, (part, compare_), before, after in read:
        try:
            found = compare_(
                path,
                _whole(old, before, _MAX_FETCHED_BYTES),
                _whole(new, after, _MAX_FETCHED_BYTES),
            )
        except RefusedError as error:
            yield Found(remarks=[models.not_compared(path, error)])
            continue
        yield Found(
            members=[{"part": part, **each} for each in found.members], remarks=found.remarks
        )


def _whole(side: Side, entry: FileEntry | None, limit: int) -> bytes | None:
    if entry is None:
        return None
    if entry.size > limit:
        raise refused(f"at most {limit} bytes", f"{entry.size} bytes")
    return side.bytes.whole(entry)


def _reader(path: str) -> tuple[str, Compare] | None:
    """The part of the document that a file belongs to, and what compares it."""
    lower = path.lower()
    if lower.endswith(".safetensors.index.json"):
        return None  # `models` reads it
    readers: Sequence[tuple[bool, str, Compare]] = (
        (tokens.is_template(path), "tokenizers", tokens.compare_template),
        (tokens.reads(path), "tokenizers", _vocabulary),
        (requirements.is_list(path), "requirements", _requirements),
        (python.is_source(path), "python", python.compare),
        (cards.is_card(path), "cards", cards.compare),
        (lower.endswith(".json"), "configs", _config),
    )
    return next(((part, compare_) for fits, part, compare_ in readers if fits), None)


def _vocabulary(path: str, old: bytes | None, new: bytes | None) -> Found:
    return tokens.compare(path, tokens.read(path, old), tokens.read(path, new))


def _requirements(path: str, old: bytes | None, new: bytes | None) -> Found:
    one, other = ([] if data is None else requirements.read(path, data) for data in (old, new))
    return requirements.compare(path, one, other)


def _config(path: str, old: bytes | None, new: bytes | None) -> Found:
    """The keys of any JSON file; of a tokenizer's, also its special tokens and its template."""
    found = structured.compare_json(path, old, new)
    name = path.lower().rpartition("/")[2]
    if name not in ("special_tokens_map.json", "added_tokens.json", "tokenizer_config.json"):
        return found
    remarks = [
        tokens.special_remark(path, key)
        for member in found.members
        for key in member["keys"]
        if "token" in key["key"] or name == "added_tokens.json"
    ]
    one, other = (
        value.get("chat_template") if isinstance(value, dict) else None
        for value in (None if data is None else structured.parse_json(data) for data in (old, new))
    )
    template = tokens.compare_template(f"{path}: chat_template", one, other)
    members = [*found.members, *({"part": "tokenizers", **each} for each in template.members)]
    return Found(
        members=members,
        remarks=[*found.remarks, *remarks[: tokens.MAX_REMARKS], *template.remarks],
    )

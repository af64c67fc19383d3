"""From what the registry knows about a component to what the index holds of it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from signing.assessment import COMMUNITY

from .base import NO_LANGUAGE, SIZES, UNKNOWN, Hit
from .folding import ARABIC, split, stem, without_particle
from .sounds import sound
from .vocabulary import words_for

FORMATS: Final[Mapping[str, str]] = {
    ".safetensors": "safetensors",
    ".gguf": "gguf",
    ".onnx": "onnx",
    ".whl": "wheel",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".csv": "csv",
    ".tsv": "tsv",
    ".pt": "pickle",
    ".pth": "pickle",
    ".bin": "binary",
    ".pkl": "pickle",
    ".pickle": "pickle",
    ".joblib": "pickle",
    ".h5": "hdf5",
    ".keras": "keras",
    ".tflite": "tflite",
    ".fst": "fst",
    ".txt": "text",
}
"""The facet ``format`` by the ending of a file's name. What is inside is not looked at here."""
NAME, TEXT, SOUND, WHOLE = "a", "b", "s", "w"
"""What a lexeme begins with: a word of the component's name, any other word, how a word sounds, or
the name where it is a single word."""
FOREIGN, LATIN_SOUND = f"{SOUND}n", f"{SOUND}l"
_MOST_WORDS: Final = 400  # of one component that count
_MOST_CHARS: Final = 20_000
_HAS_LETTER: Final = re.compile(r"[^\W\d_]{3}")
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What there is to say about one component, of its latest version. At ``look_again`` its level
    may be another one by itself. ``formats`` are values of
    `FORMATS`; ``titles`` and ``summaries`` by language; ``names`` of the organisation likewise."""

    component_id: int
    organisation: str
    name: str
    version: str
    kind: str
    summary: str
    licence: str
    languages: Sequence[str]
    tasks: Sequence[str]
    updated_at: datetime
    organisation_title: str
    organisation_kind: str
    organisation_names: Mapping[str, str]
    region: str | None
    size: int
    risk: str | None
    review: str = COMMUNITY
    review_until: datetime | None = None
    look_again: datetime | None = None
    formats: frozenset[str] = frozenset()
    states: tuple[str, ...] = ()
    titles: Mapping[str, str] = field(default_factory=dict)
    summaries: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Document:
    """One component as the index holds it: columns of ``search_documents``, its lexemes, and the
    words that a mistyped one may have meant."""

    component_id: int
    name: str
    full_name: str
    updated: int
    size: int
    facets: str
    shown: str
    falls_at: int | None
    look_at: int | None
    lexemes: frozenset[str]
    words: frozenset[str]

    def row(self, generation: int) -> dict[str, Any]:
        """The columns of ``search_documents``."""
        return {
            "component_id": self.component_id,
            "generation": generation,
            "name": self.name,
            "full_name": self.full_name,
            "updated": self.updated,
            "size": self.size,
            "facets": self.facets,
            "shown": self.shown,
            "falls_at": self.falls_at,
            "look_at": self.look_at,
        }


def document_of(facts: Facts) -> Document:
    """What the index holds of the component that ``facts`` describe."""
    names = list(split(facts.name))
    others = list(_other_words(facts))
    lexemes = {NAME + stem(word) for word, _ in names}
    if len(names) == 1:
        lexemes |= {WHOLE + stem(word) for word, _ in names}
    others += [(word, ARABIC) for each, _ in others for word in without_particle(each)]
    lexemes |= {TEXT + stem(word) for word, _ in others}
    for word, script in (*names, *others):
        heard = sound(word, script)
        if heard is not None:
            lexemes.add((LATIN_SOUND if script == "latin" else FOREIGN) + heard)
    words = {stem(word) for word, _ in (*names, *others)}
    return Document(
        component_id=facts.component_id,
        name=facts.name,
        full_name=f"{facts.organisation}/{facts.name}",
        updated=in_milliseconds(facts.updated_at),
        size=facts.size,
        facets=json.dumps(_facets(facts), ensure_ascii=False, separators=(",", ":")),
        shown=_shown(facts),
        falls_at=None if facts.review_until is None else in_milliseconds(facts.review_until),
        look_at=None if facts.look_again is None else in_milliseconds(facts.look_again),
        lexemes=frozenset(lexemes),
        words=frozenset(word for word in words if _HAS_LETTER.search(word)),
    )


def in_milliseconds(at: datetime) -> int:
    """``at`` as the index keeps instants: milliseconds since 1970."""
    return round((at - _EPOCH).total_seconds() * 1000)


def _other_words(facts: Facts) -> Iterable[tuple[str, str]]:
    texts = [
        *facts.titles.values(), facts.summary, *facts.summaries.values(), *facts.tasks,
        facts.organisation, facts.organisation_title, *facts.organisation_names.values(),
        *words_for("kind", (facts.kind,)), *words_for("language", facts.languages),
        *words_for("task", facts.tasks), *facts.languages,
    ]  # fmt: skip
    text = " ".join(texts)[:_MOST_CHARS]
    return list(dict.fromkeys(split(text)))[:_MOST_WORDS]


def _facets(facts: Facts) -> list[list[str]]:
    """The values of each facet, in the order of `FACETS`."""
    return [
        [facts.kind],
        _known(facts.tasks),
        _known(facts.languages),
        [facts.organisation_kind],
        _known([facts.region]),
        [facts.licence],
        [facts.review],
        _known([facts.risk]),
        _known(sorted(facts.formats)),
        [size_class(facts.size)],
    ]


def _known(values: Iterable[str | None]) -> list[str]:
    return [value for value in values if value] or [UNKNOWN]


def size_class(size: int) -> str:
    """The value of the facet ``size`` for so many bytes."""
    return next(name for name, most in SIZES.items() if most is None or size <= most)


def _shown(facts: Facts) -> str:
    return json.dumps(
        {
            "organisation": facts.organisation,
            "name": facts.name,
            "version": facts.version,
            "title": dict(facts.titles),
            "summary": {NO_LANGUAGE: facts.summary, **facts.summaries},
            "organisation_title": facts.organisation_title,
            "organisation_names": dict(facts.organisation_names),
            "kind": facts.kind,
            "task": next(iter(facts.tasks), None),
            "licence": facts.licence,
            "languages": list(facts.languages),
            "region": facts.region,
            "size": facts.size,
            "updated_at": facts.updated_at.isoformat(),
            "review": facts.review,
            "risk": facts.risk,
            "states": list(facts.states),
        },
        ensure_ascii=False,
        separators=(",", ":"),
    )


def hit_of(shown: str, *, exact: bool) -> Hit:
    """What `document_of` wrote down to be shown."""
    value = json.loads(shown)
    value["updated_at"] = datetime.fromisoformat(value["updated_at"])
    value.setdefault("organisation_names", {})  # written down before there were any
    value["languages"] = tuple(value["languages"])
    value["states"] = tuple(value["states"])
    return Hit(**value, exact=exact)


def formats_of(paths: Iterable[str]) -> frozenset[str]:
    """The values of the facet ``format`` for files with these names."""
    endings = (re.search(r"\.[a-z0-9]+$", path.lower()) for path in paths)
    known = (FORMATS.get(found.group()) for found in endings if found)
    return frozenset(each for each in known if each is not None)

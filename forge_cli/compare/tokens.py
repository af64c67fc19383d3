"""Vocabularies: which tokens came, went or got another number, and which of them are special.

A special token, or a chat template, decides where instructions end and a user's text begins: they
are told apart from the thousands of ordinary ones.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from . import cards
from .document import ATTENTION, Found, Remark, refused, short
from .structured import compare_values, parse_json, text_of

MAX_TOKENS: Final = 4_000_000
_MAX_LISTED: Final = 200  # of each kind in the document; the counts are whole
_MAX_SPECIAL: Final = 5000
MAX_REMARKS: Final = 40
_TEMPLATES: Final = ("chat_template.jinja", "chat_template.json")


@dataclass(slots=True, kw_only=True)
class Vocabulary:
    """``tokens`` is ``{token: number}``; ``special`` ``{token: what is said about it}``. ``rest``
    is everything else that the file says, such as how text is cut."""

    tokens: Mapping[str, int] = field(default_factory=dict)
    merges: Sequence[str] = ()
    special: Mapping[str, str] = field(default_factory=dict)
    rest: Any = None


def reads(path: str) -> bool:
    """Whether a file of this name is a vocabulary, and not any JSON or text file."""
    name = path.lower().rpartition("/")[2]
    return name in ("tokenizer.json", "vocab.txt", "vocab.json", "merges.txt")


def read(path: str, data: bytes | None) -> Vocabulary:
    """The vocabulary in a file that `reads` knows; an empty one where there is no file.

    Raises:
        RefusedError: it cannot be read.
    """
    name = path.lower().rpartition("/")[2]
    if data is None:
        return Vocabulary()
    if name == "tokenizer.json":
        return _tokenizer(parse_json(data))
    if name == "vocab.json":
        return Vocabulary(tokens=_numbered(parse_json(data)))
    lines = _lines(data)
    if name == "merges.txt":
        return Vocabulary(merges=[line for line in lines if not line.startswith("#version")])
    return Vocabulary(tokens={line: number for number, line in enumerate(lines)})


def of_gguf(values: Mapping[str, Any]) -> Vocabulary:
    """The vocabulary in the metadata of a GGUF file (docs/gguf.md, "Tokenizer")."""
    tokens = [str(each) for each in _list(values.get("tokenizer.ggml.tokens"))]
    kinds = _list(values.get("tokenizer.ggml.token_type"))
    marked = {  # 3 is "control", 4 "user defined"
        token: f"type {kind}" for token, kind in zip(tokens, kinds, strict=False) if kind in (3, 4)
    }
    return Vocabulary(
        tokens={token: number for number, token in enumerate(tokens)},
        merges=[str(each) for each in _list(values.get("tokenizer.ggml.merges"))],
        special=marked,
    )


def _tokenizer(value: Any) -> Vocabulary:
    if not isinstance(value, dict):
        raise refused("a tokenizer in a JSON object", type(value).__name__)
    model = value.get("model")
    model = model if isinstance(model, dict) else {}
    merges = [
        " ".join(map(str, each)) if isinstance(each, list) else str(each)
        for each in _list(model.get("merges"))
    ]
    added = {
        str(each.get("content")): text_of({k: v for k, v in each.items() if k != "content"})
        for each in _list(value.get("added_tokens"))
        if isinstance(each, dict)
    }
    rest = {key: each for key, each in value.items() if key not in ("model", "added_tokens")}
    rest["model"] = {key: each for key, each in model.items() if key not in ("vocab", "merges")}
    return Vocabulary(
        tokens=_numbered(model.get("vocab", {})), merges=merges, special=added, rest=rest
    )


def _numbered(vocab: Any) -> dict[str, int]:
    """``{token: number}``; a Unigram model has a list of ``[token, score]``, numbered by place."""
    if isinstance(vocab, list):
        return {
            str(each[0] if isinstance(each, list) and each else each): number
            for number, each in enumerate(_list(vocab))
        }
    if not isinstance(vocab, dict) or len(vocab) > MAX_TOKENS:
        raise refused(f"a vocabulary of at most {MAX_TOKENS} tokens", type(vocab).__name__)
    if not all(type(number) is int for number in vocab.values()):
        raise refused("a number for each token", "something else")
    return vocab


def _list(value: Any) -> Sequence[Any]:
    found = value if isinstance(value, list) else ()
    if len(found) > MAX_TOKENS:
        raise refused(f"at most {MAX_TOKENS} entries", len(found))
    return found


def _lines(data: bytes) -> list[str]:
    # Not splitlines: a token may hold what Unicode calls a line break.
    lines = data.decode("utf-8", "backslashreplace").split("\n")
    if lines and not lines[-1]:
        lines.pop()
    if len(lines) > MAX_TOKENS:
        raise refused(f"at most {MAX_TOKENS} lines", len(lines))
    return [line.removesuffix("\r") for line in lines]


def compare(path: str, old: Vocabulary, new: Vocabulary) -> Found:
    """What differs between two vocabularies."""
    both = old.tokens.keys() & new.tokens.keys()
    value: dict[str, Any] = {"path": path}
    value |= _member("added", sorted(new.tokens.keys() - old.tokens.keys(), key=new.tokens.get))  # type: ignore[arg-type]
    value |= _member("removed", sorted(old.tokens.keys() - new.tokens.keys(), key=old.tokens.get))  # type: ignore[arg-type]
    moved = sorted(token for token in both if old.tokens[token] != new.tokens[token])
    value |= _member("renumbered", moved)
    value |= _merges(old.merges, new.merges)
    special = _special(old.special, new.special)
    if special:
        value["special"] = special[:_MAX_SPECIAL]
        value["special_count"] = len(special)
    rest = compare_values(old.rest, new.rest) if old.rest != new.rest else []
    if rest:
        value["keys"] = rest
    if len(value) == 1:
        return Found()
    return Found(members=[value], remarks=_remarks(path, special, len(moved), rest))


def _member(name: str, tokens: Sequence[str]) -> dict[str, Any]:
    if not tokens:
        return {}
    return {name: {"count": len(tokens), "first": [short(each) for each in tokens[:_MAX_LISTED]]}}


def _merges(old: Sequence[str], new: Sequence[str]) -> dict[str, Any]:
    if list(old) == list(new):
        return {}
    before, after = set(old), set(new)
    value = _member("merges_added", [each for each in new if each not in before])
    value |= _member("merges_removed", [each for each in old if each not in after])
    return value or {"merges_reordered": True}


def _special(old: Mapping[str, str], new: Mapping[str, str]) -> list[dict[str, Any]]:
    return [
        {"token": short(token), "old": old.get(token), "new": new.get(token)}
        for token in sorted(old.keys() | new.keys())
        if old.get(token) != new.get(token)
    ]


def _remarks(
    path: str, special: list[dict[str, Any]], moved: int, rest: Sequence[dict[str, Any]]
) -> list[Remark]:
    remarks = [
        special_remark(path, {**each, "key": each["token"]}) for each in special[:MAX_REMARKS]
    ]
    if len(special) > len(remarks):
        text = f"{len(special) - len(remarks)} more special tokens came, went or changed"
        remarks.append(Remark(level=ATTENTION, code="special-token", text=text, path=path))
    if moved:
        text = f"tokens with another number: {moved}; weights of before do not fit"
        remarks.append(Remark(level=ATTENTION, code="tokens-renumbered", text=text, path=path))
    if rest:
        keys = ", ".join(dict.fromkeys(each["key"].split(".")[0] for each in rest[:50]))
        text = f"text is cut into tokens otherwise: {keys}"
        remarks.append(Remark(level=ATTENTION, code="tokenizer-changed", text=text, path=path))
    return remarks


def special_remark(path: str, change: Mapping[str, Any]) -> Remark:
    """A remark on a special token, or on the key of a file that names one."""
    old, new = change["old"], change["new"]
    how = "added" if old is None else "removed" if new is None else "changed"
    text = f"special token {change['key']} {how}"
    return Remark(level=ATTENTION, code="special-token", text=text, path=path)


def is_template(path: str) -> bool:
    """Whether the file says how a conversation becomes text for the model."""
    return path.lower().rpartition("/")[2] in _TEMPLATES


def compare_template(path: str, old: object, new: object) -> Found:
    """How a conversation becomes text: the lines that came and went. A template that is no text is
    compared as JSON writes it."""
    if old == new:
        return Found()
    how = "added" if old is None else "removed" if new is None else "changed"
    remark = Remark(
        level=ATTENTION, code="chat-template", text=f"the chat template was {how}", path=path
    )
    return Found(members=cards.compare(path, _text(old), _text(new)).members, remarks=[remark])


def _text(value: object) -> bytes | None:
    if value is None or isinstance(value, bytes):
        return value
    text = value if isinstance(value, str) else json.dumps(value, indent=1, sort_keys=True)
    return text.encode("utf-8", "backslashreplace")

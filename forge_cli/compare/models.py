"""Tensors by name, over all shards of a model, in safetensors and GGUF.

A sharded model is named like the file that it would be without shards, so that one that was
`model.safetensors` and is now in five pieces is compared with itself. Whether a tensor is the same
is asked in `pairs`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from signing.manifest import FileEntry
from signing.tensors import Header, HeaderRefusedError, Tensor, read_gguf, read_safetensors

from ..output import count_text
from . import tokens
from .document import ATTENTION, Found, RefusedError, Remark, refused, short
from .pairs import Place, TensorPairs
from .sides import Side, Stream
from .structured import compare_values, parse_json

_SHARD: Final = re.compile(r"(?P<stem>.+)-\d{5}-of-\d{5}\.(?P<suffix>safetensors|gguf)")
_INDEX: Final = ".safetensors.index.json"
_MAX_TENSORS: Final = 1_000_000  # of all shards together
_MAX_FAULTS: Final = 20
_VOCABULARY: Final = re.compile(r"tokenizer\.ggml\.(tokens|token_type|merges|scores)")


@dataclass(slots=True, kw_only=True)
class Model:
    """All tensors of one model of one side. ``told`` is what its headers say besides."""

    name: str
    format: str
    tensors: dict[str, Place] = field(default_factory=dict)
    told: dict[str, Any] = field(default_factory=dict)
    faults: list[Remark] = field(default_factory=list)

    @property
    def parameters(self) -> int:
        return sum(place.tensor.elements for place in self.tensors.values())


def is_model(path: str) -> bool:
    return path.lower().endswith((".safetensors", ".gguf"))


def name_of(path: str) -> str:
    """The model that a file of weights, or their index, belongs to."""
    if path.endswith(_INDEX):
        return path.removesuffix(".index.json")
    match = _SHARD.fullmatch(path)
    return path if match is None else f"{match['stem']}.{match['suffix']}"


def model_names(side: Side) -> dict[str, list[FileEntry]]:
    """``{model: its files of weights}``."""
    found: dict[str, list[FileEntry]] = {}
    for path, entry in side.files.items():
        if is_model(path):
            found.setdefault(name_of(path), []).append(entry)
    return found


def compare_models(old: Side, new: Side, *, measured: bool = True) -> Iterator[Found]:
    """What differs, model by model. ``measured``: how far values moved, not only which."""
    before, after = model_names(old), model_names(new)
    for name in sorted(before.keys() | after.keys()):
        if _digests(before.get(name)) == _digests(after.get(name)):
            continue
        try:
            yield _compare(old, new, name, before.get(name), after.get(name), measured)
        except (HeaderRefusedError, RefusedError) as error:
            yield Found(remarks=[not_compared(name, error)])


def not_compared(path: str, error: Exception) -> Remark:
    """A remark that a reviewer has to look at this with other eyes."""
    return Remark(level=ATTENTION, code="not-compared", text=f"not compared: {error}", path=path)


def _digests(entries: Sequence[FileEntry] | None) -> list[tuple[str, str]]:
    return sorted((entry.path, entry.sha256) for entry in entries or ())


def _compare(
    old: Side,
    new: Side,
    name: str,
    before: Sequence[FileEntry] | None,
    after: Sequence[FileEntry] | None,
    measured: bool,
) -> Found:
    one, other = _read(old, name, before), _read(new, name, after)
    pairs = TensorPairs(old, new, one.tensors, other.tensors)
    changed = pairs.changed(measured)
    model = {
        "path": name,
        "format": other.format if after else one.format,
        "parameters": {"old": one.parameters, "new": other.parameters},
        "added": [_shown(other.tensors[each]) for each in sorted(pairs.added)],
        "removed": [_shown(one.tensors[each]) for each in sorted(pairs.removed)],
        "changed": changed,
        "unchanged": len(pairs.both) - len(changed),
    }
    remarks = [*other.faults, *_remarks(name, before, after, changed, pairs)]
    told = compare_values(_rest(one.told), _rest(other.told))
    if told:
        model["metadata"] = told
    members = [{"part": "models", **model}]
    for key in told:
        if key["key"].startswith("tokenizer.chat_template"):
            template = tokens.compare_template(
                f"{name}: {key['key']}", one.told.get(key["key"]), other.told.get(key["key"])
            )
            members += [{"part": "tokenizers", **each} for each in template.members]
            remarks += template.remarks
    words = tokens.compare(name, tokens.of_gguf(one.told), tokens.of_gguf(other.told))
    members += [{"part": "tokenizers", **each} for each in words.members]
    return Found(members=members, remarks=[*remarks, *words.remarks])


def _rest(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a header says, without the vocabulary, which is compared as one."""
    return {key: value for key, value in told.items() if not _VOCABULARY.fullmatch(key)}


def _remarks(
    name: str,
    before: Sequence[FileEntry] | None,
    after: Sequence[FileEntry] | None,
    changed: Sequence[Mapping[str, Any]],
    pairs: TensorPairs,
) -> Iterator[Remark]:
    if before is None or after is None:
        what = "a new model" if before is None else "the model is gone"
        yield Remark(level=ATTENTION, code="model-new", text=what, path=name)
        return
    if changed or pairs.added or pairs.removed:
        counts = {"changed": changed, "added": pairs.added, "removed": pairs.removed}
        text = "tensors: " + ", ".join(f"{len(each)} {how}" for how, each in counts.items() if each)
        yield Remark(level=ATTENTION, code="tensors-changed", text=text, path=name)
    odd = [each for each in changed if each.get("not_finite", {}).get("new")]
    if odd:
        text = f"NaN or infinite values: {count_text(len(odd), 'tensor')}, first {odd[0]['name']}"
        yield Remark(level=ATTENTION, code="not-finite", text=text, path=name)


def _read(side: Side, name: str, entries: Sequence[FileEntry] | None) -> Model:
    """The headers of all files of a model.

    Raises:
        HeaderRefusedError, RefusedError: one of them does not hold.
    """
    model = Model(name=name, format=name.rpartition(".")[2].lower())
    index = _weight_map(side, name)
    for entry in sorted(entries or ()):
        header = _header(side, entry)
        for key, value in header.values.items():
            model.told[key] = value
        for tensor in header.tensors:
            _place(model, index, entry, tensor)
        if len(model.tensors) > _MAX_TENSORS:
            raise refused(f"at most {_MAX_TENSORS} tensors in all files", "more")
    missing = sorted(index.keys() - model.tensors.keys())
    if missing:
        text = f"the index names {len(missing)} tensors that no file holds, first {missing[0]}"
        model.faults.append(
            Remark(level=ATTENTION, code="index-wrong", text=short(text), path=name)
        )
    return model


def _place(model: Model, index: Mapping[str, str], entry: FileEntry, tensor: Tensor) -> None:
    """Loaders take each tensor from the file that the index names: others are luggage."""
    named = index.get(tensor.name)
    here = named is None or named == entry.path.rpartition("/")[2]
    if index and named is None:
        fault = f"{tensor.name} is in {entry.path} and not in the index: nobody loads it"
    elif not here:
        fault = f"{tensor.name} is also in {entry.path}, where the index does not look"
    elif tensor.name in model.tensors:
        fault = f"{tensor.name} is in two files: which one is loaded depends on the loader"
    else:
        fault = ""
    if fault and len(model.faults) < _MAX_FAULTS:
        model.faults.append(
            Remark(level=ATTENTION, code="index-wrong", text=short(fault), path=model.name)
        )
    if here:
        model.tensors[tensor.name] = Place(entry, tensor)


def _weight_map(side: Side, name: str) -> dict[str, str]:
    entry = side.files.get(f"{name}.index.json")
    if entry is None:
        return {}
    if entry.size > 64 << 20:
        raise refused("an index of at most 64 MiB", f"{entry.size} bytes")
    value = parse_json(side.bytes.whole(entry))
    found = value.get("weight_map") if isinstance(value, dict) else None
    if not isinstance(found, dict) or not all(isinstance(each, str) for each in found.values()):
        raise refused("an index with a weight_map of file names", "something else")
    return found


def _header(side: Side, entry: FileEntry) -> Header:
    with side.bytes.open(entry) as reader:
        if entry.path.lower().endswith(".gguf"):
            return read_gguf(Stream(reader), entry.size, values=True)
        return read_safetensors(Stream(reader), entry.size)


def _shown(place: Place) -> dict[str, Any]:
    tensor = place.tensor
    return {"name": short(tensor.name), "dtype": tensor.kind, "shape": list(tensor.shape)}

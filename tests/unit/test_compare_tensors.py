"""Tensors of two releases: each kind of change is found, exactly, and hostile headers are named."""

from __future__ import annotations

import hashlib
import json
import random
import struct
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from comparing import codes_of, compared, f32, only, remarks_of
from tensors import chunks_of, replaced, safetensors, tensors, typed
from thorough import EVERY_STEP

from forge_cli.compare import pairs
from forge_cli.compare.pairs import Told, told_by_chunks
from signing.chunks import build_chunk_list
from signing.tensors import MAX_TENSORS, Tensor

FILE = "model.safetensors"
GOOD = {
    "same": ("F32", [2], f32(1, 2)),
    "w": ("F32", [3], f32(3, 4, 0)),
    "half": ("F16", [2], struct.pack("<2e", 1, 2)),
    "shaped": ("I8", [2, 2], b"\1\2\3\4"),
}


def model(found: Any) -> dict[str, Any]:
    value: dict[str, Any] = only(found.document["models"])
    return value


def test_equal_models_are_not_mentioned(tmp_path: Path) -> None:
    data = typed(GOOD)  # type: ignore[arg-type]
    found = compared(tmp_path, {FILE: data}, {FILE: data})
    assert found.document["models"] == []
    assert found.remarks == []
    assert found.document["files"]["unchanged"] == 1


def changed(**tensors: Any) -> bytes:
    return typed({**GOOD, **tensors})


def entry(name: str, old: tuple[str, list[int]], new: tuple[str, list[int]]) -> dict[str, Any]:
    return {
        "name": name,
        "old": {"dtype": old[0], "shape": old[1]},
        "new": {"dtype": new[0], "shape": new[1]},
    }


@pytest.mark.parametrize(
    ("new", "what"),
    [
        (
            changed(more=("U8", [1], b"\1")),
            {"added": [{"name": "more", "dtype": "U8", "shape": [1]}], "unchanged": 4},
        ),
        (
            typed({name: each for name, each in GOOD.items() if name != "half"}),  # type: ignore[arg-type,misc]
            {"removed": [{"name": "half", "dtype": "F16", "shape": [2]}], "unchanged": 3},
        ),
        (
            changed(w=("F32", [3], f32(3, 4, 2))),
            {
                "changed": [
                    entry("w", ("F32", [3]), ("F32", [3]))
                    | {"relative_l2": "4.000e-01", "max_abs": "2.000e+00"}
                ],
                "unchanged": 3,
            },
        ),
        (
            changed(half=("F32", [2], f32(1, 2.5))),
            {
                "changed": [
                    entry("half", ("F16", [2]), ("F32", [2]))
                    | {"relative_l2": "2.236e-01", "max_abs": "5.000e-01"}
                ],
                "unchanged": 3,
            },
        ),
        (
            changed(shaped=("I8", [4], b"\1\2\3\4")),
            {
                "changed": [
                    entry("shaped", ("I8", [2, 2]), ("I8", [4]))
                    | {"relative_l2": "0.000e+00", "max_abs": "0.000e+00"}
                ],
                "unchanged": 3,
            },
        ),
        (
            changed(shaped=("I8", [5], b"\1\2\3\4\5")),
            {"changed": [entry("shaped", ("I8", [2, 2]), ("I8", [5]))], "unchanged": 3},
        ),
        (
            changed(w=("F32", [3], f32(3, 4, float("nan")))),
            {
                "changed": [
                    entry("w", ("F32", [3]), ("F32", [3]))
                    | {
                        "relative_l2": "0.000e+00",
                        "max_abs": "0.000e+00",
                        "not_finite": {"old": 0, "new": 1},
                    }
                ],
                "unchanged": 3,
            },
        ),
        (typed(dict(reversed(GOOD.items())), note="moved"), {"unchanged": 4}),  # type: ignore[arg-type]
    ],
    ids=["added", "removed", "values", "dtype", "shape", "elements", "NaN", "only moved"],
)
def test_each_kind_of_change_is_found_exactly(
    tmp_path: Path, new: bytes, what: dict[str, Any]
) -> None:
    value = model(compared(tmp_path, {FILE: typed(GOOD)}, {FILE: new}))  # type: ignore[arg-type]
    expected = {"added": [], "removed": [], "changed": [], **what}
    assert {name: value[name] for name in expected} == expected


def test_without_values_only_which(tmp_path: Path) -> None:
    new = changed(w=("F32", [3], f32(9, 9, 9)))
    found = compared(tmp_path, {FILE: typed(GOOD)}, {FILE: new}, measured=False)  # type: ignore[arg-type]
    assert model(found)["changed"] == [entry("w", ("F32", [3]), ("F32", [3]))]
    assert found.document["values"] == "not measured"


def test_not_a_number_is_remarked(tmp_path: Path) -> None:
    new = changed(w=("F32", [3], f32(3, float("inf"), 0)))
    found = compared(tmp_path, {FILE: typed(GOOD)}, {FILE: new})  # type: ignore[arg-type]
    assert ("not-finite", FILE, "NaN or infinite values: 1 tensor, first w") in remarks_of(found)


@pytest.mark.parametrize(
    ("header", "why"),
    [
        ((100 << 20).to_bytes(8, "little") + b"{}", "a header of 2 to"),
        (typed({"a": ("F32", [2], f32(1, 2))}).replace(b"[0, 8]", b"[0, 9]"), "data within"),
        (
            len(text := json.dumps({
                "a": {"dtype": "U8", "shape": [8], "data_offsets": [0, 8]},
                "b": {"dtype": "U8", "shape": [8], "data_offsets": [4, 12]},
            }).encode()).to_bytes(8, "little") + text + bytes(12),
            "tensors that do not overlap",
        ),
        (b"\x02", "a whole header"),
        (b"", "a whole header"),
    ],
    ids=["100 MB", "beyond the end", "overlapping", "cut", "empty"],
)  # fmt: skip
def test_a_hostile_header_is_never_unchanged(tmp_path: Path, header: bytes, why: str) -> None:
    found = compared(tmp_path, {FILE: typed(GOOD)}, {FILE: header})  # type: ignore[arg-type]
    remark = only([each for each in found.remarks if each.code == "not-compared"])
    assert remark.path == FILE
    assert why in remark.text
    assert found.document["models"] == []


def many(count: int) -> dict[str, Any]:
    return {f"t{number}": ("U8", [1], b"\0") for number in range(count)}


def test_very_many_tensors(tmp_path: Path) -> None:
    """More than any model that people share has; in the long run as many as a file may have."""
    old = many(MAX_TENSORS if EVERY_STEP else 5_000)
    new = {**old, "t77": ("U8", [1], b"\1")}
    value = model(compared(tmp_path, {FILE: typed(old)}, {FILE: typed(new)}))
    assert [each["name"] for each in value["changed"]] == ["t77"]
    assert value["unchanged"] == len(old) - 1


def test_too_many_tensors(tmp_path: Path) -> None:
    found = compared(tmp_path, {FILE: typed(many(1))}, {FILE: typed(many(MAX_TENSORS + 1))})
    assert "at most 100000 tensors" in only(found.remarks).text


# --- shards -----------------------------------------------------------------------------------


def sharded(parts: list[dict[str, Any]], index: dict[str, str] | None = None) -> dict[str, bytes]:
    """A model in so many files, and its index."""
    names = [f"model-{n:05}-of-{len(parts):05}.safetensors" for n in range(1, len(parts) + 1)]
    found = {tensor: name for name, part in zip(names, parts, strict=True) for tensor in part}
    files = {name: typed(part) for name, part in zip(names, parts, strict=True)}
    text = json.dumps({"weight_map": found | (index or {})})
    return {**files, f"{FILE}.index.json": text.encode()}


def halves(values: dict[str, Any]) -> list[dict[str, Any]]:
    items = list(values.items())
    return [dict(items[:2]), dict(items[2:])]


def test_a_model_in_shards_is_the_model_that_it_was_before(tmp_path: Path) -> None:
    new = {**GOOD, "w": ("F32", [3], f32(3, 4, 2))}
    found = compared(tmp_path, {FILE: typed(GOOD)}, sharded(halves(new)))  # type: ignore[arg-type]
    value = model(found)
    assert [each["name"] for each in value["changed"]] == ["w"]
    assert (value["added"], value["removed"], value["unchanged"]) == ([], [], 3)
    assert value["path"] == FILE


def test_a_tensor_may_move_between_shards(tmp_path: Path) -> None:
    parts = halves(GOOD)
    found = compared(tmp_path, sharded(parts), sharded(parts[::-1]))
    assert model(found)["unchanged"] == 4
    assert "index-wrong" not in codes_of(found)


@pytest.mark.parametrize(
    ("new", "why"),
    [
        (sharded(halves(GOOD), {"ghost": "model-00001-of-00002.safetensors"}), "no file holds"),
        (sharded([*halves(GOOD)[:1], {**halves(GOOD)[1], "w": GOOD["w"]}]), "does not look"),
        (
            {FILE.replace(".s", f"-0000{n}-of-00002.s"): typed(GOOD) for n in (1, 2)},  # type: ignore[arg-type]
            "in two files",
        ),
    ],
    ids=["a tensor that is not there", "one twice", "no index, one twice"],
)
def test_what_loaders_would_see_differently_is_remarked(
    tmp_path: Path, new: dict[str, bytes], why: str
) -> None:
    found = compared(tmp_path, {FILE: typed(GOOD)}, new)  # type: ignore[arg-type]
    assert any(why in text for code, _, text in remarks_of(found) if code == "index-wrong")


def test_luggage_that_the_index_does_not_name(tmp_path: Path) -> None:
    files = sharded(halves(GOOD))
    index = json.loads(files[f"{FILE}.index.json"])
    del index["weight_map"]["shaped"]
    files[f"{FILE}.index.json"] = json.dumps(index).encode()
    found = compared(tmp_path, {FILE: typed(GOOD)}, files)  # type: ignore[arg-type]
    assert any("nobody loads it" in text for _, _, text in remarks_of(found))


@pytest.mark.parametrize(
    "index", [b"[]", b'{"weight_map": 1}', b'{"weight_map": {"w": 7}}', b"{", b"\xff"]
)
def test_an_index_that_is_none_is_said(tmp_path: Path, index: bytes) -> None:
    files = {**sharded(halves(GOOD)), f"{FILE}.index.json": index}
    assert "not-compared" in codes_of(compared(tmp_path, {}, files))


# --- GGUF -------------------------------------------------------------------------------------


def text(words: str) -> bytes:
    data = words.encode()
    return struct.pack("<Q", len(data)) + data


def gguf(tokens: list[str], template: str, values: bytes, kind: int = 0) -> bytes:
    pairs = [
        text("tokenizer.ggml.tokens")
        + struct.pack("<IIQ", 9, 8, len(tokens))
        + b"".join(map(text, tokens)),
        text("tokenizer.ggml.token_type")
        + struct.pack(f"<IIQ{len(tokens)}i", 9, 5, len(tokens), *[1] * (len(tokens) - 1), 3),
        text("tokenizer.chat_template") + struct.pack("<I", 8) + text(template),
    ]
    tensor = text("w") + struct.pack("<IQIQ", 1, len(values) // 4, kind, 0)
    head = b"GGUF" + struct.pack("<IQQ", 3, 1, len(pairs)) + b"".join(pairs) + tensor
    return head + bytes(-len(head) % 32) + values


def test_gguf_is_compared_as_well(tmp_path: Path) -> None:
    found = compared(
        tmp_path,
        {"m.gguf": gguf(["a", "b", "<s>"], "x" * 5000, f32(3, 4))},
        {"m.gguf": gguf(["a", "c", "<s>", "<t>"], "x" * 5000 + "y", f32(3, 9))},
    )
    value = model(found)
    assert only(value["changed"])["max_abs"] == "5.000e+00"
    words = found.document["tokenizers"][-1]
    assert words["added"]["first"] == ["c", "<t>"]
    assert words["removed"]["first"] == ["b"]
    # The last one of each vocabulary is a control token.
    assert {each["token"] for each in words["special"]} == {"<s>", "<t>"}
    # It differs in its last character only: no cut hides that.
    assert "chat-template" in codes_of(found)


def test_quantised_tensors_are_told_apart_by_their_bytes(tmp_path: Path) -> None:
    old, new = (gguf(["a"], "", f32(1, each), kind=12) for each in (2, 3))
    value = model(compared(tmp_path, {"m.gguf": old}, {"m.gguf": new}))
    assert only(value["changed"]) == entry("w", ("Q4_K", [2]), ("Q4_K", [2]))


# --- chunk lists ------------------------------------------------------------------------------


def places(data: bytes) -> dict[str, Tensor]:
    from io import BytesIO

    from signing.tensors import read_safetensors

    return {each.name: each for each in read_safetensors(BytesIO(data), len(data)).tensors}


def test_what_chunk_lists_prove_is_true() -> None:
    """Whatever moved or changed, and wherever the cuts are: told is true, untold is untold."""
    source = random.Random(4)
    before = tensors(4, count=30, size=96 << 10)
    order = sorted(before, key=lambda _: source.random())
    names = source.sample(order, 6)
    after = replaced({name: before[name] for name in order}, names)
    edited = bytearray(after[order[0]])
    edited[50_000] ^= 1
    after[order[0]] = bytes(edited)
    old, new = safetensors(before), safetensors(after, note="n" * 777)
    lists, maps = (chunks_of(old), chunks_of(new)), (places(old), places(new))
    told = 0
    for name in before:
        verdict = told_by_chunks(lists[0], maps[0][name], lists[1], maps[1][name])
        told += verdict.same is not None
        assert verdict.same in (None, before[name] == after[name]), name
        differs = {at for at in range(96 << 10) if before[name][at] != after[name][at]}
        if verdict.same is None:  # whatever differs is in what is left open
            left = {at for start, stop in verdict.parts for at in range(start, stop)}
            assert differs <= left, name
    assert told >= 23


def test_a_chunk_that_begins_elsewhere_in_the_tensor_proves_nothing() -> None:
    """The same chunks around, and another place of the tensor within the first."""
    data = bytes(2 << 20)
    chunks = chunks_of(data)
    one = Tensor(name="a", kind="U8", shape=(10,), start=100, stop=110)
    other = Tensor(name="a", kind="U8", shape=(10,), start=101, stop=111)
    assert told_by_chunks(chunks, one, chunks, other) == Told(None, [(0, 10)])
    assert told_by_chunks(chunks, one, chunks, one) == Told(True)


def test_a_chunk_that_reaches_beyond_the_tensor_proves_no_change() -> None:
    """What is another may be the neighbour's."""
    old, new = (
        build_chunk_list([(hashlib.sha256(data).digest(), 100)])
        for data in (bytes(100), bytes(99) + b"x")
    )
    tensor = Tensor(name="a", kind="U8", shape=(50,), start=10, stop=60)
    assert told_by_chunks(old, tensor, new, tensor) == Told(None, [(0, 50)])


def test_the_last_byte_of_a_tensor_counts(tmp_path: Path) -> None:
    old, new = (typed({"w": ("U8", [200_000], bytes(199_999) + end)}) for end in (b"a", b"c"))
    value = model(compared(tmp_path, {FILE: old}, {FILE: new}))
    assert only(value["changed"])["max_abs"] == "2.000e+00"


def test_batches_keep_the_order_and_miss_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pairs, "_BATCH_BYTES", 8)
    old = {f"t{n}": ("F32", [1], f32(n)) for n in range(30)}
    new = {f"t{n}": ("F32", [1], f32(n + 1)) for n in range(30)}
    value = model(compared(tmp_path, {FILE: typed(old)}, {FILE: typed(new)}))
    names = [each["name"] for each in value["changed"]]
    assert len(names) == 30
    assert all(one < other for one, other in pairwise(names))

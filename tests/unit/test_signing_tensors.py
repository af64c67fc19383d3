"""Headers of model files: what is in a good one, and that no bytes do more than be refused."""

from __future__ import annotations

import contextlib
import io
import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tensors import safetensors

from signing.tensors import (
    MAX_HEADER_BYTES,
    Header,
    HeaderRefusedError,
    read_gguf,
    read_safetensors,
    reader_for,
)


def headed(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with that header, whatever it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(dtype: str = "F32", shape: Any = (2,), offsets: Any = (0, 8)) -> dict[str, Any]:
    return {"dtype": dtype, "shape": list(shape), "data_offsets": list(offsets)}


def text(words: str | bytes) -> bytes:
    data = words.encode() if isinstance(words, str) else words
    return struct.pack("<Q", len(data)) + data


def gguf(
    pairs: list[bytes] | None = None,
    tensors: list[bytes] | None = None,
    *,
    version: int = 3,
    counts: tuple[int, int] | None = None,
    data: bytes = b"",
) -> bytes:
    pairs, tensors = pairs or [], tensors or []
    numbers = counts or (len(tensors), len(pairs))
    head = b"GGUF" + struct.pack("<IQQ", version, *numbers) + b"".join(pairs) + b"".join(tensors)
    return head + bytes(-len(head) % 32) + data


def gguf_tensor(
    name: str = "w", shape: tuple[int, ...] = (4, 2), kind: int = 2, start: int = 0
) -> bytes:
    sizes = struct.pack(f"<I{len(shape)}Q", len(shape), *shape)
    return text(name) + sizes + struct.pack("<IQ", kind, start)


def read(data: bytes, *, of: str = "x.safetensors") -> Header:
    reader = reader_for(of)
    assert reader is not None
    return reader(io.BytesIO(data), len(data))


class TestSafetensors:
    def test_a_good_one(self) -> None:
        header = read(safetensors({"a": b"x" * 12, "b": b"y" * 3}, note="hello"))
        assert header.format == "safetensors"
        assert header.metadata == {"note": "hello"}
        assert [(each.name, each.kind, each.shape) for each in header.tensors] == [
            ("a", "U8", (12,)), ("b", "U8", (3,)),
        ]  # fmt: skip
        assert header.parameters == 15
        assert [each.stop - each.start for each in header.tensors] == [12, 3]

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"", "a whole header"),
            (b"\x01\x00", "a whole header"),
            (headed({}, length=2**63), "a header of"),
            (headed({}, length=100 * 2**20), "a header of"),
            (headed({}, length=1), "a header of"),
            (headed(b"{" * 100_000), "a JSON object"),
            (headed(b"[" * 100_000), "a JSON object"),
            (headed(b'{"a":' + b"9" * 50_000 + b"}"), "digits"),
            (headed(b"\xff\xfe{}"), "a JSON object"),
            (headed([1]), "a JSON object"),
            (headed({"a": 1}), "an object"),
            (headed(b'{"a":{},"a":{}}'), "stands there twice"),
            (headed({"a": tensor("F33")}, b"x" * 8), "a known dtype"),
            (headed({"a": tensor(shape=[-1])}, b"x" * 8), "whole numbers"),
            (headed({"a": tensor(shape=[True])}, b"x" * 8), "whole numbers"),
            (headed({"a": tensor(shape=[1.5])}, b"x" * 8), "whole numbers"),
            (headed({"a": tensor(shape=[1] * 9)}, b"x" * 8), "whole numbers"),
            (headed({"a": tensor(offsets=[0])}, b"x" * 8), "whole numbers"),
            (headed({"a": tensor(offsets=[0, 9])}, b"x" * 8), "data within the file"),
            (headed({"a": tensor(offsets=[8, 0])}, b"x" * 8), "data within the file"),
            (headed({"a": tensor(shape=[3])}, b"x" * 8), "as many bytes"),
            (headed({"a": tensor(shape=[2**62, 2**62])}, b"x" * 8), "as many bytes"),
            (headed({"a": tensor(), "b": tensor(offsets=[4, 12])}, b"x" * 12), "do not overlap"),
            (headed({str(at): {} for at in range(100_001)}), "at most 100000 tensors"),
            (headed({"a" * 2000: tensor()}, b"x" * 8), "an object"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_does_not_hold_is_refused_with_a_reason(self, data: bytes, why: str) -> None:
        with pytest.raises(HeaderRefusedError, match=why):
            read(data)

    def test_metadata_is_cut_to_what_can_be_shown(self) -> None:
        header = read(headed({"__metadata__": {"k": "v" * 10_000, "n": [[1]]}}))
        assert header.metadata == {"k": "v" * 300, "n": "list"}

    @given(st.binary(max_size=300))
    def test_no_bytes_do_more_than_be_refused(self, data: bytes) -> None:
        for of in ("x.safetensors", "x.gguf"):
            for each in (data, headed(data), b"GGUF\x03\x00\x00\x00" + data):
                with contextlib.suppress(HeaderRefusedError):
                    read(each, of=of)


class TestGguf:
    def test_a_good_one(self) -> None:
        pairs = [
            text("general.name") + struct.pack("<I", 8) + text("darija"),
            text("layers") + struct.pack("<II", 4, 12),
            text("vocabulary") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text("b"),
            text("nested") + struct.pack("<IIQIQ3B", 9, 9, 1, 0, 3, 1, 2, 3),
            text("flag") + struct.pack("<I?", 7, True),
        ]
        made = gguf(pairs, [gguf_tensor(), gguf_tensor("v", (3,), 99, 32)], data=bytes(40))
        header = read(made, of="x.GGUF")
        assert header.metadata == {
            "general.name": "darija", "layers": "12", "vocabulary": "2 values",
            "nested": "1 values", "flag": "True",
        }  # fmt: skip
        assert [(each.name, each.kind, each.shape) for each in header.tensors] == [
            ("w", "Q4_0", (4, 2)), ("v", "type 99", (3,)),
        ]  # fmt: skip
        assert [(each.start, each.stop) for each in header.tensors] == [
            (len(made) - 40, len(made) - 8), (len(made) - 8, len(made)),
        ]  # fmt: skip
        assert header.parameters == 11

    def test_its_values_in_full_where_they_are_asked_for(self) -> None:
        pairs = [
            text("template") + struct.pack("<I", 8) + text("x" * 5000),
            text("tokens") + struct.pack("<IIQ", 9, 8, 2) + text("a") + text(b"\xff"),
            text("types") + struct.pack("<IIQ2i", 9, 5, 2, 1, -3),
        ]
        data = gguf(pairs)
        assert read_gguf(io.BytesIO(data), len(data), values=True).values == {
            "template": "x" * 5000, "tokens": ["a", "\\xff"], "types": [1, -3],
        }  # fmt: skip
        twice = gguf([text("k") + struct.pack("<I", 8) + text(each) for each in "ab"])
        with pytest.raises(HeaderRefusedError, match="twice"):
            read_gguf(io.BytesIO(twice), len(twice), values=True)

    @pytest.mark.parametrize(
        ("data", "why"),
        [
            (b"GGML" + bytes(20), "GGUF of version"),
            (gguf(version=1), "GGUF of version"),
            (gguf(version=3)[:10], "header"),
            (gguf(counts=(2**63, 0)), "at most"),
            (gguf(counts=(0, 2**63)), "at most"),
            (gguf(counts=(5, 0)), "header"),
            (gguf([text(b"k" * 2000)]), "a name of at most"),
            (gguf([struct.pack("<Q", 2**63)]), "a name of at most"),
            (gguf([text("k") + struct.pack("<I", 77)]), "known type"),
            (gguf([text("k") + struct.pack("<IQ", 8, 2**62)]), "header"),
            (gguf([text("k") + struct.pack("<IIQ", 9, 8, 2**62)]), "array within"),
            (gguf([text("k") + struct.pack("<IIQ", 9, 4, 2**62)]), "header"),
            (gguf([text("k") + struct.pack("<IIQIQIQ", 9, 9, 1, 9, 1, 9, 1)]), "known type"),
            (gguf([], [text("t") + struct.pack("<I", 2**31)]), "dimensions"),
            (gguf([], [gguf_tensor(shape=(2**62, 2**62))]), "numbers"),
            (gguf([], [gguf_tensor(start=64)]), "data within the file"),
            (gguf([text("general.alignment") + struct.pack("<II", 4, 0)]), "an alignment"),
        ],
        ids=lambda value: value if isinstance(value, str) else "",
    )
    def test_what_does_not_hold_is_refused_with_a_reason(self, data: bytes, why: str) -> None:
        with pytest.raises(HeaderRefusedError, match=why):
            read(data, of="x.gguf")

    def test_no_more_is_read_than_a_header_may_have(self) -> None:
        class Endless:
            given = 0

            def read(self, size: int) -> bytes:
                start = gguf([text("k") + struct.pack("<IIQ", 9, 0, 2**40)])
                data = (start + bytes(size))[:size] if not self.given else bytes(size)
                self.given += size
                return data

        endless = Endless()
        with pytest.raises(HeaderRefusedError, match="header"):
            read_gguf(endless, 2**50)
        assert endless.given <= 2 * MAX_HEADER_BYTES

    def test_an_array_of_tiny_texts_ends(self) -> None:
        count = 50_000
        data = gguf([text("k") + struct.pack("<IIQ", 9, 8, count) + text("") * count])
        assert read(data, of="x.gguf").metadata == {"k": f"{count} values"}


def test_other_files_have_no_reader() -> None:
    assert reader_for("model.bin") is None
    assert read_safetensors is reader_for("A.SafeTensors")

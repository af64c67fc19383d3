"""Formats that execute code on loading are told by their bytes; what only holds data is not taken
for one."""

from __future__ import annotations

import gzip
import pickle

import pytest
from hostile_models import MARKER, PICKLES, keras, npy, zipped
from hypothesis import given
from hypothesis import strategies as st

from signing.formats import FORMATS, executable, how_to_convert


def look(data: bytes) -> str | None:
    found = executable(lambda at, count: data[at : at + count], len(data))
    return None if found is None else found.format


@pytest.mark.parametrize("case", sorted(PICKLES))
def test_a_pickle_is_told_however_it_is_wrapped(case: str) -> None:
    assert look(PICKLES[case]) == "pickle"
    assert not MARKER.exists()


def test_a_keras_layer_with_code_is_told() -> None:
    assert look(keras()) == "keras-lambda"
    assert look(zipped({"config.json": b'{"class_name": "L\\u0061mbda"}'})) == "keras-lambda"
    assert look(keras("Dense")) is None


TEXTS = {
    "vocabulary": b"cat\ndog\nRun\nbird\n",
    "one-word": b"charset_normalizer\n",
    "release-notes": b"Git v2.35.4 Release Notes\n=========================\n",
    "readme": b"The model\n\n(c) a\nI am.\n",
    "source": b"import os\nimport sys\nclass A:\n    pass\n",
    "json": b'{"a": [1, 2.5]}',
    "empty": b"",
    "zeros": b"\0" * 100_000,
    "dots": b"." * 5000,
    "numpy-floats": npy(b"\0" * 8, "'<f8'"),
    "zip-of-texts": zipped({"a.txt": b"cat\ndog\n", "b.bin": b"\x80\x81\x82"}),
    "gzip-of-a-text": gzip.compress(b"The words\n" * 500_000),
}


@pytest.mark.parametrize("case", sorted(TEXTS))
def test_what_only_holds_data_is_not(case: str) -> None:
    assert look(TEXTS[case]) is None


def test_only_what_matters_is_read() -> None:
    read = 0
    size = 2**31

    def read_at(at: int, count: int) -> bytes:
        nonlocal read
        data = bytes(min(count, max(0, size - at)))
        read += len(data)
        return data

    assert executable(read_at, size) is None
    assert read < 2**20


@given(st.binary(max_size=300))
def test_no_bytes_make_it_fail(data: bytes) -> None:
    look(data)
    look(b"\x80\x04" + data)
    look(b"PK\x03\x04" + data + b"PK\x05\x06" + data[:18])


@given(st.recursive(st.none() | st.integers() | st.text(), st.lists, max_leaves=10))
def test_every_pickle_of_a_binary_protocol_is_told(value: object) -> None:
    for protocol in range(2, 6):
        assert look(pickle.dumps(value, protocol)) == "pickle"


@pytest.mark.parametrize("kind", FORMATS)
def test_the_way_out_is_said(kind: str) -> None:
    assert "safetensors" in how_to_convert(kind)

"""Hostile models, made by the tests. Nothing here is ever loaded; were it, a file would appear
(`MARKER`), and a test says that none does."""

from __future__ import annotations

import bz2
import gzip
import io
import json
import lzma
import os
import pickle
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path

MARKER = Path(tempfile.gettempdir()) / f"forge-test-payload-ran-{os.getuid()}"


class Payload:
    """What it pickles to makes `MARKER` when it is loaded."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {MARKER}",)


def zipped(members: Mapping[str, bytes], method: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", method) as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return buffer.getvalue()


def tarred(members: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as archive:
        for name, data in members.items():
            item = tarfile.TarInfo(name)
            item.size = len(data)
            archive.addfile(item, io.BytesIO(data))
    return buffer.getvalue()


def torch_zip(weights: bytes = b"\0" * 64) -> bytes:
    """As PyTorch's `torch.save` lays it out."""
    return zipped(
        {
            "archive/data.pkl": pickle.dumps(Payload(), 2),
            "archive/byteorder": b"little",
            "archive/data/0": weights,
            "archive/version": b"3\n",
        }
    )


def npy(payload: bytes, descr: str = "'|O'") -> bytes:
    """A NumPy file of format 1.0 (numpy.lib.format)."""
    header = f"{{'descr': {descr}, 'fortran_order': False, 'shape': (1,), }}".encode()
    header += b" " * (-(len(header) + 11) % 64) + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + payload


def through_memo() -> bytes:
    """STACK_GLOBAL whose names come out of the memo, as no pickler writes it."""
    command = f"touch {MARKER}".encode()
    return (
        b"\x80\x04\x8c\x06system\x94\x8c\x05posix\x9400h\x01h\x00\x93\x8c"
        + bytes([len(command)]) + command + b"\x85R."
    )  # fmt: skip


def encrypted_flag(data: bytes) -> bytes:
    """The flag for encryption is set and nothing is encrypted: `zipfile` refuses, PyTorch does
    not look."""
    changed = bytearray(data)
    for magic, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        place = changed.find(magic)
        while place >= 0:
            changed[place + at] |= 1
            place = changed.find(magic, place + 4)
    return bytes(changed)


def other_local_name(data: bytes) -> bytes:
    """The local header calls the first member otherwise than the directory does."""
    at = data.index(b"PK\x03\x04") + 30
    return data[:at] + b"Z" + data[at + 1 :]


def keras(layer: str = "Lambda") -> bytes:
    config = {"class_name": "Sequential", "config": {"layers": [{"class_name": layer}]}}
    return zipped({"config.json": json.dumps(config).encode(), "metadata.json": b"{}"})


PICKLES: Mapping[str, bytes] = {
    **{f"protocol-{number}": pickle.dumps(Payload(), number) for number in range(6)},
    "torch-zip": torch_zip(),
    "torch-zip-deflated": zipped(
        {"a/data.pkl": pickle.dumps(Payload(), 2)}, zipfile.ZIP_DEFLATED
    ),
    "torch-tar": tarred({"sys_info": b"", "pickle": pickle.dumps(Payload(), 2)}),
    "no-name-in-zip": zipped({"weights": pickle.dumps(Payload(), 2)}),
    "zip-in-zip": zipped({"model": torch_zip()}),
    "zip-behind-something": b"\x7fELF" * 100 + torch_zip(),
    "zip-without-directory": torch_zip()[:400],
    "zip-encrypted-flag": encrypted_flag(torch_zip()),
    "zip-other-local-name": other_local_name(torch_zip()),
    "joblib-zlib": zlib.compress(pickle.dumps(Payload(), 4)),
    "joblib-gzip": gzip.compress(pickle.dumps(Payload(), 4), mtime=0),
    "joblib-bz2": bz2.compress(pickle.dumps(Payload(), 4)),
    "joblib-xz": lzma.compress(pickle.dumps(Payload(), 4)),
    "joblib-lzma": lzma.compress(pickle.dumps(Payload(), 4), format=lzma.FORMAT_ALONE),
    "numpy-objects": npy(pickle.dumps(Payload(), 3)),
    "numpy-structured-objects": npy(pickle.dumps(Payload(), 3), "[('a', '<f4'), ('b', '|O')]"),
    "numpy-in-npz": zipped({"a.npy": npy(pickle.dumps(Payload(), 3))}),
    "nested-pickle": pickle.dumps({"inner": pickle.dumps(Payload(), 2)}, 4),
    "through-memo": through_memo(),
    "text-first": b"V" + b"a" * 9000 + b"\n0" + pickle.dumps(Payload(), 0),
    "text-not-ascii": b"\x80\x02S'\xff\xfe'\n0cposix\nsystem\n(S'touch "
    + str(MARKER).encode() + b"'\ntR.",
    "broken-behind-the-payload": pickle.dumps(Payload(), 2)[:-1] + b"\xff\xff",
}  # fmt: skip
"""Each holds a payload that `pickle`, PyTorch, joblib or NumPy would run, except ``nested-pickle``,
which only a program that loads twice runs."""


def headed(header: object, data: bytes = b"", *, length: int | None = None) -> bytes:
    """A safetensors file with that header, whatever it is."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def tensor(start: int = 0, stop: int = 8, shape: tuple[int, ...] = (2,)) -> dict[str, object]:
    return {"dtype": "F32", "shape": list(shape), "data_offsets": [start, stop]}


def gguf(template: str) -> bytes:
    """A GGUF file of version 3 with no tensors and one chat template (ggml, docs/gguf.md)."""

    def text(words: str) -> bytes:
        return struct.pack("<Q", len(words.encode())) + words.encode()

    pair = text("tokenizer.chat_template") + struct.pack("<I", 8) + text(template)
    return b"GGUF" + struct.pack("<IQQ", 3, 0, 1) + pair


def _field(number: int, data: bytes) -> bytes:
    length, size = b"", len(data)
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def onnx(location: str, *, in_attribute: bool = False) -> bytes:
    """A model whose one tensor lies in another file (onnx.proto3)."""
    pair = _field(1, b"location") + _field(2, location.encode())
    tensor_ = _field(8, b"w") + _field(13, pair)
    if in_attribute:
        return _field(7, _field(1, _field(5, _field(5, tensor_))))
    return _field(7, _field(5, tensor_))


def linked(kind: bytes, name: str = "a", target: str = "/etc/passwd") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        item = tarfile.TarInfo(name)
        item.type, item.linkname = kind, target
        archive.addfile(item)
    return buffer.getvalue()


def _twice() -> bytes:
    buffer = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(buffer, "w") as archive:
        warnings.simplefilter("ignore")
        archive.writestr(zipfile.ZipInfo("a"), b"1")
        archive.writestr(zipfile.ZipInfo("a"), b"2")
    return buffer.getvalue()


_ZIP = zipped({"a": b"1"})
OTHERS: Mapping[str, tuple[str, str, bytes]] = {
    "safetensors-overlap": ("safetensors", "m.safetensors", headed(
        {"a": tensor(), "b": tensor(4, 12)}, bytes(12)
    )),
    "safetensors-beyond-the-end": ("safetensors", "m.safetensors", headed({"a": tensor(0, 800)})),
    "safetensors-overflow": ("safetensors", "m.safetensors", headed(
        {"a": tensor(shape=(2**32, 2**32))}, bytes(8)
    )),
    "safetensors-header-of-100-MB": ("safetensors", "m.safetensors", headed(
        b"{}", length=100_000_000
    )),
    "safetensors-name-twice": ("safetensors", "m.safetensors", headed(b'{"a": {}, "a": {}}')),
    "safetensors-deep-json": ("safetensors", "m.safetensors", headed(b"[" * 100_000)),
    "gguf-template": ("gguf", "m.gguf", gguf(
        "{{ cycler.__init__.__globals__.os.popen('id').read() }}"
    )),
    "gguf-endless-count": ("gguf", "m.gguf", b"GGUF" + struct.pack("<IQQ", 3, 2**60, 1)),
    "onnx-parent-folder": ("onnx", "m.onnx", onnx("../../etc/passwd")),
    "onnx-absolute": ("onnx", "m.onnx", onnx("/etc/passwd")),
    "onnx-in-attribute": ("onnx", "m.onnx", onnx("../x", in_attribute=True)),
    "onnx-broken": ("onnx", "m.onnx", b"\xff" * 40),
    "keras-lambda": ("formats", "m.keras", keras()),
    "hdf5": ("formats", "m.h5", b"\x89HDF\r\n\x1a\n" + bytes(100)),
    "unknown": ("formats", "m.bin", bytes(range(256))),
    "zip-traversal": ("archives", "a.zip", zipped({"../a": b"1"})),
    "zip-backslash-drive": ("archives", "a.zip", zipped({"C:\\a": b"1"})),
    "zip-duplicate": ("archives", "a.zip", _twice()),
    "zip-case-duplicate": ("archives", "a.zip", zipped({"a": b"1", "A": b"2"})),
    "zip-bomb": ("archives", "a.zip", zipped({"a": bytes(2**23)}, zipfile.ZIP_DEFLATED)),
    "zip-local-name": ("archives", "a.zip", other_local_name(_ZIP)),
    "zip-trailing": ("archives", "a.zip", _ZIP + b"trailing"),
    "zip-two-ends": ("archives", "a.zip", _ZIP + _ZIP),
    "zip-nested": ("archives", "a.zip", zipped({"b.zip": _ZIP})),
    "zip-no-directory": ("archives", "a.zip", _ZIP[:40]),
    "zip-encrypted-flag": ("archives", "a.zip", encrypted_flag(_ZIP)),
    "tar-symbolic-link": ("archives", "a.tar", linked(tarfile.SYMTYPE)),
    "tar-hard-link": ("archives", "a.tar", linked(tarfile.LNKTYPE)),
    "tar-device": ("archives", "a.tar", linked(tarfile.CHRTYPE)),
    "tar-fifo": ("archives", "a.tar", linked(tarfile.FIFOTYPE)),
    "tar-absolute": ("archives", "a.tar", tarred({"/a": b"1"})),
    "tar-cut": ("archives", "a.tar.gz", gzip.compress(tarred({"a": b"1"}), mtime=0)[:-20]),
    "secret-key": ("secrets", "a.txt", b"AKIA" + b"A" * 16),
    "licence-differs": ("licence", "LICENSE", b"Permission is hereby granted, free of charge, to "
        b"any person, without restriction"),
}  # fmt: skip
"""``{case: (scanner, path, bytes)}``: none of these is clean."""

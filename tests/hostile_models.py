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
    "broken-behind-the-payload": pickle.dumps(Payload(), 2)[:-1] + b"\xff\xff",
}  # fmt: skip
"""Each holds a payload that `pickle`, PyTorch, joblib or NumPy would run, except ``nested-pickle``,
which only a program that loads twice runs."""

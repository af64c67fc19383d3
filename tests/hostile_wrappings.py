"""Wrappings that hide a payload from who reads formats more strictly than loaders do. Each was a
way past `signing.formats` once. As in `hostile_models` nothing here is ever loaded."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
import pickle
import struct
import zipfile
import zlib
from collections.abc import Mapping

from hostile_models import Payload, npy, tarred, torch_zip, zipped

_TEXT = pickle.dumps(Payload(), 0)
_BINARY = pickle.dumps(Payload(), 2)
_MODEL = {"class_name": "Sequential", "config": {"layers": [{"class_name": "Lambda"}]}}

NUMBERS: Mapping[str, bytes] = {
    "blank": b"I 1\n",
    "octal": b"I0o17\n",
    "octal-of-c": b"I017\n",
    "nul": b"I1\0anything\n",
    "infinity": b"Finfinity\n",
    "long-blank": b"L 1L\n",
    "underscore": b"L1_0L\n",
}
"""Opcodes whose number `pickle` reads, although no pickler writes it so."""


def two_directories() -> bytes:
    """Python takes the directory right before the end record, readers in C the one at the offset
    that the record says."""

    def cut(data: bytes) -> tuple[bytes, bytes]:
        end = data.rfind(b"PK\x05\x06")
        size, offset = struct.unpack("<II", data[end + 12 : end + 20])
        return data[:offset], data[offset : offset + size]

    (good, shown), (evil, hidden) = (
        cut(zipped({"good": b"numbers"})),
        cut(zipped({"evil": _BINARY})),
    )
    body = evil + hidden + good
    shift = len(body) - len(evil)
    first = (len(evil) + len(hidden) - shift) & 0xFFFFFFFF
    shown = shown[:42] + struct.pack("<I", first) + shown[46:]
    record = struct.pack("<HHHHIIH", 0, 0, 1, 1, len(shown), len(evil), 0)
    return body + shown + b"PK\x05\x06" + record


def large_directory() -> bytes:
    """More than 16 MiB of comments before the entry that matters, behind bytes of no archive."""
    name = b"n"
    entry = b"PK\x01\x02" + bytes(24) + struct.pack("<HHH", len(name), 0, 65535) + bytes(12)
    padding = (entry + name + bytes(65535)) * 260
    data = zipped({"evil": _BINARY})
    end = data.rfind(b"PK\x05\x06")
    size, start = struct.unpack("<II", data[end + 12 : end + 20])
    directory = padding + data[start : start + size]
    record = struct.pack("<HHHHIIH", 0, 0, 261, 261, len(directory), start, 0)
    return b"PK\x03\x04 no member" + data[:start] + directory + b"PK\x05\x06" + record


def _tar(change: Mapping[int, bytes]) -> bytes:
    """A tar whose header has other bytes at the places of ``change``, and a checksum that fits."""
    data = bytearray(tarred({"pickle": _BINARY}))
    for at, new in {**change, 148: b" " * 8}.items():
        data[at : at + len(new)] = new
    data[148:156] = b"%06o\0 " % sum(data[:512])
    return bytes(data)


def _wide_header() -> bytes:
    header = b"{" + b" " * 70_000 + b"'descr': '|O', 'fortran_order': False, 'shape': (1,), }\n"
    return b"\x93NUMPY\x02\x00" + struct.pack("<I", len(header)) + header + _BINARY


def _narrow_lzma() -> bytes:
    filters = [{"id": lzma.FILTER_LZMA1, "dict_size": 4096}]
    return lzma.compress(_BINARY, format=lzma.FORMAT_ALONE, filters=filters)


def _wide_xz() -> bytes:
    return lzma.compress(_BINARY, filters=[{"id": lzma.FILTER_LZMA2, "dict_size": 2**28}])


def _many_arrays() -> bytes:
    first = {f"{number}.npy": npy(b"\0" * 4, "'<i4'") for number in range(600)}
    return zipped({**first, "last.npy": npy(_BINARY)})


WRAPPINGS: Mapping[str, bytes] = {
    **{f"number-{name}": line + b"0" + _TEXT for name, line in NUMBERS.items()},
    "number-in-binary": b"\x80\x02I 1\n0" + _BINARY[2:],
    "text-with-blanks": b"\x80\x02S'a' \t\n0" + _BINARY[2:],
    "text-of-escapes": rb"S'\xff'" + b"\n0" + _TEXT,
    "memo-blank": b"I1\np 1\n0" + _TEXT,
    "gzip-second-stream": gzip.compress(b"", mtime=0) + gzip.compress(_BINARY, mtime=0),
    "bzip2-second-stream": bz2.compress(b"") + bz2.compress(_BINARY),
    "xz-second-stream": lzma.compress(b"") + lzma.compress(_BINARY),
    "lzma-small-dictionary": _narrow_lzma(),
    "xz-large-dictionary": _wide_xz(),
    "joblib-zf": b"ZF" + hex(len(_BINARY)).encode().ljust(19) + zlib.compress(_BINARY),
    "numpy-object": npy(_BINARY, "'object'"),
    "numpy-comma": npy(_BINARY, "'i4,O'"),
    "numpy-escape": npy(_BINARY, r"'\x4f'"),
    "numpy-joined": npy(_BINARY, "'|' 'O'"),
    "numpy-long-number": npy(_BINARY, "'|O', 'x': 1L"),
    "numpy-wide-header": _wide_header(),
    "npz-many": _many_arrays(),
    "zip-bzip2": zipped({"a.npy": npy(_BINARY)}, zipfile.ZIP_BZIP2),
    "zip-lzma": zipped({"a.npy": npy(_BINARY)}, zipfile.ZIP_LZMA),
    "zip-two-directories": two_directories(),
    "zip-large-directory": large_directory(),
    "tar-binary-length": _tar({124: b"\x80" + len(_BINARY).to_bytes(11, "big")}),
    "tar-length-and-nul": _tar({124: (b"%o\0" % len(_BINARY)).ljust(12, b"z")}),
    "tar-without-magic": _tar({257: bytes(8)}),
    "zip-in-tar": tarred({"weights.ckpt": torch_zip(), "padding": bytes(200_000)}),
    "pickle-before-zip": _BINARY + zipped({"a": pickle.dumps([1, 2], 2)}),
    "second-pickle-of-protocol-0": pickle.dumps([1], 2) + _TEXT,
}

KERAS: Mapping[str, bytes] = {
    "function": zipped({"config.json": b'{"activation": {"class_name": "__lambda__"}}'}),
    "far-behind": zipped(
        {"config.json": json.dumps({"padding": "x" * 2**21, **_MODEL}).encode()},
        zipfile.ZIP_DEFLATED,
    ),
    "utf-16": zipped({"config.json": json.dumps(_MODEL).encode("utf-16")}),
    "hdf5": b"\x89HDF\r\n\x1a\n" + bytes(500) + json.dumps(_MODEL).encode(),
    "hdf5-behind-a-block": bytes(1024) + b"\x89HDF\r\n\x1a\n" + json.dumps(_MODEL).encode(),
    "hdf5-escaped": b'\x89HDF\r\n\x1a\n{"cl\\u0061ss_name": "L\\u0061mbd\\u0061"}',
}

"""Safetensors files made for tests, and their chunk lists."""

from __future__ import annotations

import io
import json
import random
from collections.abc import Iterable, Mapping, Sequence

from forge_cli.chunking import cut
from signing.chunks import ChunkList


def tensors(seed: int, count: int = 40, size: int = 512 << 10) -> dict[str, bytes]:
    """``count`` random tensors, the same ones for the same ``seed``."""
    source = random.Random(seed)
    return {f"layer.{number}": source.randbytes(size) for number in range(count)}


def replaced(old: dict[str, bytes], names: Iterable[str], seed: int = 99) -> dict[str, bytes]:
    """``old`` with other values in the tensors ``names``."""
    source = random.Random(seed)
    return old | {name: source.randbytes(len(old[name])) for name in names}


def safetensors(values: dict[str, bytes], note: str = "") -> bytes:
    """The file with these tensors in order; ``note`` makes the header longer."""
    return typed({name: ("U8", [len(data)], data) for name, data in values.items()}, note)


def typed(values: Mapping[str, tuple[str, Sequence[int], bytes]], note: str = "") -> bytes:
    """The file with these ``{name: (dtype, shape, data)}``."""
    header: dict[str, object] = {"__metadata__": {"note": note}} if note else {}
    at = 0
    for name, (kind, shape, data) in values.items():
        offsets = [at, at + len(data)]
        header[name] = {"dtype": kind, "shape": list(shape), "data_offsets": offsets}
        at += len(data)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + b"".join(each[2] for each in values.values())


def chunks_of(data: bytes, average: int | None = None) -> ChunkList:
    """The chunk list of ``data``, which must have one."""
    found = cut(io.BytesIO(data), len(data), average=average)
    assert found is not None
    return found

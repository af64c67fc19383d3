"""Model formats that hold data alone, where headers keep the rules: safetensors, GGUF, ONNX."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import PurePosixPath
from typing import BinaryIO, Final

from signing.tensors import Header, HeaderRefusedError, read_gguf, read_safetensors

from .base import (
    CLEAN,
    CRITICAL,
    FINDINGS,
    HIGH,
    MEDIUM,
    NOT_SCANNED,
    Answer,
    FoundItem,
    Target,
    limited,
)

_MAX_PROTO_DEPTH: Final = 32
_MAX_PROTO_FIELDS: Final = 2_000_000
# What a chat template has no need of, and an escape from a sandbox of Jinja's has.
_TEMPLATE: Final = re.compile(
    r"__\w+__|\bmro\b|\bsubclasses\b|\bglobals\b|\bbuiltins\b|\bimport\b|\bpopen\b|\bos\.|\beval\b"
    r"|\|\s*attr\b|\\x5f|\bcycler\b|\blipsum\b|\bjoiner\b"
)


class _Headers:
    """What the readers of headers refuse is a finding: other readers may not refuse it."""

    version = "1"
    header_only = True
    name = ""

    def _read(self, file: BinaryIO, size: int) -> Header:
        raise NotImplementedError

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        try:
            header = self._read(file, target.file.size)
        except HeaderRefusedError as error:
            item = FoundItem(
                rule="header", severity=HIGH, title=limited(str(error)), path=target.file.path
            )
            return Answer(state=FINDINGS, items=[item])
        items = list(self._look(header, target))
        facts = {"tensors": len(header.tensors)}
        return Answer(state=FINDINGS if items else CLEAN, items=items, facts=facts)

    def _look(self, header: Header, target: Target) -> Iterator[FoundItem]:
        yield from ()


class Safetensors(_Headers):
    name = "safetensors"

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        return path.lower().endswith(".safetensors")

    def _read(self, file: BinaryIO, size: int) -> Header:
        return read_safetensors(file, size)


class Gguf(_Headers):
    name = "gguf"

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        return head.startswith(b"GGUF") or path.lower().endswith(".gguf")

    def _read(self, file: BinaryIO, size: int) -> Header:
        return read_gguf(file, size, values=True)

    def _look(self, header: Header, target: Target) -> Iterator[FoundItem]:
        for key, value in header.values.items():
            if not key.startswith("tokenizer.chat_template"):
                continue
            for each in value if isinstance(value, list) else [value]:
                found = _TEMPLATE.search(str(each))
                if found is not None:
                    yield FoundItem(
                        rule="template",
                        severity=CRITICAL,
                        title=limited(f"the chat template reaches for {found.group()!r}"),
                        path=target.file.path,
                        location=limited(key),
                    )


class Onnx:
    """Where the external data of an ONNX model are (onnx.proto3: ModelProto.graph = 7,
    GraphProto.initializer = 5, TensorProto.external_data = 13, StringStringEntryProto key = 1 and
    value = 2). Every message is walked, since tensors hide in attributes too."""

    name = "onnx"
    version = "1"
    header_only = False

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        return path.lower().endswith(".onnx")

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        walk = _Proto(file, target.file.size)
        try:
            walk.model()
        except _NotProtoError as error:
            return Answer(state=NOT_SCANNED, detail=f"no ONNX that is understood: {error}")
        items = [
            FoundItem(
                rule="external-data",
                severity=CRITICAL,
                title=limited(f"data outside the model: {place!r}"),
                path=target.file.path,
                location=limited(place),
            )
            for place in sorted(walk.places)
            if not _is_inside(place)
        ]
        items += [
            FoundItem(
                rule="custom-operators",
                severity=MEDIUM,
                title=limited(f"operators that a library of its own must bring: {domain!r}"),
                path=target.file.path,
                location=limited(domain),
            )
            for domain in sorted(walk.domains)
        ]
        facts = {"external": sorted(walk.places)[:100]}
        return Answer(state=FINDINGS if items else CLEAN, items=items, facts=facts)


def _is_inside(place: str) -> bool:
    parts = PurePosixPath(place.replace("\\", "/")).parts
    return bool(parts) and parts[0] not in ("/", "~") and ".." not in parts and ":" not in place


class _NotProtoError(Exception):
    pass


class _Proto:
    """A walk over the fields of protocol buffers' wire format (protobuf.dev/programming-guides/
    encoding). Tensors' own bytes are passed over."""

    _KNOWN: Final = ("", "ai.onnx", "ai.onnx.ml", "ai.onnx.training", "ai.onnx.preview.training")

    def __init__(self, file: BinaryIO, size: int) -> None:
        self._file, self._size = file, size
        self._left = _MAX_PROTO_FIELDS
        self.places: set[str] = set()
        self.domains: set[str] = set()

    def model(self) -> None:
        seen = 0
        for number, start, length in self._fields(0, self._size):
            seen |= 1 << number if number < 64 else 0
            if number == 7 and length is not None:
                self._graph(start, start + length, 0)
            elif number == 25 and length is not None:  # local functions have nodes too
                self._nodes(start, start + length, 7, 0)
            elif number == 8 and length is not None:
                self._opset(start, start + length)
        if not seen & (1 << 7):
            raise _NotProtoError("no graph")

    def _opset(self, start: int, stop: int) -> None:
        for number, at, length in self._fields(start, stop):
            if number == 1 and length is not None:
                domain = self._text(at, length)
                if domain not in self._KNOWN:
                    self.domains.add(domain)

    def _graph(self, start: int, stop: int, depth: int) -> None:
        if depth > _MAX_PROTO_DEPTH:
            raise _NotProtoError("graphs in graphs, too deep")
        for number, at, length in self._fields(start, stop):
            if length is None:
                continue
            if number == 1:
                self._node(at, at + length, depth)
            elif number == 5:
                self._tensor(at, at + length)
            elif number == 15:  # SparseTensorProto: values = 1, indices = 2
                for inner, place, size in self._fields(at, at + length):
                    if inner in (1, 2) and size is not None:
                        self._tensor(place, place + size)

    def _nodes(self, start: int, stop: int, field: int, depth: int) -> None:
        for number, at, length in self._fields(start, stop):
            if number == field and length is not None:
                self._node(at, at + length, depth)

    def _node(self, start: int, stop: int, depth: int) -> None:
        for number, at, length in self._fields(start, stop):
            if number == 5 and length is not None:
                self._attribute(at, at + length, depth)

    def _attribute(self, start: int, stop: int, depth: int) -> None:
        """AttributeProto: t = 5, g = 6, tensors = 10, graphs = 11, sparse 22 and 23."""
        for number, at, length in self._fields(start, stop):
            if length is None:
                continue
            if number in (5, 10):
                self._tensor(at, at + length)
            elif number in (6, 11):
                self._graph(at, at + length, depth + 1)
            elif number in (22, 23):
                for inner, place, size in self._fields(at, at + length):
                    if inner in (1, 2) and size is not None:
                        self._tensor(place, place + size)

    def _tensor(self, start: int, stop: int) -> None:
        for number, at, length in self._fields(start, stop):
            if number == 13 and length is not None:
                pair = {
                    inner: self._text(place, size)
                    for inner, place, size in self._fields(at, at + length)
                    if inner in (1, 2) and size is not None
                }
                if pair.get(1) == "location":
                    self.places.add(pair.get(2, ""))

    def _text(self, at: int, length: int) -> str:
        if length > 4096:
            raise _NotProtoError("a text that is too long")
        return self._at(at, length).decode("utf-8", "backslashreplace")

    def _at(self, at: int, length: int) -> bytes:
        self._file.seek(at)
        return self._file.read(length)

    def _fields(self, start: int, stop: int) -> Iterator[tuple[int, int, int | None]]:
        """``(number, start, length)`` of each field; length is None where it is a number."""
        at = start
        while at < stop:
            self._left -= 1
            if self._left < 0:
                raise _NotProtoError("too many fields")
            key, at = self._varint(at, stop)
            number, wire = key >> 3, key & 7
            if wire == 0:
                _, at = self._varint(at, stop)
                yield number, at, None
            elif wire in (1, 5):
                at += 8 if wire == 1 else 4
                yield number, at, None
            elif wire == 2:
                length, at = self._varint(at, stop)
                if at + length > stop:
                    raise _NotProtoError("a field that leaves its message")
                yield number, at, length
                at += length
            else:
                raise _NotProtoError(f"wire type {wire}")
        if at != stop:
            raise _NotProtoError("a message that ends within a field")

    def _varint(self, at: int, stop: int) -> tuple[int, int]:
        data = self._at(at, min(10, stop - at))
        value = 0
        for place, byte in enumerate(data):
            value |= (byte & 127) << 7 * place
            if byte < 128:
                return value, at + place + 1
        raise _NotProtoError("a number without end")

"""Secrets in text files, and which files nobody understands."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from itertools import islice
from typing import BinaryIO, Final

from signing.formats import executable

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
from .slim import reading

_MAX_TEXT: Final = 2**28
_WINDOW: Final = 2**20
_OVERLAP: Final = 1024  # bytes, more than any pattern needs
_PATTERNS: Final[Mapping[str, tuple[str, re.Pattern[str]]]] = {
    "private-key": (CRITICAL, re.compile(
        r"-----BEGIN (?:[A-Z0-9]+ )*PRIVATE KEY(?: BLOCK)?-----\s+[A-Za-z0-9+/=]{16}"
    )),
    "aws-key": (HIGH, re.compile(r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b")),
    "github-token": (HIGH, re.compile(r"\b(?:gh[pousr]_\w{36,255}|github_pat_\w{22,255})\b")),
    "huggingface-token": (HIGH, re.compile(r"\bhf_[A-Za-z]{34,}\b")),
    "forge-token": (HIGH, re.compile(r"\bforge_[A-Za-z0-9_-]{40,}\b")),
    "slack-token": (HIGH, re.compile(r"\bxox[abprs]-[0-9A-Za-z-]{20,}")),
    "google-key": (HIGH, re.compile(r"\bAIza[\w-]{35}\b")),
    "openai-key": (HIGH, re.compile(r"\bsk-(?:proj-|ant-)?[\w-]{32,}\b")),
    "password-in-url": (MEDIUM, re.compile(r"\b[a-z][a-z0-9+.-]{2,20}://[^\s/:@]{1,64}:[^\s/@]{6,64}@")),
}  # fmt: skip


class Secrets:
    """Small patterns of things that are secret by their form. The secret itself is not repeated in
    the finding: reports are public."""

    name = "secrets"
    version = "1"
    header_only = False

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        return size > 0 and _is_text(head)

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        if target.file.size > _MAX_TEXT:
            return Answer(state=NOT_SCANNED, detail=f"a text of more than {_MAX_TEXT} bytes")
        items: dict[str, FoundItem] = {}
        line, kept = 1, b""
        while part := file.read(_WINDOW):
            data = kept + part
            text = data.decode("latin-1")
            for rule, (severity, pattern) in _PATTERNS.items():
                for found in islice(pattern.finditer(text), 10):
                    place = f"line {line + text.count(chr(10), 0, found.start())}"
                    items[f"{rule} {place}"] = FoundItem(
                        rule=rule,
                        severity=severity,
                        title=f"looks like a secret ({rule})",
                        path=target.file.path,
                        location=place,
                    )
            kept = data[-_OVERLAP:]  # what is cut in two is whole in the next window
            line += text.count("\n", 0, len(data) - len(kept))
        return Answer(state=FINDINGS if items else CLEAN, items=list(items.values()))


def _is_text(head: bytes) -> bool:
    if b"\0" in head:
        return False
    try:
        head.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.start > len(head) - 4  # a character that was cut in two
    return True


_MAGIC: Final = (
    b"GGUF", b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY", b"\x1f\x8b", b"BZh", b"\xfd7zXZ\x00",
    b"\x89PNG", b"\xff\xd8\xff", b"%PDF", b"PAR1", b"ARROW1", b"RIFF", b"OggS", b"fLaC",
)  # fmt: skip


class Formats:
    """Every file is of a format that is known here, and none executes code on loading. What is not
    known is said, and makes the answer `not-scanned`."""

    name = "formats"
    version = "1"
    header_only = False

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        return size > 0

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        found = executable(reading(file), target.file.size)
        if found is not None:
            item = FoundItem(
                rule=found.format,
                severity=HIGH,
                title=f"{found.format}: executes code when it is loaded",
                path=target.file.path,
                location=limited(found.where),
            )
            return Answer(state=FINDINGS, items=[item])
        head = os.pread(file.fileno(), 512, 0)
        known = target.file.path.lower().endswith((".safetensors", ".onnx"))
        if known or head.startswith(_MAGIC) or head[257:262] == b"ustar" or _is_text(head):
            return Answer(state=CLEAN)
        return Answer(state=NOT_SCANNED, detail="a format that is not known here")

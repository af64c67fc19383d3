"""Two scanners of pickles by others, each asked about every pickle in a file: what one is tricked
by, the other may see. Their answers stand side by side and are never added up."""

from __future__ import annotations

import io
import pickletools
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import BinaryIO, Final

from signing.formats import executable, is_tar
from signing.unpacking import unpacker

from .base import (
    CLEAN,
    CRITICAL,
    FAILED,
    FINDINGS,
    HIGH,
    MEDIUM,
    NOT_SCANNED,
    Answer,
    FoundItem,
    Target,
    limited,
)
from .slim import Search, Slim, TooLargeError, reading

_NAMES: Final = (
    ".pt", ".pth", ".bin", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".dill", ".mar",
    ".model",
)  # fmt: skip
_BEGIN: Final = (b"\x80", b"PK", b"\x93NUMPY")
NOTHING: Final = "no pickle in it"


def may_hold_pickles(path: str, size: int, head: bytes, tail: bytes) -> bool:
    """Whether it is worth looking for one."""
    if is_tar(head) or head.startswith(_BEGIN) or unpacker(head) is not None:
        return True
    if path.lower().endswith(_NAMES) or b"PK\x05\x06" in tail:
        return True
    return executable(lambda at, count: head[at : at + count], size) is not None


class _Pickles:
    """What both have in common. ``_judge`` yields what is wrong with one pickle."""

    name = ""
    header_only = False

    @property
    def version(self) -> str:
        try:
            return version(self.name)
        except PackageNotFoundError:
            return "missing"

    def wants(self, path: str, size: int, head: bytes, tail: bytes) -> bool:
        return may_hold_pickles(path, size, head, tail)

    def scan(self, file: BinaryIO, target: Target) -> Answer:
        search, items, broken, seen = Search(), list[FoundItem](), False, 0
        detail = ""
        try:
            for slim in search.pickles(reading(file), target.file.size):
                seen += 1
                try:
                    items += self._judge(slim, target)
                except Exception as error:  # theirs, about bytes that were made to cause it
                    broken, detail = True, f"gave up: {type(error).__name__}"
                if slim.broken:
                    broken, detail = True, "a pickle that breaks off"
                elif not _is_readable(slim.data):
                    # Both read with `pickletools`, and one of them calls it no pickle then.
                    broken, detail = True, "a pickle that only loaders understand"
        except TooLargeError as error:
            if not items:
                return Answer(state=NOT_SCANNED, detail=str(error))
            detail = str(error)
        if items:
            return Answer(state=FINDINGS, items=items, detail=detail, facts={"pickles": seen})
        if broken:
            return Answer(state=FAILED, detail=detail)
        if not seen:
            return Answer(state=NOT_SCANNED, detail=NOTHING)
        return Answer(state=CLEAN, facts={"pickles": seen})

    def _judge(self, slim: Slim, target: Target) -> Iterator[FoundItem]:
        raise NotImplementedError


def _is_readable(data: bytes) -> bool:
    try:
        for _ in pickletools.genops(data):
            pass
    except Exception:  # whatever it stumbles over
        return False
    return True


class PickleScan(_Pickles):
    name = "picklescan"

    def _judge(self, slim: Slim, target: Target) -> Iterator[FoundItem]:
        import logging

        from picklescan.scanner import SafetyLevel, scan_pickle_bytes

        logging.disable(logging.CRITICAL)
        result = scan_pickle_bytes(io.BytesIO(slim.data), "pickle")
        grades = {SafetyLevel.Dangerous: CRITICAL, SafetyLevel.Suspicious: MEDIUM}
        for each in result.globals:
            if each.safety in grades:
                yield FoundItem(
                    rule=f"import-{each.safety.value.lower()}",
                    severity=grades[each.safety],
                    title=limited(f"loading it imports {each.module}.{each.name}"),
                    path=target.file.path,
                    location=limited(f"{slim.where}:{each.module}.{each.name}"),
                )
        # It lists every import, harmless ones too, and says nothing when it could not read on.
        if result.scan_err or (slim.imports and not result.globals):
            raise ValueError


class Fickling(_Pickles):
    name = "fickling"

    def _judge(self, slim: Slim, target: Target) -> Iterator[FoundItem]:
        import sys

        from fickling.analysis import Severity, check_safety
        from fickling.fickle import Pickled

        sys.setrecursionlimit(10_000)
        data = slim.data + (b"." if slim.broken else b"")
        result = check_safety(Pickled.load(io.BytesIO(data)))
        grades: Callable[[Severity], str] = lambda each: (  # noqa: E731
            CRITICAL if each >= Severity.LIKELY_OVERTLY_MALICIOUS
            else HIGH if each >= Severity.SUSPICIOUS
            else MEDIUM
        )  # fmt: skip
        for each in result.results:
            if each.severity > Severity.LIKELY_SAFE:
                rule = str(each.analysis_name or "unsafe")
                yield FoundItem(
                    rule=limited("".join(c if c.isalnum() else "-" for c in rule).lower(), 40),
                    severity=grades(each.severity),
                    title=limited(" ".join(str(each).split())),
                    path=target.file.path,
                    location=limited(f"{slim.where}:{each.trigger or ''}"),
                )

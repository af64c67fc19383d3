"""Which files came, went, changed or moved, and which of them are code or run code on loading.

What a file is follows its name, and its first bytes where those say more: a pickle under another
name is still a pickle.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from signing.manifest import FileEntry

from .document import DANGER, NOTICE, Found, Remark
from .sides import HEAD_BYTES, Side

MAX_HEADS: Final = 2000  # files whose first bytes are looked at
_PICKLED: Final = "pickle: loading it runs what it says"
_RUNS: Final[Mapping[str, str]] = {
    **dict.fromkeys(
        (".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".dill", ".mar", ".nemo"),
        _PICKLED,
    ),
    **dict.fromkeys((".npy", ".npz"), "NumPy: may hold pickled objects"),
    **dict.fromkeys((".h5", ".hdf5", ".keras"), "Keras: may hold code in Lambda layers"),
    **dict.fromkeys((".pb", ".tflite"), "TensorFlow graph: may read and write files"),
    **dict.fromkeys((".onnx",), "ONNX: may name files outside and custom operators"),
}
_CODE: Final[Mapping[str, str]] = {
    **dict.fromkeys((".py", ".pyw", ".pyx"), "Python source"),
    **dict.fromkeys((".pyc", ".pyo"), "compiled Python"),
    **dict.fromkeys((".ipynb",), "notebook"),
    **dict.fromkeys((".pth",), "path file: runs when Python starts"),
    **dict.fromkeys((".sh", ".bash", ".zsh", ".ps1", ".bat", ".cmd"), "shell script"),
    **dict.fromkeys((".js", ".mjs", ".ts", ".rb", ".pl", ".lua", ".r", ".jl"), "script"),
    **dict.fromkeys((".c", ".cc", ".cpp", ".cu", ".h", ".rs", ".go", ".java"), "source code"),
    **dict.fromkeys((".so", ".dylib", ".dll", ".pyd", ".a", ".o"), "native code"),
    **dict.fromkeys((".exe", ".jar", ".class", ".wasm", ".llamafile"), "program"),
    **dict.fromkeys((".whl",), "Python wheel"),
}
_MAGIC: Final[Sequence[tuple[bytes, str, bool]]] = (
    (b"\x7fELF", "native code", True),
    (b"MZ", "Windows program", True),
    (b"\xcf\xfa\xed\xfe", "native code", True),
    (b"\xca\xfe\xba\xbe", "native or Java code", True),
    (b"\0asm", "WebAssembly program", True),
    (b"#!", "script", True),
    *((b"\x80" + bytes([number]), _PICKLED, False) for number in range(2, 6)),
    (b"\x89HDF\r\n\x1a\n", _RUNS[".h5"], False),
    (b"\x93NUMPY", _RUNS[".npy"], False),
)
# Formats whose own reader says more than two bytes at their beginning do.
_KNOWN: Final = (".safetensors", ".gguf", ".png", ".jpg", ".jpeg", ".webp", ".pdf")


@dataclass(frozen=True, slots=True)
class Nature:
    """``what`` a file is; ``code`` is true of code, false of data that run code on loading."""

    what: str
    code: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs:
    """The files of two sides. ``changed`` and ``renamed`` are ``(old, new)``."""

    added: Sequence[FileEntry]
    removed: Sequence[FileEntry]
    changed: Sequence[tuple[FileEntry, FileEntry]]
    renamed: Sequence[tuple[FileEntry, FileEntry]]
    unchanged: int

    @property
    def both(self) -> Sequence[tuple[FileEntry | None, FileEntry | None]]:
        """Everything that may say something new, by path."""
        pairs: list[tuple[FileEntry | None, FileEntry | None]] = [*self.changed]
        pairs += [(None, entry) for entry in self.added]
        pairs += [(entry, None) for entry in self.removed]
        return sorted(pairs, key=lambda pair: path_of(*pair))


def path_of(old: FileEntry | None, new: FileEntry | None) -> str:
    entry = new or old
    assert entry is not None
    return entry.path


def pair_files(old: Mapping[str, FileEntry], new: Mapping[str, FileEntry]) -> Pairs:
    """A file with the digest of one that went is that file under another name."""
    changed = [
        (old[path], new[path])
        for path in sorted(old.keys() & new.keys())
        if old[path].sha256 != new[path].sha256
    ]
    gone: dict[str, list[FileEntry]] = defaultdict(list)
    for path in sorted(old.keys() - new.keys(), reverse=True):
        gone[old[path].sha256].append(old[path])
    added, renamed = [], []
    for path in sorted(new.keys() - old.keys()):
        entry = new[path]
        if entry.size and gone[entry.sha256]:  # every empty file would be a renamed one
            renamed.append((gone[entry.sha256].pop(), entry))
        else:
            added.append(entry)
    return Pairs(
        added=added,
        removed=sorted(entry for entries in gone.values() for entry in entries),
        changed=changed,
        renamed=renamed,
        unchanged=len(old.keys() & new.keys()) - len(changed),
    )


def describe(pairs: Pairs, old: Side, new: Side) -> tuple[dict[str, Any], Found]:
    """The member ``files`` of the document, and what among them is dangerous."""
    heads = _Heads(old, new, pairs)
    remarks = [*_natures(pairs, heads), *heads.remarks]
    value = {
        "added": [_entry(entry) for entry in pairs.added],
        "removed": [_entry(entry) for entry in pairs.removed],
        "changed": [
            {
                "path": entry.path,
                "old": {"size": before.size, "sha256": before.sha256},
                "new": {"size": entry.size, "sha256": entry.sha256},
            }
            for before, entry in pairs.changed
        ],
        "renamed": [
            {"old": before.path, "new": entry.path, "sha256": entry.sha256}
            for before, entry in pairs.renamed
        ],
        "unchanged": pairs.unchanged,
    }
    return value, Found(remarks=remarks)


def nature(path: str, head: bytes = b"") -> Nature | None:
    """What is dangerous about a file of this name that begins with ``head``; None: nothing that
    this sees."""
    lower = path.lower()
    suffix = lower[lower.rfind(".") :] if "." in lower.rpartition("/")[2] else ""
    if suffix in _RUNS and not (suffix == ".bin" and head and not _is_pickled(head)):
        # ``.bin`` is anything; where its first bytes are known they decide.
        return Nature(_RUNS[suffix], code=False)
    if suffix in _CODE:
        return Nature(_CODE[suffix], code=True)
    if suffix not in _KNOWN:
        for magic, what, code in _MAGIC:
            if head.startswith(magic):
                return Nature(what, code=code)
    return None


def _is_pickled(head: bytes) -> bool:
    return head.startswith((b"PK", *(bytes([0x80, number]) for number in range(2, 6))))


def _natures(pairs: Pairs, heads: _Heads) -> list[Remark]:
    remarks = []
    for entry in pairs.added:
        found = nature(entry.path, heads.of_new(entry))
        if found is not None:
            remarks.append(_remark("new", found, entry))
    for before, entry in pairs.changed:
        found = nature(entry.path, heads.of_new(entry))
        if found is None:
            continue
        was = nature(before.path, heads.of_old(before))
        remarks.append(_remark("changed" if was == found else "became", found, entry))
    for before, entry in pairs.renamed:
        was, found = nature(before.path), nature(entry.path)
        if found is not None and found != was:  # other programs will take it for something else
            remarks.append(_remark("became", found, entry))
    return remarks


def _remark(how: str, found: Nature, entry: FileEntry) -> Remark:
    words = {"new": "new", "changed": "changed", "became": "now taken for"}[how]
    code = (
        f"{'code' if found.code else 'executing-format'}-{'changed' if how == 'changed' else 'new'}"
    )
    return Remark(level=DANGER, code=code, text=f"{words}: {found.what}", path=entry.path)


class _Heads:
    """The first bytes of files whose name says nothing; of very many files, only of some."""

    def __init__(self, old: Side, new: Side, pairs: Pairs) -> None:
        self._sides = (old, new)
        self._found: tuple[dict[str, bytes], dict[str, bytes]] = ({}, {})
        after = [entry for entry in [*pairs.added, *(e for _, e in pairs.changed)] if _asks(entry)]
        before = [entry for entry, _ in pairs.changed if _asks(entry)]
        self.remarks: list[Remark] = []
        if len(after) > MAX_HEADS:
            self.remarks.append(
                Remark(
                    level=NOTICE,
                    code="not-compared",
                    text=f"the first bytes of {len(after) - MAX_HEADS} files were not looked at: "
                    "more than are read",
                )
            )
        for number, entries in enumerate((before[:MAX_HEADS], after[:MAX_HEADS])):
            self._look(number, entries)

    def _look(self, number: int, entries: Sequence[FileEntry]) -> None:
        source = self._sides[number].bytes
        source.ready([entry for entry in entries if entry.chunks is None])
        for entry in entries:
            with source.open(entry) as reader:
                self._found[number][entry.path] = reader.read(0, HEAD_BYTES)

    def of_old(self, entry: FileEntry) -> bytes:
        return self._found[0].get(entry.path, b"")

    def of_new(self, entry: FileEntry) -> bytes:
        return self._found[1].get(entry.path, b"")


def _asks(entry: FileEntry) -> bool:
    """Whether the first bytes may say more than the name."""
    lower = entry.path.lower()
    known = (*_KNOWN, *_CODE, *(suffix for suffix in _RUNS if suffix != ".bin"))
    # One that goes whole over the network for two bytes must not be large.
    return not lower.endswith(known) and (entry.chunks is not None or entry.size <= 1 << 20)


def _entry(entry: FileEntry) -> dict[str, Any]:
    return {"path": entry.path, "size": entry.size, "sha256": entry.sha256}

"""File formats by the ending of a file's name: what a policy allows or denies.

Only the name is looked at here. That a file is what its name says is for scans to find out; a name
that nothing is known about counts as the format ``other``, which no list holds by accident.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Final

OTHER: Final = "other"
_BY_FORMAT: Final[Mapping[str, str]] = {
    # Weights that are data and nothing else
    "safetensors": "safetensors",
    "gguf": "gguf ggml",
    "onnx": "onnx",
    "tflite": "tflite",
    # Formats whose loaders may execute what is in the file
    "pickle": "pkl pickle pt pth ckpt joblib dill",
    "numpy": "npy npz",
    "keras": "keras",
    "hdf5": "h5 hdf5",
    "tensorflow": "pb",
    "torchscript": "ptl",
    "binary": "bin dat",
    # Programs
    "wheel": "whl",
    "python": "py pyi ipynb",
    "program": "sh exe dll so dylib js jar class",
    # Data and texts
    "text": "txt md rst toml json jsonl yaml yml csv tsv xml html tex bib po cff license",
    "parquet": "parquet",
    "arrow": "arrow feather",
    "fst": "fst",
    "sentencepiece": "model spm",
    "image": "png jpg jpeg gif webp svg tif tiff bmp",
    "audio": "wav flac mp3 ogg opus m4a",
    "video": "mp4 webm mkv",
    "document": "pdf odt docx xlsx ods",
    "archive": "zip tar gz tgz bz2 xz zst 7z rar",
}
FORMATS: Final = (*_BY_FORMAT, OTHER)
_ENDINGS: Final = {
    ending: name for name, endings in _BY_FORMAT.items() for ending in endings.split()
}
_TEXT_NAMES: Final = "readme license licence copying notice changelog authors citation"
_TEXTS: Final = frozenset(_TEXT_NAMES.split())
_ENDING: Final = re.compile(r"\.([a-z0-9]+)$")


@lru_cache(maxsize=4096)  # the same names stand in many releases
def format_of(path: str) -> str:
    """One of `FORMATS`, by the name of the file."""
    name = path.rpartition("/")[2].casefold()
    if name in _TEXTS:
        return "text"
    found = _ENDING.search(name)
    return OTHER if found is None else _ENDINGS.get(found[1], OTHER)


def endings_of(format_: str) -> tuple[str, ...]:
    """The endings of names that stand for ``format_``, with their dots; none for `OTHER`."""
    return tuple(f".{ending}" for ending in _BY_FORMAT.get(format_, "").split())


def formats_of(paths: Iterable[str]) -> dict[str, str]:
    """``{format: the first of the paths that has it}``."""
    found: dict[str, str] = {}
    for path in paths:
        found.setdefault(format_of(path), path)
    return found

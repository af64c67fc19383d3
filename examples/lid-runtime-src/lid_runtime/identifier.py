"""The model itself: ``config.json`` and ``model.safetensors`` of a folder, and `identify`.

A linear model: one row of weights per n-gram bucket, one column per label, a bias per label,
and a softmax over the sums. A few hundred additions per sentence, so plain Python is enough.
"""

from __future__ import annotations

import math
import os
from array import array
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from .errors import MalformedModelError
from .features import HASH, NORMALISATION, features
from .safetensors import Tensor, load_tensors
from .strict_json import is_count, parse_object

UNKNOWN = "und"  # ISO 639-2: undetermined
UNKNOWN_NAME = "Unknown"
FORMAT = "hashed-ngram-linear"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"

_MAX_CONFIG_BYTES = 64 * 1024
_MAX_BUCKETS = 1 << 20
_MAX_N = 8
_MAX_LABELS = 200
_CONFIG_KEYS = {"format", "normalisation", "hash", "min_n", "max_n", "buckets", "labels"}


@dataclass(frozen=True)
class Config:
    """A checked ``config.json``. ``labels`` maps each label to its English name, in the order
    of the columns."""

    min_n: int
    max_n: int
    buckets: int
    labels: Mapping[str, str]


class Identifier:
    """Tells the language of a text. Made by `load`; safe to share between threads."""

    def __init__(self, config: Config, weight: array[float], bias: array[float]) -> None:
        self._config = config
        self._weight = weight
        self._bias = bias

    @property
    def labels(self) -> tuple[str, ...]:
        """What the model can answer, besides `UNKNOWN`."""
        return tuple(self._config.labels)

    def name(self, label: str) -> str:
        """The English name of ``label``, which must be one of `labels` or `UNKNOWN`."""
        return UNKNOWN_NAME if label == UNKNOWN else self._config.labels[label]

    def identify(self, text: str) -> list[tuple[str, float]]:
        """Every label with its probability, the most probable first; they add up to one.

        The only answer is `UNKNOWN`, with probability one, when ``text`` has no letter in a
        script that the model knows. Otherwise the model chooses among its labels, also for a
        language that it has never seen: the probability is a comparison, not a guarantee.
        """
        config = self._config
        found = features(text, min_n=config.min_n, max_n=config.max_n, buckets=config.buckets)
        if not found:
            return [(UNKNOWN, 1.0)]
        ranked = zip(config.labels, _softmax(self._scores(found)))
        return sorted(ranked, key=lambda pair: (-pair[1], pair[0]))

    def _scores(self, found: Mapping[int, float]) -> list[float]:
        count = len(self._bias)
        scores = list(self._bias)
        for bucket, value in found.items():
            row = self._weight[bucket * count : (bucket + 1) * count]
            for label, weight in enumerate(row):
                scores[label] += value * weight
        return scores


def load(path: str | os.PathLike[str]) -> Identifier:
    """The identifier in the folder ``path``.

    Raises:
        MalformedModelError: ``config.json`` or ``model.safetensors`` breaks its format, or
            they do not belong together.
        OSError: one of them cannot be read.
    """
    folder = Path(path)
    with (folder / CONFIG_FILE).open("rb") as file:
        config = parse_config(file.read(_MAX_CONFIG_BYTES + 1))
    tensors = load_tensors(folder / WEIGHTS_FILE)
    count = len(config.labels)
    expected = {"weight": (config.buckets, count), "bias": (count,)}
    found = {name: tensor.shape for name, tensor in tensors.items()}
    if found != expected:
        raise MalformedModelError(WEIGHTS_FILE, f"the tensors {expected}", found)
    return Identifier(config, _values(tensors, "weight"), _values(tensors, "bias"))


def parse_config(data: bytes) -> Config:
    """A checked ``config.json``.

    Raises:
        MalformedModelError: not JSON, a key too many or too few, or a value that this runtime
            does not know. Another normalisation or hash would give answers, but wrong ones.
    """
    if len(data) > _MAX_CONFIG_BYTES:
        raise MalformedModelError(CONFIG_FILE, f"at most {_MAX_CONFIG_BYTES} bytes", "more")
    value = parse_object(data, CONFIG_FILE)
    if set(value) != _CONFIG_KEYS:
        raise MalformedModelError(CONFIG_FILE, ", ".join(sorted(_CONFIG_KEYS)), sorted(value))
    known = (("format", FORMAT), ("normalisation", NORMALISATION), ("hash", HASH))
    for key, expected in known:
        if value[key] != expected:
            raise MalformedModelError(f"{CONFIG_FILE}: {key}", repr(expected), repr(value[key]))
    max_n = _size(value, "max_n", 1, _MAX_N)
    return Config(
        min_n=_size(value, "min_n", 1, max_n),
        max_n=max_n,
        buckets=_size(value, "buckets", 1, _MAX_BUCKETS),
        labels=_labels(value["labels"]),
    )


def _size(value: dict[str, Any], key: str, least: int, most: int) -> int:
    number = value[key]
    if not is_count(number) or not least <= number <= most:
        raise MalformedModelError(f"{CONFIG_FILE}: {key}", f"{least} to {most}", number)
    return int(number)


def _labels(value: object) -> dict[str, str]:
    """``{label: English name}`` from a list of ``{"label", "name"}``."""
    where = f"{CONFIG_FILE}: labels"
    if not isinstance(value, list) or not 1 <= len(value) <= _MAX_LABELS:
        raise MalformedModelError(where, f"a list of 1 to {_MAX_LABELS}", type(value).__name__)
    labels: dict[str, str] = {}
    for number, item in enumerate(value):
        if not isinstance(item, dict) or set(item) != {"label", "name"}:
            raise MalformedModelError(f"{where}[{number}]", "label and name", item)
        label, name = item["label"], item["name"]
        if not _is_line(label) or not _is_line(name) or label in labels or label == UNKNOWN:
            raise MalformedModelError(f"{where}[{number}]", "a new label and a name", item)
        labels[label] = name
    return labels


def _is_line(value: object) -> bool:
    """Whether ``value`` can be shown on a terminal as it is."""
    return isinstance(value, str) and 0 < len(value) <= 100 and value.isprintable()


def _values(tensors: Mapping[str, Tensor], name: str) -> array[float]:
    return tensors[name].values


def _softmax(scores: list[float]) -> list[float]:
    highest = max(scores)  # so that exp() cannot overflow
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return [power / total for power in powers]

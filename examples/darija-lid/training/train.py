"""Trains darija-lid: reads the sentences beside it, writes the model, prints what it can do.

    python train.py --into FOLDER        # default: the component folder, one level up
    python train.py --cross-validate     # writes nothing, prints how the training sentences do

Needs the package ``lid_runtime`` and nothing else; it takes a few seconds. The order of the
examples comes from a fixed seed, so the same sentences give the same model. The held-out
sentences are read only after the weights are written.
"""

from __future__ import annotations

import argparse
import json
import math
import random
import tempfile
from array import array
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import lid_runtime
from lid_runtime.features import HASH, NORMALISATION, features
from lid_runtime.identifier import CONFIG_FILE, FORMAT, WEIGHTS_FILE
from lid_runtime.safetensors import Tensor, write_tensors

HERE = Path(__file__).resolve().parent
LABELS = {
    "ary": "Darija (Arabic script)",
    "ary-Latn": "Darija (Latin script, Arabizi)",
    "ar": "Modern Standard Arabic",
    "zgh": "Tamazight (Tifinagh)",
    "zgh-Latn": "Tamazight (Latin script)",
    "fr": "French",
    "en": "English",
}

# Chosen by five-fold cross-validation on the training sentences alone.
MIN_N, MAX_N, BUCKETS = 1, 4, 8_192
EPOCHS = 15
LEARNING_RATE = 0.5
SEED = 7

Example = tuple[dict[int, float], int]
Sentence = tuple[str, str]


def read_sentences(path: Path) -> list[Sentence]:
    """``(label, text)`` for each line behind the heading of a tab-separated file."""
    lines = path.read_text(encoding="utf-8").splitlines()[1:]
    return [(label, text) for label, text in (line.split("\t") for line in lines)]


def make_examples(sentences: Sequence[Sentence]) -> list[Example]:
    """Each sentence whole, and its two halves: people also write three words."""
    columns = {label: number for number, label in enumerate(LABELS)}
    examples = []
    for label, text in sentences:
        words = text.split()
        middle = len(words) // 2
        for part in (text, " ".join(words[:middle]), " ".join(words[middle:])):
            found = features(part, min_n=MIN_N, max_n=MAX_N, buckets=BUCKETS)
            if found:
                examples.append((found, columns[label]))
    return examples


def train(examples: Sequence[Example], epochs: int = EPOCHS) -> tuple[array[float], array[float]]:
    """Weights and biases by AdaGrad on the cross-entropy: small steps where many were made."""
    count = len(LABELS)
    weight, bias = [0.0] * (BUCKETS * count), [0.0] * count
    squares = [1e-8] * len(weight)
    order = list(examples)
    shuffler = random.Random(SEED)
    for _ in range(epochs):
        shuffler.shuffle(order)
        for found, target in order:
            gradients = _gradients(found, target, weight, bias)
            for bucket, value in found.items():
                for label, gradient in enumerate(gradients):
                    step = gradient * value
                    place = bucket * count + label
                    squares[place] += step * step
                    weight[place] -= LEARNING_RATE * step / math.sqrt(squares[place])
            for label, gradient in enumerate(gradients):
                bias[label] -= 0.01 * gradient
    return array("f", weight), array("f", bias)


def _gradients(
    found: dict[int, float], target: int, weight: list[float], bias: list[float]
) -> list[float]:
    """The cross-entropy's derivative by each label's score: probability less truth."""
    count = len(bias)
    scores = list(bias)
    for bucket, value in found.items():
        for label in range(count):
            scores[label] += value * weight[bucket * count + label]
    highest = max(scores)
    powers = [math.exp(score - highest) for score in scores]
    total = sum(powers)
    return [power / total - (label == target) for label, power in enumerate(powers)]


def write_model(folder: Path, weight: array[float], bias: array[float]) -> None:
    """Writes ``config.json`` and ``model.safetensors`` into ``folder``."""
    config = {
        "format": FORMAT,
        "normalisation": NORMALISATION,
        "hash": HASH,
        "min_n": MIN_N,
        "max_n": MAX_N,
        "buckets": BUCKETS,
        "labels": [{"label": label, "name": name} for label, name in LABELS.items()],
    }
    text = json.dumps(config, ensure_ascii=False, indent=2) + "\n"
    (folder / CONFIG_FILE).write_text(text, encoding="utf-8")
    tensors = {
        "weight": Tensor((BUCKETS, len(LABELS)), weight),
        "bias": Tensor((len(LABELS),), bias),
    }
    (folder / WEIGHTS_FILE).write_bytes(write_tensors(tensors, {"format": FORMAT}))


def count_answers(folder: Path, sentences: Sequence[Sentence]) -> Counter[tuple[str, str]]:
    """``{(label, answer): sentences}`` of the model in ``folder``."""
    identifier = lid_runtime.load(folder)
    return Counter((label, identifier.identify(text)[0][0]) for label, text in sentences)


def cross_validate(sentences: Sequence[Sentence], folds: int = 5) -> Counter[tuple[str, str]]:
    """The answers for each fold of ``sentences`` of a model trained on the other folds."""
    shuffled = list(sentences)
    random.Random(SEED).shuffle(shuffled)
    answers: Counter[tuple[str, str]] = Counter()
    for fold in range(folds):
        others = [item for place, item in enumerate(shuffled) if place % folds != fold]
        with tempfile.TemporaryDirectory() as folder:
            write_model(Path(folder), *train(make_examples(others)))
            answers += count_answers(Path(folder), shuffled[fold::folds])
    return answers


def format_report(answers: Counter[tuple[str, str]]) -> str:
    """The accuracy and the confusion table: a row per true label, a column per answer."""
    right = sum(number for (label, answer), number in answers.items() if label == answer)
    total = sum(answers.values())
    heading = "".join(f"{label:>10}" for label in LABELS)
    lines = [f"accuracy: {right}/{total} = {right / total:.1%}", f"{'':<10}{heading}"]
    for label in LABELS:
        cells = "".join(f"{answers[label, answer]:>10}" for answer in LABELS)
        lines.append(f"{label:<10}{cells}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description="Train darija-lid and print its accuracy.")
    parser.add_argument("--into", type=Path, default=HERE.parent, metavar="FOLDER")
    parser.add_argument("--cross-validate", action="store_true")
    options = parser.parse_args()
    sentences = read_sentences(HERE / "sentences.tsv")
    if options.cross_validate:
        print("cross-validation,", format_report(cross_validate(sentences)))
        return
    options.into.mkdir(parents=True, exist_ok=True)
    write_model(options.into, *train(make_examples(sentences)))
    answers = count_answers(options.into, read_sentences(HERE / "heldout.tsv"))
    print("held-out,", format_report(answers))


if __name__ == "__main__":
    main()
